package system

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lockcluster/lockcluster/bench/internal/proc"
)

// boltFile is a bbolt file in this process, as Atlantis has one.
type boltFile struct{ db *bbolt.DB }

// NewBolt returns the system that keeps locks in a bbolt file as Atlantis
// does, with the file as its deployment.
func NewBolt() System { return &bolt{file: &boltFile{}} }

type bolt struct{ file *boltFile }

// runLocks is the bucket that Atlantis keeps project locks in.
var runLocks = []byte("runLocks")

func (b *bolt) Name() string           { return "bbolt-atlantis" }
func (b *bolt) Deployment() Deployment { return b.file }
func (b *bolt) Describe() string {
	return "as Atlantis does: one Update for each TryLock and Unlock, stored JSON decoded; no network, no replica"
}

func (f *boltFile) Name() string { return "bbolt" }
func (f *boltFile) Check() error { return nil }

func (f *boltFile) Describe() string {
	v := "version unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "go.etcd.io/bbolt" {
				v = m.Version
			}
		}
	}
	return "bbolt " + v + ", 1 file in the benchmark's own process, NoSync=false"
}

func (f *boltFile) Start(_ context.Context, dir string) error {
	db, err := bbolt.Open(filepath.Join(dir, "atlantis.db"), 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return fmt.Errorf("open the bbolt file: %w", err)
	}
	f.db = db
	return db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(runLocks)
		return err
	})
}

func (f *boltFile) Alive() error               { return nil }
func (f *boltFile) Processes() []*proc.Process { return nil }

func (f *boltFile) Stop() error {
	if f.db == nil {
		return nil
	}
	return f.db.Close()
}

func (f *boltFile) Load(_ context.Context, locks []*Lock) error {
	return f.db.Update(func(tx *bbolt.Tx) error {
		for _, l := range locks {
			if err := tx.Bucket(runLocks).Put([]byte(l.Text()), l.Value); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b *bolt) Open(_ context.Context, n int) ([]Client, func() error, error) {
	clients := make([]Client, n)
	for i := range clients {
		clients[i] = &boltClient{db: b.file.db}
	}
	return clients, func() error { return nil }, nil
}

type boltClient struct{ db *bbolt.DB }

func (c *boltClient) TryLock(_ context.Context, l *Lock) (acquired bool, holder []byte, err error) {
	key := []byte(l.Text())
	err = c.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(runLocks)
		if stored := b.Get(key); stored != nil {
			holder = bytes.Clone(stored)
			return decode(stored)
		}
		acquired = true
		return b.Put(key, l.Value)
	})
	return acquired && err == nil, holder, err
}

func (c *boltClient) Unlock(_ context.Context, l *Lock) (released bool, err error) {
	key := []byte(l.Text())
	err = c.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(runLocks)
		stored := b.Get(key)
		if stored == nil {
			return nil
		}
		if err := decode(stored); err != nil {
			return err
		}
		released = true
		return b.Delete(key)
	})
	return released && err == nil, err
}

func (c *boltClient) Get(_ context.Context, l *Lock) (value []byte, err error) {
	err = c.db.View(func(tx *bbolt.Tx) error {
		value = bytes.Clone(tx.Bucket(runLocks).Get([]byte(l.Text())))
		return nil
	})
	return value, err
}

func (c *boltClient) List(_ context.Context, repo string) (Listing, error) {
	var got Listing
	prefix := []byte(repo + "/")
	err := c.db.View(func(tx *bbolt.Tx) error {
		cur := tx.Bucket(runLocks).Cursor()
		for k, v := cur.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = cur.Next() {
			value := bytes.Clone(v)
			got.Locks++
			got.Bytes += len(value)
		}
		return nil
	})
	return got, err
}
