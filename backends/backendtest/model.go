package backendtest

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

const modelSteps = 400

// Random requests are answered as the rules alone answer them, with the store
// opened again now and then, and leave the same records.
func model(s *suite) {
	rnd := rand.New(rand.NewPCG(uint64(testutil.Seed(s)), 7))
	rules := state.NewMem()
	for i := range modelSteps {
		req := s.draw(rnd)
		var want lockcluster.Result
		rules.Update(uint64(i+1), 1, func(tx state.Tx) {
			a := state.Begin(tx, state.Env{Index: uint64(i + 1), Term: 1, Now: at, System: lockcluster.SystemLegacy})
			want = a.Apply(req)
			a.End()
		})
		got := s.do(req)
		if a, b := summary(got), summary(want); a != b {
			s.Fatalf("step %d: %T: %s, the rules say %s (%s)", i, req, a, b, got.Text)
		}
		if rnd.IntN(50) == 0 {
			s.reopen()
		}
	}
	if a, b := contents(s.view(), s.Namespace), contents(rules.View(), s.Namespace); a != b {
		s.Errorf("the store has\n%s\nthe rules say\n%s", a, b)
	}
}

// summary is an answer without what each system counts for itself.
func summary(r lockcluster.Result) string {
	out := r.Status.String()
	if r.Lock != nil {
		out += fmt.Sprintf(" %s %s %s %s", r.Lock.Key.Text(), r.Lock.Owner, r.Lock.Owner.Host, r.Lock.User)
	}
	for i := range r.Locks {
		out += fmt.Sprintf(" %s %s", r.Locks[i].Key.Text(), r.Locks[i].Owner)
	}
	if r.CommandLock != nil {
		out += fmt.Sprintf(" %s %s", r.CommandLock.Name, r.CommandLock.Value)
	}
	if r.Document != nil {
		out += fmt.Sprintf(" %s=%s", r.Document.Key, r.Document.Value)
	}
	for _, one := range r.Results {
		out += " [" + summary(one) + "]"
	}
	return out
}

// contents describes all records without what each system counts for itself.
func contents(r state.Reader, ns string) string {
	out := ""
	state.ListLocks(r, ns, state.LockFilter{}, func(l *lockcluster.Lock) bool {
		out += fmt.Sprintf("%s %s %s %s %x\n", l.Key.Text(), l.Owner, l.Owner.Host, l.User, l.Value)
		return true
	})
	for _, space := range []lockcluster.Space{lockcluster.SpaceCommand, lockcluster.SpaceDocument} {
		state.Keys(r, ns, space, "", func(key string) bool {
			out += fmt.Sprintf("%d %s", space, key)
			if d := state.GetDocument(r, ns, key); d != nil && space == lockcluster.SpaceDocument {
				out += fmt.Sprintf("=%s", d.Value)
			}
			out += "\n"
			return true
		})
	}
	return out
}

// draw makes a request about few keys, so that requests meet.
func (s *suite) draw(rnd *rand.Rand) lockcluster.Request {
	pick := func(all ...string) string { return all[rnd.IntN(len(all))] }
	tag := ""
	if s.Split {
		tag = "{t}" // everything in one hash slot
	}
	k := s.key(pick("org/app", "org/app-infra", "grp/sub/repo"), pick(".", "a/b")+tag, pick("default", "ws"), pick("", "net"))
	pull := 1 + rnd.IntN(3)
	text := k.Text()
	name := pick("apply", "plan")
	doc := pick("github.com::org/app::1", "x", "y") + tag
	switch rnd.IntN(14) {
	case 0, 1, 2, 3:
		return s.drawAcquire(rnd, k, pull)
	case 4:
		return lockcluster.Release{Namespace: s.Namespace, Text: text}
	case 5:
		return lockcluster.Release{Namespace: s.Namespace, Text: text, Guard: lockcluster.Guard{Pull: pull}}
	case 6:
		return lockcluster.ReleaseByPull{Namespace: s.Namespace, Repo: k.Repo, Pull: pull, Host: pick("", host)}
	case 7:
		c, _ := compat.ParseCommandName(name)
		return s.lockCommand(c, 1700000000+rnd.Int64N(2))
	case 8:
		return lockcluster.UnlockCommand{Namespace: s.Namespace, Name: name}
	case 9:
		return s.put(doc, pick("", "1", "2"), lockcluster.PutCondition(rnd.IntN(3)))
	case 10:
		return lockcluster.DeleteDocument{Namespace: s.Namespace, Key: doc}
	case 11:
		return lockcluster.Import{
			Namespace: s.Namespace, Locks: []lockcluster.Acquire{s.drawAcquire(rnd, k, pull)},
			Documents: []lockcluster.PutDocument{s.put(doc, pick("1", "2"), lockcluster.PutIfAbsent)},
		}
	default:
		reqs := []lockcluster.Request{
			s.put(doc, pick("1", "2"), lockcluster.PutCondition(rnd.IntN(3))), s.drawAcquire(rnd, k, pull),
			lockcluster.Release{Namespace: s.Namespace, Text: text, Guard: lockcluster.Guard{Pull: 1 + rnd.IntN(3)}},
		}
		return lockcluster.Txn{Namespace: s.Namespace, Requests: slices.Clone(reqs[:1+rnd.IntN(3)])}
	}
}

// drawAcquire makes an Atlantis's request, one without a host, or one of the
// command line.
func (s *suite) drawAcquire(rnd *rand.Rand, k lockcluster.Key, pull int) lockcluster.Acquire {
	req := s.acquire(k, pull)
	switch rnd.IntN(6) {
	case 0:
		req.Owner.Host, req.Value = "", value(k, "", pull)
	case 1:
		req.Owner.Host, req.Value = "gitlab.com", value(k, "gitlab.com", pull)
	case 2:
		req = lockcluster.Acquire{Key: k, Owner: lockcluster.Owner{ID: "ci"}, User: "bob", AcquiredAt: at}
	case 3:
		req.Value, req.AcquiredAt = nil, at
	}
	return req
}
