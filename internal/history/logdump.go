package history

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	wal "github.com/hashicorp/raft-wal"
	"go.etcd.io/bbolt"

	"github.com/lockcluster/lockcluster/fsm/command"
)

// ErrCompacted means that no log reaches back to the cluster's first entry. A
// test that wants its history checked with the log keeps the log: raise the
// snapshot threshold or the trailing logs.
var ErrCompacted = errors.New("the log does not reach back to the cluster's first entry")

// Dump reads the log of a cluster from the data directories of its nodes, which
// must be stopped. What a majority of the directories given agrees on counts
// as committed; a tail that only a minority has is left out. The directories
// are copied first and stay as they are.
func Dump(dirs ...string) (Log, error) {
	var dumps [][]raft.Log
	for _, dir := range dirs {
		entries, err := dumpDir(dir)
		if err != nil {
			return nil, fmt.Errorf("dump the log of %s: %w", dir, err)
		}
		dumps = append(dumps, entries)
	}
	return committed(dumps)
}

// committed returns the log up to the last entry that a majority has, from a
// dump that begins at index 1. Two logs with one entry of equal index and term
// are equal up to there (Raft's log matching).
func committed(dumps [][]raft.Log) (Log, error) {
	var last uint64
	type position struct{ index, term uint64 }
	have := map[position]int{}
	for _, entries := range dumps {
		for _, e := range entries {
			p := position{e.Index, e.Term}
			if have[p]++; have[p] > len(dumps)/2 {
				last = max(last, e.Index)
			}
		}
	}
	for _, entries := range dumps {
		if len(entries) == 0 || entries[0].Index != 1 || entries[len(entries)-1].Index < last {
			continue
		}
		if at := entries[last-min(last, 1)]; last > 0 && have[position{at.Index, at.Term}] <= len(dumps)/2 {
			continue // its tail is another
		}
		return decode(entries, last)
	}
	if last == 0 {
		return nil, nil
	}
	return nil, ErrCompacted
}

func decode(entries []raft.Log, last uint64) (Log, error) {
	var log Log
	for _, e := range entries {
		if e.Index > last {
			break
		}
		if e.Type != raft.LogCommand {
			continue
		}
		entry, err := command.DecodeEntry(e.Data)
		if err != nil {
			return nil, fmt.Errorf("log entry %d: %w", e.Index, err)
		}
		le := LogEntry{Position: Position{Index: e.Index, Term: e.Term, Time: entry.Time}}
		for _, c := range entry.Commands {
			le.Commands = append(le.Commands, LogCommand{ID: c.ID, Request: c.Request})
		}
		log = append(log, le)
	}
	return log, nil
}

// dumpDir reads all entries of one node's log.
func dumpDir(dir string) (entries []raft.Log, err error) {
	temp, err := os.MkdirTemp("", "lockcluster-log-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	if err := os.CopyFS(temp, os.DirFS(filepath.Join(dir, "raft"))); err != nil {
		return nil, fmt.Errorf("copy: %w", err)
	}
	store, closeStore, err := openLog(temp)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeStore()) }()
	return readAll(store)
}

// openLog opens whichever log store is in dir, as package cluster lays it out.
func openLog(dir string) (raft.LogStore, func() error, error) {
	if _, err := os.Stat(filepath.Join(dir, "log.db")); err == nil {
		store, err := raftboltdb.New(raftboltdb.Options{
			Path:        filepath.Join(dir, "log.db"),
			BoltOptions: &bbolt.Options{Timeout: 10 * time.Second},
		})
		if err != nil {
			return nil, nil, err
		}
		return store, store.Close, nil
	}
	path := filepath.Join(dir, "wal")
	if _, err := os.Stat(path); err != nil {
		return nil, nil, fmt.Errorf("neither log.db nor wal: %w", err)
	}
	store, err := wal.Open(path, wal.WithLogger(hclog.NewNullLogger()))
	if err != nil {
		return nil, nil, err
	}
	return store, store.Close, nil
}

func readAll(store raft.LogStore) ([]raft.Log, error) {
	first, err := store.FirstIndex()
	if err != nil {
		return nil, err
	}
	last, err := store.LastIndex()
	if err != nil || last == 0 {
		return nil, err
	}
	entries := make([]raft.Log, 0, last-first+1)
	for index := first; index <= last; index++ {
		var l raft.Log
		if err := store.GetLog(index, &l); err != nil {
			return nil, fmt.Errorf("entry %d: %w", index, err)
		}
		entries = append(entries, l)
	}
	return entries, nil
}
