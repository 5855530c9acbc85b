package backends_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/backends/backendtest"
	"github.com/lockcluster/lockcluster/compat"
)

// boltHarness is a new atlantis.db.
func boltHarness(t *testing.T) backendtest.Harness {
	t.Helper()
	o := backends.Options{Backend: "boltdb", Path: filepath.Join(t.TempDir(), "atlantis.db"), Create: true}
	b := mustOpen(t, o)
	h := backendtest.Harness{Namespace: lockcluster.DefaultNamespace, Fence: backends.Fence{Term: 1, Epoch: 1}, Backend: b}
	h.Reopen = func(t testing.TB) backends.Backend {
		t.Helper()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		b = mustOpen(t, o)
		return b
	}
	h.Raw = func(t testing.TB, space lockcluster.Space, key string) (value []byte) {
		t.Helper()
		// The file is locked: a copy of it is not.
		file := filepath.Join(t.TempDir(), "copy.db")
		raw, err := os.ReadFile(o.Path)
		if err == nil {
			err = os.WriteFile(file, raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		withBolt(t, file, func(tx *bolt.Tx) error {
			bucket, k := boltKey(space, key)
			value = slices.Clone(tx.Bucket(bucket).Get(k))
			return nil
		})
		return value
	}
	h.PutRaw = func(t testing.TB, space lockcluster.Space, key string, value []byte) {
		t.Helper()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		withBolt(t, o.Path, func(tx *bolt.Tx) error {
			bucket, k := boltKey(space, key)
			if value == nil {
				return tx.Bucket(bucket).Delete(k)
			}
			return tx.Bucket(bucket).Put(k, value)
		})
		b = mustOpen(t, o)
	}
	return h
}

func boltKey(space lockcluster.Space, key string) (bucket, k []byte) {
	switch space {
	case lockcluster.SpaceLock:
		return []byte("runLocks"), []byte(key)
	case lockcluster.SpaceCommand:
		return []byte("globalLocks"), []byte(compat.CommandLockBoltKey(key))
	default:
		return []byte("pulls"), []byte(key)
	}
}

func withBolt(t testing.TB, file string, f func(tx *bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(file, 0o600, &bolt.Options{Timeout: time.Second})
	if err == nil {
		err = errors.Join(db.Update(f), db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func mustOpen(t testing.TB, o backends.Options) backends.Backend {
	t.Helper()
	b, err := backends.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// TestBoltDB: an atlantis.db keeps to the suite.
func TestBoltDB(t *testing.T) { backendtest.Run(t, boltHarness) }
