package controller

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// as asks a node under a request id.
func (s *site) as(id uint64, node string, req lockcluster.Request) lockcluster.Result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	res, err := s.ctl(node).Do(ctx, lockcluster.RequestID{ClientID: "client", Sequence: id}, req)
	if err != nil {
		s.t.Fatalf("%T through %s: %v", req, node, err)
	}
	return res
}

// repeated is a request that is decided, its answer is lost, others go on, and
// then the client sends it again.
type repeated struct {
	name   string
	repo   string
	before []lockcluster.Request
	req    lockcluster.Request
	want   lockcluster.Status    // of both
	others []lockcluster.Request // what the repetition must not undo
}

const ns = lockcluster.DefaultNamespace

func document(key, value string) lockcluster.PutDocument {
	return lockcluster.PutDocument{Namespace: ns, Key: key, Value: []byte(value)}
}

// repetitions are about a repository each, and the document of its name.
func repetitions() []repeated {
	list := func(all ...lockcluster.Request) []lockcluster.Request { return all }
	var all []repeated
	add := func(name string, want lockcluster.Status, f func(repo string) (before []lockcluster.Request, req lockcluster.Request, others []lockcluster.Request)) {
		c := repeated{name: name, repo: fmt.Sprintf("acme/app%d", len(all)), want: want}
		c.before, c.req, c.others = f(c.repo)
		all = append(all, c)
	}
	type reqs = []lockcluster.Request
	add("acquire", lockcluster.StatusGranted, func(r string) (reqs, lockcluster.Request, reqs) {
		return nil, acquire(r, 7), list(anybody(r), acquire(r, 8))
	})
	add("release by anybody", lockcluster.StatusReleased, func(r string) (reqs, lockcluster.Request, reqs) {
		return list(acquire(r, 7)), anybody(r), list(acquire(r, 8))
	})
	add("release by the owner", lockcluster.StatusReleased, func(r string) (reqs, lockcluster.Request, reqs) {
		return list(acquire(r, 7)), release(r, 7), list(acquire(r, 7))
	})
	add("release of nothing", lockcluster.StatusNotFound, func(r string) (reqs, lockcluster.Request, reqs) {
		return nil, anybody(r), list(acquire(r, 8))
	})
	add("release by pull", lockcluster.StatusReleased, func(r string) (reqs, lockcluster.Request, reqs) {
		return list(acquire(r, 7)), lockcluster.ReleaseByPull{Namespace: ns, Repo: r, Pull: 7}, list(acquire(r, 7))
	})
	add("unlock a command", lockcluster.StatusReleased, func(string) (reqs, lockcluster.Request, reqs) {
		lock := lockcluster.LockCommand{Namespace: ns, Name: "apply", Value: []byte(`{"CommandName":0,"LockMetadata":{"UnixTime":1700000000}}`)}
		return list(lock), lockcluster.UnlockCommand{Namespace: ns, Name: "apply"}, list(lock)
	})
	add("put over a document", lockcluster.StatusStored, func(r string) (reqs, lockcluster.Request, reqs) {
		return list(document(r, "old")), document(r, "mine"), list(document(r, "new"))
	})
	add("put a first document", lockcluster.StatusStored, func(r string) (reqs, lockcluster.Request, reqs) {
		return nil, document(r, "mine"), list(document(r, "new"))
	})
	add("delete a document", lockcluster.StatusDeleted, func(r string) (reqs, lockcluster.Request, reqs) {
		return list(document(r, "old")), lockcluster.DeleteDocument{Namespace: ns, Key: r}, list(document(r, "new"))
	})
	add("a transaction", lockcluster.StatusApplied, func(r string) (reqs, lockcluster.Request, reqs) {
		txn := lockcluster.Txn{Namespace: ns, Requests: list(anybody(r), lockcluster.ReleaseByPull{Namespace: ns, Repo: r, Pull: 7})}
		return list(acquire(r, 7)), txn, list(acquire(r, 7))
	})
	return all
}

func anybody(repo string) lockcluster.Release {
	return lockcluster.Release{Namespace: ns, Text: acquire(repo, 0).Key.Text()}
}

// A request whose answer was lost does no harm when the client sends it again
// through another node, whichever system decides then: it gets its answer, or is
// told that the outcome is not known, and undoes nothing of what others did since.
func TestRepeatedRequestsUndoNothing(t *testing.T) {
	enhanced := func(s *site) { s.mustSwitch(lockcluster.SystemEnhanced) }
	legacy := func(s *site) { s.mustSwitch(lockcluster.SystemLegacy) }
	stay := func(*site) {}
	for _, road := range []struct {
		name        string
		first, then func(*site)
	}{
		{"enhanced, then legacy", enhanced, legacy},
		{"legacy, then enhanced", stay, enhanced},
		{"legacy", stay, stay},
		{"gradual with the legacy system", func(s *site) { s.gradually(0) }, stay},
		{"gradual, then gradual with the enhanced system", func(s *site) { s.gradually(0) }, func(s *site) { s.gradually(100) }},
		{"gradual with the enhanced system, then legacy", func(s *site) { s.gradually(100) }, legacy},
	} {
		t.Run(road.name, func(t *testing.T) {
			s := newSite(t, nil)
			s.inMode(lockcluster.ModeLegacy)
			road.first(s)
			all := repetitions()
			for i, c := range all {
				for _, req := range c.before {
					s.try("n1", req)
				}
				if res := s.as(uint64(i+1), "n2", c.req); res.Status != c.want {
					t.Fatalf("%s: %s, want %s", c.name, res.Status, c.want)
				}
			}
			road.then(s)
			for i, c := range all {
				t.Run(c.name, func(t *testing.T) { s.repeat(t, uint64(i+1), c) })
			}
		})
	}
}

func (s *site) repeat(t *testing.T, id uint64, c repeated) {
	for _, req := range c.others {
		s.try("n1", req)
	}
	before := s.contents(c.repo)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	res, err := s.ctl("n3").Do(ctx, lockcluster.RequestID{ClientID: "client", Sequence: id}, c.req)
	if got := s.contents(c.repo); got != before {
		t.Errorf("the repetition (%s, %v) made %q of %q", res.Status, err, got, before)
	}
	switch c.req.(type) {
	case lockcluster.Acquire: // a legacy system tells who has it now
	case lockcluster.Txn:
		if (err != nil || res.Status != c.want) && !errors.Is(err, lockcluster.ErrOutcomeUnknown) {
			t.Errorf("the repetition: %s, %v; want %s or an unknown outcome", res.Status, err, c.want)
		}
	default:
		if err != nil || res.Status != c.want {
			t.Errorf("the repetition: %s, %v; want %s", res.Status, err, c.want)
		}
	}
}

// contents says what is there, by the system that decides.
func (s *site) contents(repo string) (all string) {
	s.t.Helper()
	if err := s.ctl("n1").Read(s.t.Context(), func(r state.Reader, _ uint64) {
		all = ""
		if l := state.GetLock(r, ns, acquire(repo, 0).Key.Text()); l != nil {
			all += l.Owner.String() + " " + l.Token.String() + "; "
		}
		if l := state.GetCommandLock(r, ns, "apply"); l != nil {
			all += "apply " + l.Token.String() + "; "
		}
		if d := state.GetDocument(r, ns, repo); d != nil {
			all += string(d.Value)
		}
	}); err != nil {
		s.t.Fatal(err)
	}
	return all
}

// The same for a client that does not number its requests, whose node asks
// again by itself because the leader's answer was lost.
func TestLostAnswersUndoNothing(t *testing.T) {
	for _, mode := range []lockcluster.Mode{lockcluster.ModeLegacy, lockcluster.ModeGradual} {
		t.Run(mode.String(), func(t *testing.T) {
			s := newSite(t, nil)
			s.inMode(lockcluster.ModeLegacy)
			s.mustMode(mode, nil)
			s.lead("n1")
			for _, c := range repetitions() {
				for _, req := range c.before {
					s.try("n1", req)
				}
				before, lost := "", false
				s.setHooks(nil, func(from, _, method string, next func() ([]byte, error)) ([]byte, error) {
					out, err := next()
					if from == "n2" && method == methodDecide && !lost {
						lost = true
						for _, req := range c.others {
							s.try("n1", req)
						}
						before = s.contents(c.repo)
						return nil, errors.New("connection reset by peer")
					}
					return out, err
				}, nil)
				got := s.try("n2", c.req)
				s.setHooks(nil, nil, nil)
				if after := s.contents(c.repo); after != before || !lost {
					t.Errorf("%s: the repetition (%s) made %q of %q", c.name, got, after, before)
				}
			}
		})
	}
}
