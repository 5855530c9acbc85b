package backendtest

import (
	"bytes"
	"fmt"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/fsm/state"
)

func (s *suite) lockCommand(c compat.CommandName, unix int64) lockcluster.LockCommand {
	v := fmt.Appendf(nil, `{"LockMetadata":{"UnixTime":%d},"CommandName":%d}`, unix, c)
	rec, err := compat.ParseCommandLock(v)
	if err != nil {
		s.Fatal(err)
	}
	return rec.Request(s.Namespace, v)
}

// A command lock is taken once, and freed by its token.
func commands(s *suite) {
	first := s.want(lockcluster.StatusGranted, s.lockCommand(compat.CommandApply, 1700000000))
	s.want(lockcluster.StatusAlreadyHeld, s.lockCommand(compat.CommandApply, 1700000000))
	held := s.want(lockcluster.StatusHeld, s.lockCommand(compat.CommandApply, 1700000001))
	if held.CommandLock == nil || held.CommandLock.LockedAt.Unix() != 1700000000 {
		s.Errorf("told %+v", held.CommandLock)
	}
	s.want(lockcluster.StatusGranted, s.lockCommand(compat.CommandPlan, 1700000002))
	wrong := lockcluster.Token{Epoch: first.Token.Epoch, Counter: first.Token.Counter + 100}
	s.want(lockcluster.StatusNotHolder, lockcluster.UnlockCommand{Namespace: s.Namespace, Name: "apply", Token: wrong})
	s.reopen()
	s.want(lockcluster.StatusReleased, lockcluster.UnlockCommand{Namespace: s.Namespace, Name: "apply", Token: first.Token})
	s.want(lockcluster.StatusNotFound, lockcluster.UnlockCommand{Namespace: s.Namespace, Name: "apply"})
	s.read(func(r state.Reader) {
		if state.GetCommandLock(r, s.Namespace, "apply") != nil || state.GetCommandLock(r, s.Namespace, "plan") == nil {
			s.Error("the wrong command is free")
		}
	})
}

func (s *suite) put(key, value string, c lockcluster.PutCondition) lockcluster.PutDocument {
	return lockcluster.PutDocument{Namespace: s.Namespace, Key: key, Value: []byte(value), Condition: c}
}

// Documents are bytes under any key, stored on condition and removed on
// condition.
func documents(s *suite) {
	for _, key := range []string{"github.com::org/app::7", "other", "d*?[", "a::b", "ünï", "x\x00y"} {
		s.want(lockcluster.StatusNotStored, s.put(key, "no", lockcluster.PutIfPresent))
		s.want(lockcluster.StatusStored, s.put(key, "1", lockcluster.PutIfAbsent))
		if res := s.want(lockcluster.StatusNotStored, s.put(key, "2", lockcluster.PutIfAbsent)); string(res.Document.Value) != "1" {
			s.Errorf("%q: told %q", key, res.Document.Value)
		}
		if res := s.want(lockcluster.StatusStored, s.put(key, "", lockcluster.PutAlways)); string(res.Document.Value) != "1" {
			s.Errorf("%q: replaced %q", key, res.Document.Value)
		}
		s.reopen()
		var d *lockcluster.Document
		s.read(func(r state.Reader) { d = state.GetDocument(r, s.Namespace, key) })
		if d == nil || len(d.Value) != 0 {
			s.Fatalf("%q: the document is %+v", key, d)
		}
		s.want(lockcluster.StatusNotHolder, lockcluster.DeleteDocument{Namespace: s.Namespace, Key: key, Revision: d.Revision + 1})
		s.want(lockcluster.StatusDeleted, lockcluster.DeleteDocument{Namespace: s.Namespace, Key: key, Revision: d.Revision})
		s.want(lockcluster.StatusNotFound, lockcluster.DeleteDocument{Namespace: s.Namespace, Key: key})
	}
}

// A transaction does all or nothing, and nothing once what it has read is
// another.
func txn(s *suite) {
	k := s.key("org/app", "dir", "default", "")
	keys := []string{"doc", "doc2"}
	if s.Split { // in one hash slot
		k, keys = s.key("org/app", "{t}", "default", ""), []string{"doc{t}", "doc2{t}"}
	}
	s.want(lockcluster.StatusStored, s.put(keys[0], "1", lockcluster.PutAlways))
	var rev uint64
	s.read(func(r state.Reader) { rev = state.Revision(r, s.Namespace, lockcluster.SpaceDocument, keys[0]) })
	do := lockcluster.Txn{
		Namespace:  s.Namespace,
		Conditions: []lockcluster.Condition{{Space: lockcluster.SpaceDocument, Key: keys[0], Revision: rev}, {Space: lockcluster.SpaceLock, Key: k.Text()}},
		Requests:   []lockcluster.Request{s.acquire(k, 1), s.put(keys[0], "2", lockcluster.PutAlways), s.put(keys[1], "3", lockcluster.PutIfAbsent)},
	}
	if res := s.want(lockcluster.StatusApplied, do); len(res.Results) != 3 || res.Results[0].Status != lockcluster.StatusGranted {
		s.Errorf("results %+v", res.Results)
	}
	before := s.digest()
	s.want(lockcluster.StatusConflict, do)
	refused := lockcluster.Txn{Namespace: s.Namespace, Requests: []lockcluster.Request{s.put(keys[0], "9", lockcluster.PutAlways), s.acquire(k, 2)}}
	s.want(lockcluster.StatusConflict, refused)
	if after := s.digest(); after != before {
		s.Errorf("a refused transaction changed something: %s, was %s", after, before)
	}
	if !s.Split {
		return
	}
	apart := lockcluster.Txn{Namespace: s.Namespace, Requests: []lockcluster.Request{
		s.put("a", "", lockcluster.PutAlways), s.put("b", "", lockcluster.PutAlways), s.put("c", "", lockcluster.PutAlways),
	}}
	s.want(lockcluster.StatusInvalid, apart)
	if after := s.digest(); after != before {
		s.Error("a transaction over several slots changed something")
	}
}

// A listing is complete and in order, by repository and by pull.
func list(s *suite) {
	const n = 300
	for i := range n {
		s.want(lockcluster.StatusGranted, s.acquire(s.key(fmt.Sprintf("org/r%d", i%3), fmt.Sprintf("d%03d", i), "default", ""), i%5+1))
	}
	v := s.view()
	count := func(f state.LockFilter) (got int) {
		last := ""
		state.ListLocks(v, s.Namespace, f, func(l *lockcluster.Lock) bool {
			if got++; l.Key.Text() <= last {
				s.Errorf("%s after %s", l.Key.Text(), last)
			}
			last = l.Key.Text()
			return true
		})
		return got
	}
	if a, b, c := count(state.LockFilter{}), count(state.LockFilter{Repo: "org/r1"}), count(state.LockFilter{Repo: "org/r1", Pull: 2}); a != n || b != n/3 || c != n/15 {
		s.Errorf("%d, %d and %d locks, want %d, %d and %d", a, b, c, n, n/3, n/15)
	}
	s.want(lockcluster.StatusReleased, lockcluster.Release{Namespace: s.Namespace, Text: "org/r0/d000/default/"})
	if got := count(state.LockFilter{}); got != n {
		s.Errorf("a view has changed: %d locks, want %d", got, n)
	}
}

// An import takes what is new and overwrites nothing.
func imports(s *suite) {
	k, l := s.key("org/app", "a", "default", ""), s.key("org/app", "b", "default", "")
	s.want(lockcluster.StatusGranted, s.acquire(k, 1))
	all := lockcluster.Import{
		Namespace: s.Namespace,
		Locks:     []lockcluster.Acquire{s.acquire(k, 2), s.acquire(l, 2)},
		CommandLocks: []lockcluster.LockCommand{
			s.lockCommand(compat.CommandApply, 1700000000),
		},
		Documents: []lockcluster.PutDocument{s.put("github.com::org/app::2", "{}", lockcluster.PutIfAbsent)},
	}
	check := func(want ...lockcluster.Status) {
		s.Helper()
		res := s.want(lockcluster.StatusApplied, all)
		if len(res.Results) != len(want) {
			s.Fatalf("%d results, want %d", len(res.Results), len(want))
		}
		for i, one := range res.Results {
			if one.Status != want[i] {
				s.Errorf("record %d: %s, want %s", i, one.Status, want[i])
			}
			if one.Lock != nil && one.Lock.Value != nil {
				s.Errorf("record %d: its answer has the stored value", i)
			}
		}
	}
	check(lockcluster.StatusHeld, lockcluster.StatusGranted, lockcluster.StatusGranted, lockcluster.StatusStored)
	before := s.digest()
	check(lockcluster.StatusHeld, lockcluster.StatusAlreadyHeld, lockcluster.StatusAlreadyHeld, lockcluster.StatusAlreadyHeld)
	if s.digest() != before {
		s.Error("a second import changed something")
	}
	if got := s.get(k.Text()); got.Owner.Pull != 1 || !bytes.Equal(got.Value, value(k, host, 1)) {
		s.Error("the import has overwritten a lock")
	}
}
