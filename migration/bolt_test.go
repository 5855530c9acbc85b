package migration

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// lockValue is a lock value as Atlantis writes it.
func lockValue(repo, path string, pull int, at time.Time, body string) []byte {
	b, err := json.Marshal(compat.ProjectLock{
		Project: compat.Project{RepoFullName: repo, Path: path},
		Pull: compat.PullRequest{
			Num: pull, Body: body,
			BaseRepo: compat.Repo{
				FullName: repo, CloneURL: "https://atlantis:CANARY-live@github.com/" + repo + ".git",
				VCSHost: compat.VCSHost{Hostname: "github.com"},
			},
		},
		User: compat.User{Username: "ada"}, Workspace: "default", Time: at,
	})
	if err != nil {
		panic(err)
	}
	return b
}

// writer changes an open database like a busy Atlantis: in every transaction
// it moves a pair of locks, which must always be of one pull request, and
// takes or frees others, so that pages are freed and used again.
type writer struct {
	db      *bolt.DB
	rng     *rand.Rand
	commits int
}

func (w *writer) commit() error {
	w.commits++
	return w.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(BucketLocks))
		at := time.Unix(1_700_000_000+int64(w.commits), 0)
		for _, path := range []string{"left", "right"} {
			v := lockValue("live/pair", path, w.commits, at, strings.Repeat("x", w.rng.IntN(3000)))
			if err := b.Put([]byte("live/pair/"+path+"/default/"), v); err != nil {
				return err
			}
		}
		path := fmt.Sprintf("d%d", w.rng.IntN(300))
		key := []byte("live/other/" + path + "/default/")
		if w.rng.IntN(2) == 0 {
			return b.Delete(key)
		}
		return b.Put(key, lockValue("live/other", path, 1+w.rng.IntN(50), at, strings.Repeat("y", w.rng.IntN(5000))))
	})
}

// run commits until stop, at full speed.
func (w *writer) run(stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		if err := w.commit(); err != nil {
			return err
		}
	}
}

// While the database is open and written to at full speed, every import shows
// one committed state: the pair of locks that each transaction moves together
// is of one pull request.
func TestImportWhileWritten(t *testing.T) {
	for _, c := range []struct {
		name     string
		noSync   bool
		inMemory int64
	}{{"synced", false, copyInMemory}, {"at full speed", true, copyInMemory}, {"streamed", false, 0}} {
		t.Run(c.name, func(t *testing.T) {
			path := copyFile(t, mustFixture(t, "atlantis-0.47.1").file)
			db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 10 * time.Second, NoSync: c.noSync})
			if err != nil {
				t.Fatal(err)
			}
			w := &writer{db: db, rng: testutil.Rand(t)}
			if err := w.commit(); err != nil {
				t.Fatal(err)
			}
			stop := make(chan struct{})
			var wg sync.WaitGroup
			end := sync.OnceFunc(func() {
				close(stop)
				wg.Wait()
			})
			defer end()
			wg.Go(func() {
				if err := w.run(stop); err != nil {
					t.Error(err)
				}
			})
			tries, states := 0, map[uint64]bool{}
			for range 40 {
				cp, err := copyBolt(t.Context(), path, t.TempDir(), c.inMemory, true)
				if err != nil {
					t.Error(err)
					break
				}
				tries += cp.Attempts
				states[cp.Txid] = true
				checkPair(t, cp)
				if err := cp.Close(); err != nil {
					t.Error(err)
				}
			}
			end()
			if err := db.Close(); err != nil {
				t.Error(err)
			}
			t.Logf("%d commits meanwhile; 40 copies of %d states took %d tries", w.commits, len(states), tries)
			if len(states) < 2 {
				t.Error("the writer never got in between; the test has shown nothing")
			}
		})
	}
}

func checkPair(t *testing.T, c *Copy) {
	t.Helper()
	src, err := ReadBolt(c)
	if err != nil {
		t.Fatalf("transaction %d: %v", c.Txid, err)
	}
	p, err := BuildPlan(src, PlanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Quarantined) > 0 || len(p.Conflicts) > 0 {
		t.Fatalf("transaction %d: %d quarantined, %d conflicts", c.Txid, len(p.Quarantined), len(p.Conflicts))
	}
	pulls := map[int]int{}
	for _, rec := range p.Records {
		if q, ok := rec.Request.(lockcluster.Acquire); ok && q.Key.Repo == "live/pair" {
			pulls[q.Owner.Pull]++
		}
	}
	if len(pulls) != 1 {
		t.Fatalf("transaction %d shows halves of transactions: %v", c.Txid, pulls)
	}
}

// A file that is not a sound atlantis.db is refused with an error that says
// what it is, and no copy of it stays behind.
func TestRefusedFiles(t *testing.T) {
	whole, err := os.ReadFile(mustFixture(t, "atlantis-0.47.1").file)
	if err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(t.TempDir(), "foreign.db")
	db, err := bolt.Open(foreign, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(foreign)
	if err != nil {
		t.Fatal(err)
	}
	noMeta := bytes.Clone(whole)
	clear(noMeta[16+8 : 16+metaSize])
	clear(noMeta[4096+16 : 4096+16+metaSize])
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"empty":       {nil, ErrNotBolt},
		"one byte":    {[]byte{1}, ErrNotBolt},
		"text":        {bytes.Repeat([]byte("not a database "), 10000), ErrNotBolt},
		"zeros":       {make([]byte, 1<<18), ErrNotBolt},
		"half":        {whole[:len(whole)/2], ErrTruncated},
		"meta only":   {whole[:8192], ErrTruncated},
		"first page":  {whole[:4096], ErrTruncated},
		"broken meta": {noMeta, ErrDamaged},
		"foreign":     {other, ErrNotAtlantis},
	} {
		t.Run(name, func(t *testing.T) {
			dir, tmp := t.TempDir(), t.TempDir()
			path := filepath.Join(dir, "atlantis.db")
			if err := os.WriteFile(path, c.b, 0o400); err != nil {
				t.Fatal(err)
			}
			r, err := ImportBolt(t.Context(), newCluster(), BoltImport{File: path, TempDir: tmp})
			if !errors.Is(err, c.want) || r != nil {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
				t.Errorf("%d files left behind, %v", len(left), err)
			}
		})
	}
	for name, path := range map[string]string{"absent": filepath.Join(t.TempDir(), "none"), "a directory": t.TempDir()} {
		if _, err := ImportBolt(t.Context(), newCluster(), BoltImport{File: path}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A database that one meta page of was torn by a crash is read by the other.
func TestTornMetaPage(t *testing.T) {
	f := mustFixture(t, "atlantis-0.47.1")
	for page := range int64(2) {
		path := copyFile(t, f.file)
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteAt([]byte("torn"), page*4096+16+48); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		c, err := CopyBolt(t.Context(), path, t.TempDir())
		if err != nil {
			t.Errorf("page %d: %v", page, err)
			continue
		}
		// The state before may be one without the data; it is a state all the same.
		if _, err := ReadBolt(c); err != nil && !errors.Is(err, ErrNotAtlantis) {
			t.Errorf("page %d: %v", page, err)
		}
	}
}

// A copy that is called off ends at once and says so.
func TestCopyEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tries := range []int{1, copyEager} {
		if err := pause(ctx, tries); !errors.Is(err, context.Canceled) {
			t.Errorf("after %d tries: %v", tries, err)
		}
	}
}

// Whatever bbolt itself writes, with buckets in buckets, large values and many
// deletions, the verifier accepts.
func TestVerifierAcceptsSoundFiles(t *testing.T) {
	rng := testutil.Rand(t)
	for _, o := range []bolt.Options{{}, {NoFreelistSync: true}, {PageSize: 1024}, {PageSize: 16384, FreelistType: bolt.FreelistMapType}} {
		path := filepath.Join(t.TempDir(), "sound.db")
		o.NoSync = true
		db, err := bolt.Open(path, 0o600, &o)
		if err != nil {
			t.Fatal(err)
		}
		for range 12 {
			err := db.Update(func(tx *bolt.Tx) error { return scramble(tx, rng) })
			if err != nil {
				t.Fatal(err)
			}
			c, err := CopyBolt(t.Context(), path, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ReadBolt(c); err != nil {
				t.Fatalf("%+v: %v", o, err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func scramble(tx *bolt.Tx, rng *rand.Rand) error {
	b, err := tx.CreateBucketIfNotExists([]byte(BucketLocks))
	if err != nil {
		return err
	}
	for range 100 {
		key := binary.BigEndian.AppendUint64(nil, rng.Uint64N(2000))
		if rng.IntN(3) == 0 {
			if err := b.Delete(key); err != nil {
				return err
			}
			continue
		}
		if err := b.Put(key, make([]byte, rng.IntN(30)*rng.IntN(100))); err != nil {
			return err
		}
	}
	in, err := b.CreateBucketIfNotExists(fmt.Appendf(nil, "nested%d", rng.IntN(5)))
	if err != nil {
		return err
	}
	return in.Put([]byte("k"), make([]byte, rng.IntN(6000)))
}

// Any bytes in place of a database are refused or imported, never more: no
// crash, no endless walk, and no piece of a value in the error.
func FuzzBoltFile(f *testing.F) {
	seed, err := os.ReadFile(filepath.Join("testdata", "atlantis-eras.db"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{}, uint32(0))
	f.Add([]byte{0xff, 0xff}, uint32(3*4096+8))
	f.Add(bytes.Repeat([]byte{1, 0}, 40), uint32(4*4096))
	f.Add([]byte{2, 0, 0, 0}, uint32(2*4096+12))
	f.Fuzz(func(t *testing.T, patch []byte, at uint32) {
		b := bytes.Clone(seed)
		off := int(at) % len(b)
		copy(b[off:], patch)
		fixSums(b)
		path := filepath.Join(t.TempDir(), "f.db")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		c := newCluster()
		r, err := ImportBolt(t.Context(), c, BoltImport{File: path, TempDir: t.TempDir()})
		if err != nil {
			if strings.Contains(err.Error(), "CANARY") {
				t.Fatal("the error shows a secret")
			}
			return
		}
		if got := len(c.locks()); got != r.Imported {
			t.Fatalf("%d locks, %d reported", got, r.Imported)
		}
	})
}

// fixSums makes the checksums of both meta pages right, so that a change
// inside them gets past the first check.
func fixSums(b []byte) {
	for _, at := range []int{pageHeaderSize, 4096 + pageHeaderSize} {
		binary.NativeEndian.PutUint64(b[at+metaSumOffset:], metaSum(b[at:]))
	}
}
