package history

import (
	"fmt"

	"github.com/lockcluster/lockcluster"
)

// LogSource is the log of a cluster, read from a node.
type LogSource interface {
	// Entries calls yield for every entry that carries commands, in index
	// order, beginning with the cluster's first.
	Entries(yield func(LogEntry) error) error
}

// LogEntry is one entry of the log.
type LogEntry struct {
	Position
	Commands []LogCommand
}

// LogCommand is one command of an entry.
type LogCommand struct {
	ID      lockcluster.RequestID
	Request lockcluster.Request
	Result  *lockcluster.Result // what the node answered, nil if not known
}

// Log is a log in memory.
type Log []LogEntry

// Entries implements [LogSource].
func (l Log) Entries(yield func(LogEntry) error) error {
	for _, e := range l {
		if err := yield(e); err != nil {
			return err
		}
	}
	return nil
}

// place is where in the log a command stands.
type place struct {
	index uint64
	pos   int
}

func (p place) String() string { return fmt.Sprintf("log entry %d, command %d", p.index, p.pos) }
