package state_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// rules is a state to which a test gives one request after another.
type rules struct {
	t     *testing.T
	mem   *state.Mem
	index uint64
	// digest is what decoding would find of the next request.
	digest uint64
}

func newRules(t *testing.T) *rules { return &rules{t: t, mem: state.NewMem()} }

func (r *rules) do(req lockcluster.Request) lockcluster.Result {
	return r.doAs(lockcluster.RequestID{}, req)
}

func (r *rules) doAs(id lockcluster.RequestID, req lockcluster.Request) (res lockcluster.Result) {
	r.t.Helper()
	r.index++
	r.mem.Update(r.index, 1, func(tx state.Tx) {
		a := state.Begin(tx, state.Env{Index: r.index, Term: 1})
		res = a.Do(command.Command{ID: id, Request: req, Digest: r.digest})
		a.End()
	})
	if err := state.CheckInvariants(r.mem.View()); err != nil {
		r.t.Fatal(err)
	}
	return res
}

// TestHostIsLearntByTheFirstThatNamesIt: a pull lock of an unknown host belongs
// to one host as soon as one asks for it, by a request or by an import; the
// other host's pull of that number is not told that the lock is its own.
func TestHostIsLearntByTheFirstThatNamesIt(t *testing.T) {
	of := func(host string) lockcluster.Acquire {
		r := acquire("default", "org/app", ".", "default", "", 4)
		r.Owner.Host = host
		return r
	}
	for name, ask := range map[string]func(*rules, lockcluster.Acquire) lockcluster.Result{
		"acquire": func(r *rules, req lockcluster.Acquire) lockcluster.Result { return r.do(req) },
		"import": func(r *rules, req lockcluster.Acquire) lockcluster.Result {
			return r.do(lockcluster.Import{Namespace: "default", Locks: []lockcluster.Acquire{req}}).Results[0]
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRules(t)
			token := r.do(of("")).Token
			first := ask(r, of("a.example"))
			if first.Status != lockcluster.StatusAlreadyHeld || first.Token != token || first.Lock.Owner.Host != "a.example" {
				t.Fatalf("the first host: %s %s of %+v", first.Status, first.Token, first.Lock.Owner)
			}
			if first.Lock.Revision != r.index {
				t.Errorf("revision %d, want that of the entry %d", first.Lock.Revision, r.index)
			}
			if second := ask(r, of("b.example")); second.Status != lockcluster.StatusHeld || second.Lock.Owner.Host != "a.example" {
				t.Errorf("the second host: %s of %+v, want held by a.example", second.Status, second.Lock.Owner)
			}
			if again := ask(r, of("")); again.Status != lockcluster.StatusAlreadyHeld || again.Lock.Revision != first.Lock.Revision {
				t.Errorf("one that names no host: %s, revision %d", again.Status, again.Lock.Revision)
			}
			other := acquire("default", "org/app", "other", "default", "", 5)
			other.Owner.Host = "b.example"
			if res := ask(r, other); res.Status != lockcluster.StatusHostConflict {
				t.Errorf("the second host on another path: %s, want a host conflict", res.Status)
			}
			if res := r.do(lockcluster.Release{Namespace: "default", Text: of("").Key.Text()}); res.Status != lockcluster.StatusReleased {
				t.Fatalf("release: %s", res.Status)
			}
			if res := ask(r, other); res.Status != lockcluster.StatusGranted {
				t.Errorf("the second host after the release: %s, want a grant", res.Status)
			}
		})
	}
}

// TestHostIsNotLearntAgainstTheBinding: where the repository belongs to one
// host, a pull lock of an unknown host does not take another's.
func TestHostIsNotLearntAgainstTheBinding(t *testing.T) {
	r := newRules(t)
	r.do(acquire("default", "org/app", ".", "default", "", 4))
	bound := acquire("default", "org/app", "other", "default", "", 5)
	bound.Owner.Host = "a.example"
	r.do(bound)
	foreign := acquire("default", "org/app", ".", "default", "", 4)
	foreign.Owner.Host = "b.example"
	if res := r.do(foreign); res.Status != lockcluster.StatusHostConflict {
		t.Errorf("%s, want a host conflict", res.Status)
	}
	if l := state.GetLock(r.mem.View(), "default", foreign.Key.Text()); l.Owner.Host != "" {
		t.Errorf("the lock took host %s", l.Owner.Host)
	}
}

// TestUnlockCommandByToken: of two command locks of one log entry, which have one
// revision, the token of the first does not free the second.
func TestUnlockCommandByToken(t *testing.T) {
	mem := state.NewMem()
	lock := func(a *state.Applier, value string) lockcluster.Result {
		return a.Do(command.Command{Request: lockcluster.LockCommand{Namespace: "default", Name: "apply", Value: []byte(value)}})
	}
	unlock := func(a *state.Applier, token lockcluster.Token) lockcluster.Status {
		return a.Do(command.Command{Request: lockcluster.UnlockCommand{Namespace: "default", Name: "apply", Token: token}}).Status
	}
	mem.Update(5, 1, func(tx state.Tx) {
		a := state.Begin(tx, state.Env{Index: 5, Term: 1})
		first := lock(a, "one").Token
		if got := unlock(a, first); got != lockcluster.StatusReleased {
			t.Errorf("its own token: %s", got)
		}
		second := lock(a, "two")
		if got := unlock(a, first); got != lockcluster.StatusNotHolder {
			t.Errorf("the token of the lock before it: %s", got)
		}
		if got := unlock(a, second.Token); got != lockcluster.StatusReleased {
			t.Errorf("its own token: %s", got)
		}
		a.End()
	})
}

// TestOneIDForTwoRequests: a request under the id of another is refused, gets
// nothing of the other's answer and changes nothing; the retry of the first
// still gets its answer.
func TestOneIDForTwoRequests(t *testing.T) {
	r := newRules(t)
	id := lockcluster.RequestID{ClientID: "c", Sequence: 7}
	r.digest = 1
	first := r.doAs(id, acquire("default", "org/app", ".", "default", "", 1))
	before, _ := r.mem.Hashes()
	r.digest = 2
	res := r.doAs(id, acquire("default", "org/other", ".", "default", "", 1))
	if res.Status != lockcluster.StatusInvalid || res.Lock != nil || res.Index != r.index || !strings.Contains(res.Text, "used for another request") {
		t.Errorf("%s, lock %v, index %d: %s", res.Status, res.Lock, res.Index, res.Text)
	}
	if after, _ := r.mem.Hashes(); after != before {
		t.Error("the state has changed")
	}
	r.digest = 1
	if res := r.doAs(id, acquire("default", "org/app", ".", "default", "", 1)); res.Status != first.Status || res.Token != first.Token || res.Index != first.Index {
		t.Errorf("the retry: %s %s at %d", res.Status, res.Token, res.Index)
	}
}

// TestRaiseEpoch: the tokens and lease epochs of a restored state are above
// those of the backup and of the state it replaces, whichever had gone further.
func TestRaiseEpoch(t *testing.T) {
	lease := acquire("default", "org/app", ".", "default", "", 0)
	lease.Owner, lease.TTL = lockcluster.Owner{ID: "x"}, time.Minute
	for name, c := range map[string]struct{ present, backup []lockcluster.Request }{
		"present ahead": {[]lockcluster.Request{lease, lease, lease, lockcluster.BumpEpoch{}, lockcluster.BumpEpoch{}}, []lockcluster.Request{lease}},
		"backup ahead":  {[]lockcluster.Request{lease}, []lockcluster.Request{lease, lease, lease, lockcluster.BumpEpoch{}, lockcluster.BumpEpoch{}}},
		"both empty":    {nil, nil},
	} {
		present, restored := newRules(t), newRules(t)
		for _, req := range c.present {
			present.do(req)
		}
		for _, req := range c.backup {
			restored.do(req)
		}
		var token lockcluster.Token
		restored.mem.Update(restored.index+1, 1, func(tx state.Tx) { token = state.RaiseEpoch(tx, present.mem.View()) })
		restored.index++
		if got := state.GetStats(restored.mem.View()).LastToken; got != token {
			t.Errorf("%s: last token %s, said %s", name, got, token)
		}
		next := lease
		next.Key.Project = "next"
		granted := restored.do(next)
		if was := state.GetStats(present.mem.View()).LastToken; granted.Token.Epoch <= was.Epoch || !token.Less(granted.Token) {
			t.Errorf("%s: token %s after %s and %s", name, granted.Token, was, token)
		}
		if held := state.GetLock(present.mem.View(), "default", lease.Key.Text()); held != nil && granted.Lock.LeaseEpoch <= held.LeaseEpoch {
			t.Errorf("%s: lease epoch %d after %d", name, granted.Lock.LeaseEpoch, held.LeaseEpoch)
		}
	}
}
