package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lockcluster/lockcluster/cluster"
	"github.com/lockcluster/lockcluster/cmd/lockcluster/internal/config"
)

// stampFile is in every data directory that a node has used.
const stampFile = "node.json"

// Check reports the first setting that the node would refuse, by the name of
// its flag. It reads the password file, and looks whether the data directory
// is new; it changes nothing. s is complete.
func Check(s config.Server) error {
	initial, err := cluster.ParseInitialCluster(s.InitialCluster)
	if err != nil {
		return inFlags(err)
	}
	c := cluster.Config{
		NodeID: s.NodeID, DataDir: s.DataDir, RaftAddr: s.RaftAdvertise, RaftBind: s.RaftAddr,
		InitialCluster: initial, Join: splitList(s.Join), LogStore: s.LogStore,
	}
	if err := c.Validate(); err != nil {
		return inFlags(err)
	}
	_, err = os.Stat(filepath.Join(s.DataDir, stampFile))
	if errors.Is(err, fs.ErrNotExist) && len(c.InitialCluster) == 0 && len(c.Join) == 0 {
		return fmt.Errorf("the node is new (--data-dir %s holds none) and was told neither to found a cluster nor to join one: give --initial-cluster or --join", s.DataDir)
	}
	_, err = s.RESPPassword()
	return err
}

// CheckMember reports why a node could not have that id and Raft address.
func CheckMember(id, raftAddr string) error {
	err := cluster.Config{NodeID: id, DataDir: ".", RaftAddr: raftAddr}.Validate()
	if err != nil {
		return fmt.Errorf("ID, HOST:PORT: %w", err)
	}
	return nil
}

// inFlags gives settings in an error's text the names of their flags.
func inFlags(err error) error {
	text := strings.NewReplacer(
		"initial cluster and join are both set", "--initial-cluster and --join are both given",
		"initial cluster", "--initial-cluster", "use join", "use --join", "node id", "--node-id",
		"raft bind address", "--raft-addr", "raft address", "--raft-addr", "log store", "--log-store",
	).Replace(err.Error())
	return &flagsError{text, err}
}

// flagsError is an error in another wording.
type flagsError struct {
	text string
	err  error
}

func (e *flagsError) Error() string { return e.text }
func (e *flagsError) Unwrap() error { return e.err }
