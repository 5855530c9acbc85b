package system_test

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster/bench/internal/system"
)

// exclusive tells which systems release a lock only for the client that took
// it; as Atlantis uses its stores, whoever has seen it may.
var exclusive = map[string]bool{"etcd": true, "redis": true, "lockcluster-grpc": true}

// A lock's stored bytes have the promised size, so that all systems carry the
// same load.
func TestLockValueSize(t *testing.T) {
	for _, path := range []string{".", "env/00001", "a/much/longer/path/to/a/project/in/a/monorepo"} {
		if got := len(system.NewLock("acme/infra", path, 12).Value); got != system.ValueSize {
			t.Errorf("path %s: %d bytes, want %d", path, got, system.ValueSize)
		}
	}
}

// Systems are picked by name or pattern, each once; an unknown name is refused
// with the known ones.
func TestSelect(t *testing.T) {
	all := system.All(system.Ours{})
	picked, err := system.Select(all, "redis*,etcd,redis")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range picked {
		names = append(names, s.Name())
	}
	if got := strings.Join(names, " "); got != "redis redis-atlantis etcd" {
		t.Errorf("picked %s", got)
	}
	if _, err := system.Select(all, "etcd,mongodb"); err == nil || !strings.Contains(err.Error(), "bbolt-atlantis") {
		t.Errorf("unknown name: %v", err)
	}
}

// Every system means the same by the four operations, as far as it can.
func TestSystemsMeanTheSame(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "lockcluster")
	build := exec.Command("go", "build", "-tags", "hashicorpmetrics", "-o", bin, "./cmd/lockcluster")
	build.Dir = "../../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build lockcluster: %v\n%s", err, out)
	}
	names := system.All(system.Ours{})
	for i := range names {
		t.Run(names[i].Name(), func(t *testing.T) {
			s := system.All(system.Ours{Binary: bin, LogStore: "wal"})[i]
			d := s.Deployment()
			if err := d.Check(); err != nil {
				t.Fatalf("cannot be tested: %v", err)
			}
			t.Cleanup(func() {
				if err := d.Stop(); err != nil {
					t.Error(err)
				}
			})
			if err := d.Start(t.Context(), t.TempDir()); err != nil {
				t.Fatal(err)
			}
			checkMeaning(t, s)
		})
	}
}

func checkMeaning(t *testing.T, s system.System) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	clients, closeAll, err := s.Open(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := closeAll(); err != nil {
			t.Error(err)
		}
	}()
	first, second := clients[0], clients[1]
	mine, theirs := system.NewLock("acme/infra", "db", 1), system.NewLock("acme/infra", "db", 2)

	if got, _, err := first.TryLock(ctx, mine); err != nil || !got {
		t.Fatalf("TryLock of a free lock: %v, %v", got, err)
	}
	got, holder, err := second.TryLock(ctx, theirs)
	if err != nil || got || !bytes.Equal(holder, mine.Value) {
		t.Fatalf("TryLock of a held lock: %v, %v, holder's bytes right: %v", got, err, bytes.Equal(holder, mine.Value))
	}
	if value, err := second.Get(ctx, theirs); err != nil || !bytes.Equal(value, mine.Value) {
		t.Fatalf("Get: %v, bytes right: %v", err, bytes.Equal(value, mine.Value))
	}
	if exclusive[s.Name()] {
		if released, err := second.Unlock(ctx, theirs); err != nil || released {
			t.Fatalf("Unlock by another client: %v, %v", released, err)
		}
	}
	if released, err := first.Unlock(ctx, mine); err != nil || !released {
		t.Fatalf("Unlock: %v, %v", released, err)
	}
	if value, err := second.Get(ctx, mine); err != nil || value != nil {
		t.Fatalf("Get of a free lock: %d bytes, %v", len(value), err)
	}
	checkListing(ctx, t, s, first)
}

// checkListing loads two repositories whose names begin alike and lists one.
func checkListing(ctx context.Context, t *testing.T, s system.System, c system.Client) {
	t.Helper()
	locks := []*system.Lock{system.NewLock("acme/listed-too", "a", 1)}
	const n = 1203
	for i := range n {
		locks = append(locks, system.NewLock("acme/listed", string(rune('a'+i%26))+"/"+time.Duration(i).String(), 1))
	}
	if err := s.Deployment().Load(ctx, locks); err != nil {
		t.Fatal(err)
	}
	got, err := c.List(ctx, "acme/listed")
	if err != nil || got.Locks != n || got.Bytes != n*system.ValueSize {
		t.Fatalf("List: %+v, %v, want %d locks of %d bytes", got, err, n, system.ValueSize)
	}
}
