package backends_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/fsm/state"
)

func boltOptions(t testing.TB) backends.Options {
	t.Helper()
	return backends.Options{Backend: "boltdb", Path: filepath.Join(t.TempDir(), "atlantis.db"), Create: true}
}

// An unknown backend is refused with the names of the known ones.
func TestOpenUnknown(t *testing.T) {
	for _, name := range []string{"", "etcd", "BoltDB"} {
		_, err := backends.Open(t.Context(), backends.Options{Backend: name})
		if !errors.Is(err, backends.ErrUnknownBackend) || !strings.Contains(err.Error(), "boltdb and redis") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := backends.Open(t.Context(), backends.Options{Backend: "boltdb", Namespace: "a b"}); !errors.Is(err, lockcluster.ErrInvalid) {
		t.Errorf("a bad namespace: %v", err)
	}
}

// A file that another process has open is refused within two seconds, and the
// text says who it may be.
func TestBoltInUse(t *testing.T) {
	o := boltOptions(t)
	first := mustOpen(t, o)
	began := time.Now()
	_, err := backends.Open(t.Context(), o)
	if !errors.Is(err, backends.ErrInUse) || !strings.Contains(err.Error(), "Atlantis") || time.Since(began) > 2*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, o)
}

// What is no Atlantis database is not made into one, unless it is asked for,
// and stays as it is.
func TestBoltNotAtlantis(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	other := filepath.Join(dir, "other.db")
	withBolt(t, other, func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("x")); return err })
	whole, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{
		"absent": filepath.Join(dir, "absent.db"), "empty": write("empty.db", ""), "text": write("text.db", strings.Repeat("not a database\n", 1000)),
		"directory": dir, "another": other, "torn": write("torn.db", string(whole[:5000])),
		"damaged": write("damaged.db", string(whole[:8192])+strings.Repeat("\xff", len(whole)-8192)),
	} {
		before, _ := os.ReadFile(file)
		if b, err := backends.Open(t.Context(), backends.Options{Backend: "boltdb", Path: file}); err == nil {
			t.Errorf("%s: opened", name)
			_ = b.Close()
		}
		if after, _ := os.ReadFile(file); !bytes.Equal(before, after) {
			t.Errorf("%s: the file was changed", name)
		}
	}
	b := mustOpen(t, backends.Options{Backend: "boltdb", Path: filepath.Join(dir, "empty.db"), Create: true})
	if err := b.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// When another file has taken the place of ours, an Atlantis may be working on
// it: nothing is granted any more.
func TestBoltReplaced(t *testing.T) {
	o := boltOptions(t)
	b := mustOpen(t, o)
	f := backends.Fence{Term: 1}
	if _, err := b.Do(t.Context(), f, time.Now(), acquirePull(lockKey("a"), 1)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(o.Path, o.Path+".bak"); err != nil {
		t.Fatal(err)
	}
	if err := b.Check(t.Context()); !errors.Is(err, backends.ErrUnavailable) {
		t.Errorf("check: %v", err)
	}
	_, err := b.Do(t.Context(), f, time.Now(), acquirePull(lockKey("b"), 1))
	if !errors.Is(err, backends.ErrUnavailable) || errors.Is(err, lockcluster.ErrOutcomeUnknown) {
		t.Errorf("do: %v", err)
	}
	if err := os.Rename(o.Path+".bak", o.Path); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Do(t.Context(), f, time.Now(), acquirePull(lockKey("b"), 1)); !errors.Is(err, backends.ErrUnavailable) {
		t.Errorf("a backend that has failed works again without being opened: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if got := holderOf(t, mustOpen(t, o), lockKey("b")); got != 0 {
		t.Errorf("pull %d was granted a lock by a refused request", got)
	}
}

// After a write that failed, the outcome is unknown and the backend refuses
// everything until it is opened again; what was answered before is there.
func TestBoltWriteFails(t *testing.T) {
	o := boltOptions(t)
	b := mustOpen(t, o)
	f := backends.Fence{Term: 1}
	if _, err := b.Do(t.Context(), f, time.Now(), acquirePull(lockKey("a"), 1)); err != nil {
		t.Fatal(err)
	}
	makeReadOnly(t, o.Path)
	if _, err := b.Do(t.Context(), f, time.Now(), acquirePull(lockKey("b"), 1)); !errors.Is(err, lockcluster.ErrOutcomeUnknown) || !errors.Is(err, backends.ErrUnavailable) {
		t.Errorf("the failed write: %v", err)
	}
	for name, err := range map[string]error{
		"do":    second(b.Do(t.Context(), f, time.Now(), acquirePull(lockKey("a"), 1))),
		"view":  second(b.View(t.Context())),
		"read":  b.Read(t.Context(), func(state.Reader) {}),
		"check": b.Check(t.Context()),
		"raise": b.Raise(t.Context(), backends.Fence{Term: 9}),
	} {
		if !errors.Is(err, backends.ErrUnavailable) || errors.Is(err, lockcluster.ErrOutcomeUnknown) {
			t.Errorf("%s after it: %v", name, err)
		}
	}
	_ = b.Close()
	b = mustOpen(t, o)
	if got := holderOf(t, b, lockKey("a")); got != 1 {
		t.Errorf("pull %d holds the lock that was answered", got)
	}
}

func second[T any](_ T, err error) error { return err }

// Records that can be none are listed and left alone.
func TestBoltForeignRecords(t *testing.T) {
	o := boltOptions(t)
	if err := mustOpen(t, o).Close(); err != nil {
		t.Fatal(err)
	}
	nested := lockKey("nested")
	withBolt(t, o.Path, func(tx *bolt.Tx) error {
		_, err := tx.Bucket([]byte("runLocks")).CreateBucket([]byte(nested.Text()))
		return errors.Join(err, tx.Bucket([]byte("pulls")).Put([]byte("odd"), []byte("x")), tx.Bucket([]byte("globalLocks")).Put([]byte("odd"), []byte("x")))
	})
	b := mustOpen(t, o)
	bad, err := b.(backends.Inspector).Unreadable(t.Context())
	if err != nil || len(bad) != 3 || bad[0].Bucket != "globalLocks" || bad[1].Bucket != "pulls" || bad[2].Key != nested.Text() {
		t.Errorf("listed %+v, %v", bad, err)
	}
	f := backends.Fence{Term: 1}
	if res, err := b.Do(t.Context(), f, time.Now(), acquirePull(nested, 1)); err != nil || res.Status != lockcluster.StatusInvalid {
		t.Errorf("the nested one: %s, %v", res.Status, err)
	}
	odd := lockcluster.PutDocument{Namespace: lockcluster.DefaultNamespace, Key: "odd", Value: []byte("ours")}
	if res, err := b.Do(t.Context(), f, time.Now(), odd); err != nil || res.Status != lockcluster.StatusStored {
		t.Errorf("a document of that name: %s, %v", res.Status, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	withBolt(t, o.Path, func(tx *bolt.Tx) error {
		if string(tx.Bucket([]byte("pulls")).Get([]byte("odd"))) != "x" {
			t.Error("the odd record has changed")
		}
		return nil
	})
}

// Close answers everybody who waits, and later calls are refused.
func TestCloseWhileBusy(t *testing.T) {
	b := mustOpen(t, boltOptions(t))
	var wg sync.WaitGroup
	for c := range 32 {
		wg.Go(func() {
			for i := 0; ; i++ {
				_, err := b.Do(t.Context(), backends.Fence{Term: 1}, time.Now(), acquirePull(lockKey(fmt.Sprint(c, i)), 1))
				if errors.Is(err, lockcluster.ErrClosed) || errors.Is(err, backends.ErrUnavailable) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	time.Sleep(50 * time.Millisecond) // some of them shall be under way
	if err := errors.Join(b.Close(), b.Close()); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if _, err := b.View(t.Context()); !errors.Is(err, lockcluster.ErrClosed) {
		t.Errorf("view: %v", err)
	}
}

// A caller that has gone before its turn has changed nothing.
func TestCancelled(t *testing.T) {
	b := mustOpen(t, boltOptions(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 100 {
		k := lockKey(fmt.Sprint(i))
		_, err := b.Do(ctx, backends.Fence{Term: 1}, time.Now(), acquirePull(k, 1))
		got := holderOf(t, b, k)
		if err == nil && got != 1 || errors.Is(err, backends.ErrUnavailable) && !errors.Is(err, lockcluster.ErrOutcomeUnknown) && got != 0 {
			t.Errorf("%v, and pull %d holds it", err, got)
		}
	}
}

const killedEnv = "LOCKCLUSTER_TEST_KILLED"

// Every lock that was answered before the process was killed is there.
func TestBoltKilled(t *testing.T) {
	if path := os.Getenv(killedEnv); path != "" {
		takeForEver(t, path)
		return
	}
	o := boltOptions(t)
	token := lockcluster.Token{}
	for round := range 3 {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestBoltKilled$")
		cmd.Env = append(os.Environ(), killedEnv+"="+o.Path)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		answered := map[string]bool{}
		for lines := bufio.NewScanner(out); lines.Scan() && len(answered) < 200; {
			if key, ok := strings.CutPrefix(lines.Text(), "took "); ok {
				answered[key] = true
			}
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		b := mustOpen(t, o)
		view, err := b.View(t.Context())
		if err == nil {
			err = state.CheckImage(view)
		}
		if err != nil || len(answered) < 200 {
			t.Fatalf("round %d: %d answers, %v", round, len(answered), err)
		}
		for key := range answered {
			if state.GetLock(view, lockcluster.DefaultNamespace, key) == nil {
				t.Errorf("round %d: %s was answered and is gone", round, key)
			}
		}
		last := state.GetStats(view).LastToken
		if !token.Less(last) {
			t.Errorf("round %d: the last token is %s, it was %s", round, last, token)
		}
		token = last
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// takeForEver takes locks and says so, until it is killed.
func takeForEver(t *testing.T, path string) {
	b := mustOpen(t, backends.Options{Backend: "boltdb", Path: path, Create: true})
	start := time.Now().UnixNano()
	for i := 0; ; i++ {
		k := lockKey(fmt.Sprintf("%d/%d", start, i))
		if _, err := b.Do(t.Context(), backends.Fence{Term: 1}, time.Now(), acquirePull(k, 1)); err != nil {
			t.Fatal(err)
		}
		fmt.Println("took " + k.Text())
	}
}
