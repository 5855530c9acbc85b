package backends

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
)

const (
	kindBolt = "boltdb"
	// boltLockTimeout is how long Atlantis itself waits for the file's lock.
	boltLockTimeout = time.Second
	boltFileMode    = 0o600
)

// boltStore is an atlantis.db whose lock this process holds.
type boltStore struct {
	db   *bolt.DB
	path string
	was  os.FileInfo // the file that was opened
}

func openBolt(ctx context.Context, o Options) (Backend, error) {
	s, err := openBoltStore(o)
	if err != nil {
		return nil, err
	}
	ns := o.Namespace
	if ns == "" {
		ns = lockcluster.DefaultNamespace
	}
	b := newLegacy(kindBolt, ns, s, o.Timeout)
	if err := b.start(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return b, nil
}

func openBoltStore(o Options) (s *boltStore, err error) {
	if o.Path == "" {
		return nil, fmt.Errorf("%w: a boltdb needs the path of an atlantis.db", lockcluster.ErrInvalid)
	}
	if err := checkBoltFile(o); err != nil {
		return nil, err
	}
	s = &boltStore{path: o.Path}
	err = guarded(func() error {
		db, err := bolt.Open(o.Path, boltFileMode, &bolt.Options{Timeout: boltLockTimeout})
		s.db = db
		return err
	})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("%s: %w, probably a running Atlantis: stop it, or attach the file by --legacy-attach follow", o.Path, ErrInUse)
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", o.Path, err)
	}
	if s.was, err = os.Stat(o.Path); err == nil {
		err = guarded(func() error { return s.prepare(o.Create) })
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", o.Path, err), s.db.Close())
	}
	return s, nil
}

// checkBoltFile refuses a path that BoltDB would make a new database of.
func checkBoltFile(o Options) error {
	info, err := os.Stat(o.Path)
	switch {
	case o.Create && (errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0):
		return nil
	case err != nil:
		return fmt.Errorf("open the legacy database: %w", err)
	case !info.Mode().IsRegular() || info.Size() == 0:
		return fmt.Errorf("%w: %s is no BoltDB file; name the atlantis.db itself", lockcluster.ErrInvalid, o.Path)
	}
	return nil
}

// guarded calls f and makes an error of the panic that a damaged file causes.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("the file is damaged; restore it from a backup")
		}
	}()
	return f()
}

// prepare checks the file's structure and makes the buckets. Atlantis makes
// its own at every start, too.
func (s *boltStore) prepare(create bool) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		found := 0
		for err := range tx.Check() {
			if !bytes.HasSuffix([]byte(err.Error()), []byte("unreachable unfreed")) { // waste of room only
				found++
			}
		}
		if found > 0 {
			return fmt.Errorf("its consistency check finds %d errors; restore it from a backup", found)
		}
		if !create && tx.Bucket([]byte(bucketLocks)) == nil {
			return fmt.Errorf("%w: it is not an Atlantis database: it has no bucket %s", lockcluster.ErrInvalid, bucketLocks)
		}
		for _, name := range []string{bucketLocks, bucketPulls, bucketCommands, bucketOurs} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		ours := tx.Bucket([]byte(bucketOurs))
		for _, name := range []string{bucketDocuments, bucketSide} {
			if _, err := ours.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *boltStore) load(context.Context) (content, error) {
	c := content{entries: map[place]entry{}}
	err := guarded(func() error {
		return s.db.View(func(tx *bolt.Tx) error {
			for _, b := range boltBuckets {
				if err := b.load(tx, &c); err != nil {
					return err
				}
			}
			ours := tx.Bucket([]byte(bucketOurs))
			if err := loadSides(ours.Bucket([]byte(bucketSide)), c.entries); err != nil {
				return err
			}
			var err error
			if c.fence, err = readFence(ours); err != nil {
				return err
			}
			c.id = readID(ours)
			c.tokens, err = readTokens(ours)
			return err
		})
	})
	if err != nil {
		return content{}, unavailable(fmt.Errorf("read %s: %w", s.path, err))
	}
	return c, nil
}

// fetch reads as load does; nobody asks, because nobody else writes.
func (s *boltStore) fetch(ctx context.Context, _ []place) (content, error) { return s.load(ctx) }

func (s *boltStore) raise(_ context.Context, f Fence, c Claim) error {
	return s.update(func(tx *bolt.Tx) error { return write(tx, f, c, lockcluster.Token{}, nil) })
}

func (s *boltStore) commit(_ context.Context, f Fence, id string, tokens lockcluster.Token, changes []change) error {
	return s.update(func(tx *bolt.Tx) error { return write(tx, f, Claim{ID: id}, tokens, changes) })
}

func (s *boltStore) identity(context.Context) (id Identity, err error) {
	if err := s.inPlace(); err != nil {
		return id, unavailable(err)
	}
	err = guarded(func() error {
		return s.db.View(func(tx *bolt.Tx) (err error) {
			ours := tx.Bucket([]byte(bucketOurs))
			id.IDs = []string{readID(ours)}
			id.Fence, err = readFence(ours)
			return err
		})
	})
	if err != nil {
		return id, unavailable(fmt.Errorf("read %s: %w", s.path, err))
	}
	return id, nil
}

// update makes one transaction of what f does.
func (s *boltStore) update(f func(tx *bolt.Tx) error) error {
	if err := s.inPlace(); err != nil {
		return &brokenError{unavailable(err), err}
	}
	tx, err := s.db.Begin(true)
	if err != nil {
		return unavailable(fmt.Errorf("write %s: %w", s.path, err))
	}
	err = guarded(func() error { return f(tx) })
	if err != nil {
		if rerr := guarded(tx.Rollback); rerr != nil {
			err = errors.Join(err, rerr)
			return &brokenError{unavailable(err), err}
		}
		if errors.Is(err, ErrFenced) || errors.Is(err, errChanged) || errors.Is(err, ErrOtherStore) {
			return err
		}
		return unavailable(fmt.Errorf("write %s: %w", s.path, err))
	}
	if err := guarded(tx.Commit); err != nil {
		// A failed fsync is not tried again: the kernel may have dropped the
		// pages, and a second one would succeed without them.
		return &brokenError{unknown(err), err}
	}
	return nil
}

// write makes the changes in tx, which the caller ends.
func write(tx *bolt.Tx, f Fence, claim Claim, tokens lockcluster.Token, changes []change) error {
	ours := tx.Bucket([]byte(bucketOurs))
	if err := claim.Refuses(readID(ours)); err != nil {
		return err
	}
	if claim.ID != "" && string(ours.Get([]byte(keyID))) != claim.ID {
		if err := ours.Put([]byte(keyID), []byte(claim.ID)); err != nil {
			return err
		}
	}
	have, err := readFence(ours)
	switch {
	case err != nil:
		return err
	case f.Less(have):
		return fenced(f, have.String())
	case have != f:
		if err := writeFence(ours, f); err != nil {
			return err
		}
	}
	if err := raiseTokens(ours, tokens); err != nil {
		return err
	}
	sides := ours.Bucket([]byte(bucketSide))
	for _, c := range changes {
		b, key := boltPlace(tx, c.place)
		if old := b.Get(key); !same(old, c.old) {
			if c.soft {
				continue
			}
			return errChanged
		}
		if err := put(b, key, c.new.value); err != nil {
			return err
		}
		if err := put(sides, sideKey(c.place), c.new.side); err != nil {
			return err
		}
	}
	return nil
}

// put stores value, or removes key if value is nil.
func put(b *bolt.Bucket, key, value []byte) error {
	if value == nil {
		return b.Delete(key)
	}
	return b.Put(key, value)
}

// inPlace reports whether the path still names the file whose lock is held. If
// not, an Atlantis could be working on the other one.
func (s *boltStore) inPlace() error {
	now, err := os.Stat(s.path)
	switch {
	case err != nil:
		return fmt.Errorf("the legacy database is gone: %w", err)
	case !os.SameFile(now, s.was):
		return fmt.Errorf("another file took the place of %s", s.path)
	}
	return nil
}

func (s *boltStore) check(ctx context.Context) (string, error) {
	id, err := s.identity(ctx)
	return oneID(id.IDs), err
}

func (s *boltStore) close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close %s: %w", s.path, err)
	}
	return nil
}

// bolt's keys are never empty, so ours begin with the space.
func sideKey(p place) []byte { return append([]byte{spaceLetter(p.space)}, p.key...) }

func spaceLetter(s lockcluster.Space) byte {
	switch s {
	case lockcluster.SpaceLock:
		return 'l'
	case lockcluster.SpaceCommand:
		return 'c'
	default:
		return 'd'
	}
}

func placeOfSide(key string) (place, bool) {
	for _, s := range []lockcluster.Space{lockcluster.SpaceLock, lockcluster.SpaceCommand, lockcluster.SpaceDocument} {
		if key != "" && key[0] == spaceLetter(s) {
			return place{s, key[1:]}, true
		}
	}
	return place{}, false
}

func loadSides(b *bolt.Bucket, entries map[place]entry) error {
	return b.ForEach(func(k, v []byte) error {
		if p, ok := placeOfSide(string(k)); ok {
			e := entries[p]
			e.side = slices.Clone(v)
			entries[p] = e
		}
		return nil
	})
}

// boltPlace returns where a record of the place stands.
func boltPlace(tx *bolt.Tx, p place) (*bolt.Bucket, []byte) {
	switch p.space {
	case lockcluster.SpaceLock:
		return tx.Bucket([]byte(bucketLocks)), []byte(p.key)
	case lockcluster.SpaceCommand:
		return tx.Bucket([]byte(bucketCommands)), []byte(compat.CommandLockBoltKey(p.key))
	}
	if _, _, _, err := compat.ParsePullStatusKey(p.key); err == nil {
		return tx.Bucket([]byte(bucketPulls)), []byte(p.key)
	}
	return tx.Bucket([]byte(bucketOurs)).Bucket([]byte(bucketDocuments)), sideKey(p)
}
