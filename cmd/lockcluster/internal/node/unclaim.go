package node

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
)

// claim is what a data directory was before a start. A node that joins claims
// its directory first; if the cluster refuses it, what it made is removed, so
// that the directory can be used under another node id.
type claim struct {
	dir     string
	existed bool
	had     map[string]bool
}

// lookAt notes what is in dir; nil if it is a node's already, or unreadable.
func lookAt(dir string) *claim {
	c := &claim{dir: dir, had: map[string]bool{}}
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil
	}
	c.existed = err == nil
	for _, e := range entries {
		c.had[e.Name()] = true
	}
	if c.had[stampFile] {
		return nil
	}
	return c
}

// undo removes what has been made since, if the node never was in any cluster.
// The node is closed.
func (c *claim) undo() error {
	if c == nil {
		return nil
	}
	lock, err := os.OpenFile(filepath.Join(c.dir, "lock"), os.O_RDWR, 0)
	if err != nil {
		return nil // nothing was made
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil // it is another process's
	}
	stamp := struct {
		ClusterID string `json:"cluster_id"`
		Fresh     bool   `json:"fresh"` // has never caught up with a leader
	}{}
	b, err := os.ReadFile(filepath.Join(c.dir, stampFile))
	if err != nil || json.Unmarshal(b, &stamp) != nil || stamp.ClusterID != "" || !stamp.Fresh {
		return nil // not sure that it is empty, so it stays
	}
	if !c.existed {
		return os.RemoveAll(c.dir)
	}
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !c.had[e.Name()] {
			if err := os.RemoveAll(filepath.Join(c.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
