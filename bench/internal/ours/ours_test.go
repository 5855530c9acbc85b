package ours_test

import (
	"bytes"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster/bench/internal/ours"
	"github.com/lockcluster/lockcluster/bench/internal/system"
)

func newCluster(t *testing.T) *system.Cluster {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "lockcluster")
	build := exec.Command("go", "build", "-tags", "hashicorpmetrics", "-o", bin, "./cmd/lockcluster")
	build.Dir = "../../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build lockcluster: %v\n%s", err, out)
	}
	return system.NewCluster(system.Ours{Binary: bin, LogStore: "wal"})
}

// A failover is measured on real nodes: each kill and each transfer has its
// time, and the targets are judged.
func TestFailover(t *testing.T) {
	res, err := ours.RunFailover(t.Context(), ours.FailoverPlan{
		Cluster: newCluster(t), Kills: 2, Transfers: 2, Writers: 2, Dir: t.TempDir(), Progress: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Kills.Each) != 2 || len(res.Transfers.Each) != 2 || res.Kills.Median <= 0 || res.Transfers.Median <= 0 || len(res.Bounds) != 4 {
		t.Errorf("got %+v", res)
	}
	wantText(t, res.Write, "kill -9 of the leader", "planned transfer", "failover by kill -9, worst")
}

// With many locks every step is measured on real nodes.
func TestScale(t *testing.T) {
	res, err := ours.RunScale(t.Context(), ours.ScalePlan{
		Cluster: newCluster(t), Locks: 2050, Writers: 4, SnapshotWait: time.Second, GCWait: 0, Dir: t.TempDir(), Progress: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if res.LoadRate <= 0 || len(res.ListRepo.Each) != 50 || res.HeapPerLock <= 0 || res.Quiet.Spells == 0 || res.SnapshotSave.Spells != 1 || res.Restart == nil {
		t.Errorf("got %+v", res)
	}
	wantText(t, res.Write, "load 2050 locks", "during cluster snapshot save", "restart after kill -9")
}

func wantText(t *testing.T, write func(w io.Writer) error, want ...string) {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	for _, text := range want {
		if !strings.Contains(b.String(), text) {
			t.Errorf("%q is missing in:\n%s", text, &b)
		}
	}
}
