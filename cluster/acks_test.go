package cluster

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

func isDone(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Only voters that were asked after the question count, in the same term, and
// each once: an answer that was on its way says nothing, and neither does a
// non-voter's.
func TestAcksCountOnlyFreshVoters(t *testing.T) {
	a := newAcks()
	early := a.next()
	w := a.expect(5, []raft.ServerID{"n2", "n3", "n4", "n5"}, 2)
	a.confirm("n2", 5, early)    // sent before the question
	a.confirm("n3", 4, a.next()) // of another term
	a.confirm("n9", 5, a.next()) // no voter
	a.confirm("n4", 5, a.next())
	a.confirm("n4", 5, a.next()) // again
	if isDone(w.done) {
		t.Fatal("confirmed by one fresh voter of two")
	}
	a.confirm("n2", 5, a.next())
	if !isDone(w.done) {
		t.Fatal("not confirmed by two fresh voters")
	}
	if len(a.waits) != 0 {
		t.Errorf("%d waits are left", len(a.waits))
	}
	dropped := a.expect(5, []raft.ServerID{"n2"}, 1)
	a.drop(dropped)
	a.drop(dropped)
	a.confirm("n2", 5, a.next())
	if isDone(dropped.done) {
		t.Error("a dropped wait was confirmed")
	}
}

type heartbeatTransport struct {
	*raft.InmemTransport
	t *testing.T
}

func (h heartbeatTransport) SetHeartbeatHandler(func(raft.RPC)) {
	h.t.Error("the heartbeat fast path reached the transport")
}

// The heartbeat fast path, which lets nodes commit different entries
// (hashicorp/raft#695), is off.
func TestNoHeartbeatFastPath(t *testing.T) {
	_, inner := raft.NewInmemTransport("n1:1")
	trans, err := newTransport(heartbeatTransport{inner, t}, newAcks())
	if err != nil {
		t.Fatal(err)
	}
	trans.SetHeartbeatHandler(func(raft.RPC) {})
}

// Raft is started in one place of the module, and the transport it gets there
// is the one without the fast path.
func TestRaftIsStartedInOnePlace(t *testing.T) {
	call := regexp.MustCompile(`raft\.NewRaft\(([^)]*)\)`)
	var found []string
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range call.FindAllStringSubmatch(string(content), -1) {
			if f, err := parser.ParseFile(token.NewFileSet(), path, content, parser.PackageClauseOnly); err != nil || f.Name.Name != "cluster" {
				t.Errorf("%s starts raft", path)
			}
			found = append(found, m[1])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || !strings.HasSuffix(found[0], "n.trans") {
		t.Errorf("raft is started with %q, want one place, and n.trans as transport", found)
	}
}
