package state

import (
	"github.com/tidwall/btree"

	"github.com/lockcluster/lockcluster"
)

// tracker notes which locks, command locks and documents are written. What a
// transaction wrote before it was refused never gets here.
type tracker struct {
	Tx
	keys btree.Set[string]
}

// Put implements [Tx].
func (t *tracker) Put(key string, value []byte) {
	t.note(key)
	t.Tx.Put(key, value)
}

// Delete implements [Tx].
func (t *tracker) Delete(key string) {
	t.note(key)
	t.Tx.Delete(key)
}

func (t *tracker) note(key string) {
	switch key[0] {
	case tableLock, tableCommand, tableDocument:
		t.keys.Insert(key)
	}
}

// Touched returns the locks, command locks and documents that the entry has
// put or removed so far, each once; nil unless [Env.Track] is set.
func (a *Applier) Touched() []lockcluster.RecordRef {
	if a.touched == nil {
		return nil
	}
	refs := make([]lockcluster.RecordRef, 0, a.touched.keys.Len())
	a.touched.keys.Scan(func(key string) bool {
		refs = append(refs, refOf(key))
		return true
	})
	return refs
}

// refOf names the record of a lock, command lock or document.
func refOf(key string) lockcluster.RecordRef {
	space := lockcluster.SpaceDocument
	switch key[0] {
	case tableLock:
		space = lockcluster.SpaceLock
	case tableCommand:
		space = lockcluster.SpaceCommand
	}
	end := 1
	for key[end] != 0 {
		end++
	}
	return lockcluster.RecordRef{Namespace: key[1:end], Space: space, Key: key[end+1:]}
}
