package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/migration"
	"github.com/lockcluster/lockcluster/migration/controller"
	"github.com/lockcluster/lockcluster/rpc"
)

var sampleTime = time.Date(2026, 11, 1, 10, 0, 0, 123456789, time.UTC)

func samples() []lockcluster.Lock {
	return []lockcluster.Lock{
		{
			Key:  lockcluster.Key{Namespace: "default", Repo: "acme/infra", Path: ".", Workspace: "default"},
			Kind: lockcluster.KindPull, Owner: lockcluster.Owner{Repo: "acme/infra", Pull: 7, Host: "vcs.example"},
			User: "ann", Token: lockcluster.Token{Epoch: 1, Counter: 42}, AcquiredAt: sampleTime,
			Value: []byte(`{"Pull":{"BaseRepo":{"CloneURL":"https://canary:secret@vcs.example/acme/infra.git"}}}`),
		},
		{
			Key:  lockcluster.Key{Namespace: "db3", Repo: "acme/\x1b[31mred", Path: "net", Workspace: "prod", Project: "p"},
			Kind: lockcluster.KindLeased, Owner: lockcluster.Owner{ID: "ci-1"}, Priority: lockcluster.PriorityHigh,
			Token: lockcluster.Token{Epoch: 2, Counter: 1}, AcquiredAt: sampleTime, RenewedAt: sampleTime, TTL: time.Minute,
		},
	}
}

func sequence(locks []lockcluster.Lock, last error) iter.Seq2[*lockcluster.Lock, error] {
	return func(yield func(*lockcluster.Lock, error) bool) {
		for i := range locks {
			if !yield(&locks[i], nil) {
				return
			}
		}
		if last != nil {
			yield(nil, last)
		}
	}
}

// Locks are shown as they always were, and never with what a legacy client
// stored; what a terminal would obey is made visible.
func TestLockOutput(t *testing.T) {
	for _, output := range []string{outputTable, outputJSON} {
		var out bytes.Buffer
		a := &app{Streams: Streams{Out: &out}, output: output}
		if err := a.printList(sequence(samples(), nil), &systems{}); err != nil {
			t.Fatal(err)
		}
		for _, l := range samples() {
			v := viewOf(&l, &systems{})
			if err := a.print(v, v.details); err != nil {
				t.Fatal(err)
			}
		}
		if strings.Contains(out.String(), "secret") || strings.Contains(out.String(), "\x1b") {
			t.Errorf("%s shows a secret or an escape sequence", output)
		}
		golden(t, "locks-"+output+".txt", out.String())
	}
}

// A list of nothing is an empty array, and a list that broke is no JSON at all,
// so that no script takes it for the whole.
func TestListEnds(t *testing.T) {
	var out bytes.Buffer
	a := &app{Streams: Streams{Out: &out}, output: outputJSON}
	if err := a.printList(sequence(nil, nil), &systems{}); err != nil || out.String() != "[]\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
	out.Reset()
	a.output = outputTable
	if err := a.printList(sequence(nil, nil), &systems{}); err != nil || out.String() != "no locks\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
	a.output = outputJSON
	out.Reset()
	broken := errors.New("broken")
	if err := a.printList(sequence(samples(), broken), &systems{}); !errors.Is(err, broken) || json.Valid(out.Bytes()) {
		t.Errorf("got %v and %s", err, out.String())
	}
}

// The status says whose view it is, and what is true of the leader: that it does
// not answer here need not mean that it is down.
func TestViewNote(t *testing.T) {
	of := func(id, leader, addr string) statusView {
		return statusView{FromLeader: id == leader, ClusterStatus: rpc.ClusterStatus{NodeID: id, Leader: leader, LeaderGRPCAddr: addr}}
	}
	for want, v := range map[string]statusView{
		"":                                   of("n1", "n1", "n1:7100"),
		"as seen by n1, which has no leader": of("n1", "", ""),
		"as seen by n1, which may be catching up: the leader n2 does not answer this command at n2:7100": of("n1", "n2", "n2:7100"),
		"as seen by n1, which may be catching up: it does not know the address of the leader n2 yet":     of("n1", "n2", ""),
	} {
		if got := viewNote(v); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	var out bytes.Buffer
	if err := statusTable(&out, statusView{Warning: "another cluster answers"}); err != nil || !strings.Contains(out.String(), "another cluster answers\n") {
		t.Errorf("%s, %v", out.String(), err)
	}
}

// The cluster's status and an import's report are shown as they always were.
func TestTables(t *testing.T) {
	var out bytes.Buffer
	if err := statusTable(&out, statusView{Note: "as seen by n3, which may be catching up", ClusterStatus: rpc.ClusterStatus{
		Leader: "n1", Term: 3, CommitIndex: 17, Mode: "enhanced", ActiveSystem: "enhanced", Epoch: 2, Locks: 121, CommandLocks: 2, Documents: 1,
		Members: []rpc.MemberStatus{
			{ID: "n1", Address: "10.0.0.1:7000", Role: "leader", Suffrage: "voter", Reachable: true, AppliedIndex: 17, StateHash: "bf4dc7474f5512345678"},
			{ID: "n2", Address: "10.0.0.2:7000", Suffrage: "voter", Problem: "no answer"},
			{ID: "n3", Address: "10.0.0.3:7000", Role: "follower", Suffrage: "non-voter", Reachable: true, AppliedIndex: 16, StateHash: "bf"},
		},
	}}); err != nil {
		t.Fatal(err)
	}
	golden(t, "status.txt", out.String())

	out.Reset()
	if err := importTable(&out, &migration.Report{
		Source: "boltdb:atlantis.db", Namespace: "default", DryRun: true, Imported: 3, Unchanged: 1, Pulls: 2, CommandLocks: 1, Digest: "sha256:00",
		SourceSHA256: "a", SourceSHA256After: "b", CommandLockNames: []string{"apply"}, QuarantineDir: "left-over",
		IgnoredBuckets: []string{"photos"},
		Duplicates:     []migration.Duplicate{{Identity: "a/b/c/d/", Bucket: "runLocks", Kept: "a/b/c/d/", Dropped: []string{"a/b/c/d"}}},
		Notes: []migration.Note{
			{Bucket: "runLocks", Key: "a/b/e/f", Identity: "a/b/e/f/", About: []string{"it names no VCS host"}},
			{Bucket: "runLocks", About: []string{"1 lock was added to a cluster that had records of this source already"}},
		},
		Quarantined: []migration.Quarantined{{Bucket: "runLocks", Key: "a/b/c\x00", Reason: "the value is not JSON"}},
		Conflicts: []migration.Conflict{
			{Identity: "a/b/./default/", Reason: "two pull requests hold it", Candidates: []migration.Candidate{
				{In: migration.InSource, Key: "a/b/./default", Repo: "a/b", Pull: 1, User: "ann", Time: "2026-01-01T00:00:00Z"},
				{In: migration.InSource, Key: "a/b/./default/", Repo: "a/b", Pull: 2, User: "bob"},
			}},
			{Identity: "a/b/./prod/", Kept: "k1", Candidates: []migration.Candidate{
				{In: migration.InSource, Key: "k1", Repo: "a/b", Pull: 1}, {In: migration.InCluster, Key: "k2", Owner: "ci"},
			}},
		},
	}); err != nil {
		t.Fatal(err)
	}
	golden(t, "import.txt", out.String())
}

// A change that is none is not announced as one, and neither a switch nor the way
// back is offered while it is barred: there is why, and what to do.
func TestMigrationTables(t *testing.T) {
	for _, c := range []struct {
		table func(w io.Writer) error
		want  string
	}{
		{func(w io.Writer) error {
			return switchTable(w, &lockcluster.SwitchResult{From: "enhanced", To: "enhanced", DryRun: true, Checks: []string{"decides already"}})
		}, "checked: decides already\n"},
		{func(w io.Writer) error {
			return switchTable(w, &lockcluster.SwitchResult{From: "legacy", To: "enhanced", DryRun: true})
		}, "a switch from legacy to enhanced would go ahead; nothing was changed\n"},
		{func(w io.Writer) error {
			return modeTable(w, &lockcluster.ModeResult{From: "blue-green enhanced", Mode: "blue-green", DryRun: true, Differences: 6, Notes: []string{"6 records change"}})
		}, "6 records change\nDRY RUN: mode blue-green stays; nothing was changed\n"},
		{func(w io.Writer) error {
			return modeTable(w, &lockcluster.ModeResult{From: "shadow", Mode: "blue-green", DryRun: true, Differences: 1})
		}, "mode shadow would become blue-green: 1 record to copy into the other system; nothing was changed\n"},
		{func(w io.Writer) error {
			return modeTable(w, &lockcluster.ModeResult{From: "shadow", Mode: "shadow", ActiveSystem: "legacy", Epoch: 4, Notes: []string{"that is the mode already"}})
		}, "that is the mode already\nmode shadow · active system legacy · epoch 4\n"},
	} {
		var out bytes.Buffer
		if err := c.table(&out); err != nil || out.String() != c.want {
			t.Errorf("%v, got:\n%s\nwant:\n%s", err, out.String(), c.want)
		}
	}

	s := controller.Status{Mode: "blue-green", ActiveSystem: "enhanced", Legacy: controller.LegacyStatus{Kind: "redis", Reachable: true}}
	const way, waits = "the way back: lockcluster cluster switch legacy", "the way back waits for the legacy system"
	for _, c := range []struct{ active, problem, whyNot, want string }{
		{"enhanced", "", "", way},
		{"enhanced", "it was emptied", "it was emptied", waits},
		{"enhanced", "", "in use; stop it", "the way back (lockcluster cluster switch legacy) would be refused: in use; stop it\n"},
		{"legacy", "", "", "a switch to the enhanced system would be let through\n"},
		{"legacy", "", "in use; stop it", "a switch to the enhanced system would be refused: in use; stop it\n"},
	} {
		s.ActiveSystem, s.Legacy.Problem, s.SwitchWhyNot, s.SwitchReady = c.active, c.problem, c.whyNot, c.whyNot == ""
		var out bytes.Buffer
		if err := migrationTable(&out, &s); err != nil || !strings.Contains(out.String(), c.want) {
			t.Errorf("%v, want %q in\n%s", err, c.want, out.String())
		}
	}
}

// Two holders of one record that look alike are told apart by what differs, in the
// table and in the JSON.
func TestCompareOutput(t *testing.T) {
	c := controller.Comparison{Namespace: "default", Equal: 3, Differ: 1, OnlyLegacy: 1, Records: []controller.Difference{
		{Kind: "lock", Key: "acme/infra/./default/", Legacy: "pull request #7 of acme/infra", Enhanced: "pull request #7 of acme/infra", Parts: []controller.PartDifference{
			{Part: "VCS host", Enhanced: "vcs.example"}, {Part: "token", Legacy: "1:3", Enhanced: "2:4"},
		}},
		{Kind: "command lock", Key: "apply", Legacy: "locked"},
	}}
	for _, output := range []string{outputTable, outputJSON} {
		var out bytes.Buffer
		a := &app{Streams: Streams{Out: &out}, output: output}
		if err := a.print(c, func(w io.Writer) error { return compareTable(w, &c) }); err != nil {
			t.Fatal(err)
		}
		golden(t, "compare-"+output+".txt", out.String())
	}
}
