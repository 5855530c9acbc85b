package state_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// stateOf returns a state in which requests were decided, each in its own entry.
func stateOf(t *testing.T, requests ...lockcluster.Request) *state.Mem {
	t.Helper()
	mem := state.NewMem()
	for i, req := range requests {
		mem.Update(uint64(i+1), 1, func(tx state.Tx) {
			a := state.Begin(tx, state.Env{Index: uint64(i + 1), Term: 1, Now: time.UnixMilli(1)})
			if res := a.Do(command.Command{Request: req}); res.Status == lockcluster.StatusInvalid {
				t.Fatalf("%T: %s", req, res.Text)
			}
			a.End()
		})
	}
	return mem
}

func acquire(ns, repo, path, workspace, project string, pull int) lockcluster.Acquire {
	return lockcluster.Acquire{
		Key:   lockcluster.Key{Namespace: ns, Repo: repo, Path: path, Workspace: workspace, Project: project},
		Owner: lockcluster.Owner{Repo: repo, Pull: pull},
	}
}

func listed(r state.Reader, ns string, f state.LockFilter) string {
	var all []string
	state.ListLocks(r, ns, f, func(l *lockcluster.Lock) bool {
		all = append(all, l.Key.Text())
		return true
	})
	return strings.Join(all, " ")
}

// TestListLocks: a filter selects exactly its repository, pull request, prefix
// and what comes after, never a repository whose name merely begins alike.
func TestListLocks(t *testing.T) {
	view := stateOf(t,
		acquire("default", "org/app", ".", "default", "", 1),
		acquire("default", "org/app", "a", "default", "", 2),
		acquire("default", "org/app", "b", "default", "", 1),
		acquire("default", "org/app2", ".", "default", "", 1),
		acquire("default", "org/app/sub", ".", "default", "", 1),
		acquire("db1", "org/app", ".", "default", "", 1),
	).View()
	for _, c := range []struct {
		filter state.LockFilter
		want   string
	}{
		{state.LockFilter{}, "org/app/./default/ org/app/a/default/ org/app/b/default/ org/app/sub/./default/ org/app2/./default/"},
		{state.LockFilter{Repo: "org/app"}, "org/app/./default/ org/app/a/default/ org/app/b/default/"},
		{state.LockFilter{Repo: "org/app", Pull: 1}, "org/app/./default/ org/app/b/default/"},
		{state.LockFilter{Repo: "org/app", Pull: 1, After: "org/app/./default/"}, "org/app/b/default/"},
		{state.LockFilter{Repo: "org/app", Pull: 1, Text: "org/app/b"}, "org/app/b/default/"},
		{state.LockFilter{Repo: "org/app", Text: "org/app/a"}, "org/app/a/default/"},
		{state.LockFilter{Repo: "org/app", After: "org/app/a/default/"}, "org/app/b/default/"},
		{state.LockFilter{Text: "org/app2"}, "org/app2/./default/"},
		{state.LockFilter{Pull: 2}, "org/app/a/default/"},
		{state.LockFilter{After: "org/app/b/default/"}, "org/app/sub/./default/ org/app2/./default/"},
		{state.LockFilter{Repo: "org"}, ""},
		{state.LockFilter{Repo: "org/app", Pull: 9}, ""},
	} {
		if got := listed(view, "default", c.filter); got != c.want {
			t.Errorf("%+v:\n got %s\nwant %s", c.filter, got, c.want)
		}
	}
	n := 0
	state.ListLocks(view, "default", state.LockFilter{Repo: "org/app", Pull: 1}, func(*lockcluster.Lock) bool { n++; return false })
	if n != 1 {
		t.Errorf("the listing went on %d times after it was stopped", n)
	}
}

// TestFindLock: a key in the form of old Atlantis versions means the lock of
// that repository, path and workspace, not one whose text merely begins so.
func TestFindLock(t *testing.T) {
	view := stateOf(t,
		acquire("default", "org/app", "dir", "ws", "proj", 1),
		acquire("default", "org/app", "dir", "ws2", "", 2),
		acquire("default", "org", "app/dir", "other", "", 3),
	).View()
	for text, pull := range map[string]int{
		"org/app/dir/ws/proj": 1, "org/app/dir/ws": 1, "org/app/dir/ws2": 2, "org/app/dir/ws2/": 2, "org/app/dir/other": 3,
		"org/app/dir": 0, "org/app/dir/w": 0, "org/app/dir/ws/pro": 0, "": 0,
	} {
		l := state.FindLock(view, "default", text)
		switch {
		case pull == 0 && l != nil:
			t.Errorf("%q found the lock of %s", text, l.Owner)
		case pull != 0 && (l == nil || l.Owner.Pull != pull):
			t.Errorf("%q did not find the lock of pull %d", text, pull)
		}
	}
}

// TestKeysAndNamespaces: keys are listed in order within their space and
// namespace; a namespace counts while it holds anything.
func TestKeysAndNamespaces(t *testing.T) {
	view := stateOf(t,
		lockcluster.PutDocument{Namespace: "db1", Key: "b\x00\xff"},
		lockcluster.PutDocument{Namespace: "db1", Key: "b"},
		lockcluster.PutDocument{Namespace: "db1", Key: "a"},
		lockcluster.PutDocument{Namespace: "db10", Key: "z"},
		lockcluster.LockCommand{Namespace: "cmd", Name: "apply", Value: []byte("v")},
		acquire("default", "org/app", ".", "default", "", 1),
		lockcluster.PutDocument{Namespace: "gone", Key: "z"},
		lockcluster.DeleteDocument{Namespace: "gone", Key: "z"},
	).View()
	keys := func(ns string, space lockcluster.Space, prefix string) string {
		var all []string
		state.Keys(view, ns, space, prefix, func(key string) bool { all = append(all, key); return true })
		return fmt.Sprintf("%q", all)
	}
	for got, want := range map[string]string{
		keys("db1", lockcluster.SpaceDocument, ""):  `["a" "b" "b\x00\xff"]`,
		keys("db1", lockcluster.SpaceDocument, "b"): `["b" "b\x00\xff"]`,
		keys("cmd", lockcluster.SpaceCommand, ""):   `["apply"]`,
		keys("default", lockcluster.SpaceLock, ""):  `["org/app/./default/"]`,
		keys("default", 9, ""):                      `[]`,
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := state.Namespaces(view); !slices.Equal(got, []string{"cmd", "db1", "db10", "default"}) {
		t.Errorf("namespaces %q", got)
	}
}

// TestNodesAndHashes: what a node has registered is found by its id, and a hash
// reads back from its text.
func TestNodesAndHashes(t *testing.T) {
	n := lockcluster.RegisterNode{NodeID: "n1", RaftAddr: "a:1", GRPCAddr: "a:2", HTTPAddr: "a:3", RESPAddr: "a:4", Version: "v1", FeatureLevel: 7}
	mem := stateOf(t, lockcluster.RegisterNode{NodeID: "n2"}, lockcluster.RegisterNode{NodeID: "n1"}, n)
	if got, ok := state.GetNode(mem.View(), "n1"); !ok || got != n {
		t.Errorf("got %+v", got)
	}
	if _, ok := state.GetNode(mem.View(), "n"); ok {
		t.Error("found a node that has not registered")
	}
	var ids []string
	state.Nodes(mem.View(), func(n lockcluster.RegisterNode) bool { ids = append(ids, n.NodeID); return true })
	if !slices.Equal(ids, []string{"n1", "n2"}) {
		t.Errorf("nodes %q", ids)
	}
	hashes, _ := mem.Hashes()
	if got, ok := state.ParseHash(hashes.Books.String()); !ok || got != hashes.Books {
		t.Errorf("%s read back as %v", hashes.Books, got)
	}
	for _, bad := range []string{"", "00", "zz", hashes.Books.String() + "00"} {
		if _, ok := state.ParseHash(bad); ok {
			t.Errorf("%q is no hash", bad)
		}
	}
}

// TestTrial: a trial decides by the real rules, sees its own changes and
// reaches the state only as the caller's overlay.
func TestTrial(t *testing.T) {
	mem := stateOf(t, acquire("default", "org/app", ".", "default", "", 1))
	before, _ := mem.Hashes()
	overlay := state.NewOverlay(mem.View())
	env := state.Env{Index: 9, Term: 1, Now: time.UnixMilli(1)}
	text := "org/app/./default/"
	steps := []struct {
		req  lockcluster.Request
		want lockcluster.Status
	}{
		{acquire("default", "org/app", ".", "default", "", 2), lockcluster.StatusHeld},
		{lockcluster.Release{Namespace: "default", Text: text}, lockcluster.StatusReleased},
		{acquire("default", "org/app", ".", "default", "", 2), lockcluster.StatusGranted},
		{lockcluster.Release{Namespace: "default", Text: ""}, lockcluster.StatusInvalid},
	}
	for _, s := range steps {
		if res := state.Trial(overlay, env, s.req); res.Status != s.want {
			t.Errorf("%T: %s, want %s", s.req, res.Status, s.want)
		}
	}
	if l := state.GetLock(overlay, "default", text); l == nil || l.Owner.Pull != 2 {
		t.Errorf("the overlay has %+v", l)
	}
	if err := state.CheckInvariants(overlay); err != nil {
		t.Error(err)
	}
	if after, _ := mem.Hashes(); after != before {
		t.Error("the trial changed the state")
	}
}
