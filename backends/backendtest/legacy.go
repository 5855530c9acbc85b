package backendtest

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/fsm/state"
)

func (s *suite) reopen() {
	s.Helper()
	if s.Reopen != nil {
		s.Backend = s.Reopen(s)
	}
}

// fill stores one of everything.
func (s *suite) fill() {
	s.want(lockcluster.StatusGranted, s.acquire(s.key("org/app", "a", "default", ""), 1))
	s.want(lockcluster.StatusGranted, s.acquire(s.key("org/app", "a", "default", "net"), 2))
	s.want(lockcluster.StatusGranted, lockcluster.Acquire{Key: s.key("org/cli", "a", "default", ""), Owner: lockcluster.Owner{ID: "me"}, User: "bob"})
	noHost := s.acquire(s.key("org/old", "a", "default", ""), 3)
	noHost.Owner.Host, noHost.Value = "", value(noHost.Key, "", 3)
	s.want(lockcluster.StatusGranted, noHost)
	learned := noHost
	learned.Owner.Host = host
	s.want(lockcluster.StatusAlreadyHeld, learned)
	s.want(lockcluster.StatusGranted, s.lockCommand(compat.CommandApply, 1700000000))
	s.want(lockcluster.StatusStored, s.put("github.com::org/app::1", `{"x":1}`, lockcluster.PutAlways))
	s.want(lockcluster.StatusStored, s.put("other", "", lockcluster.PutAlways))
}

// What was stored is the same after the store was opened again: tokens,
// revisions, owners and values; and later tokens are greater still.
func reopens(s *suite) {
	s.fill()
	before := s.digest()
	gone := s.key("org/app", "gone", "default", "")
	last := s.want(lockcluster.StatusGranted, s.acquire(gone, 1)).Token
	s.want(lockcluster.StatusReleased, lockcluster.Release{Namespace: s.Namespace, Text: gone.Text()})
	s.reopen()
	if after := s.digest(); after != before {
		s.Errorf("the content is %s, was %s", after, before)
	}
	if err := state.CheckImage(s.view()); err != nil {
		s.Error(err)
	}
	if l := s.get("org/old/a/default/"); l == nil || l.Owner.Host != host {
		s.Errorf("the host that was learned is lost: %+v", l)
	}
	if res := s.want(lockcluster.StatusGranted, s.acquire(gone, 2)); !last.Less(res.Token) {
		s.Errorf("token %s was given out again, as %s", last, res.Token)
	}
	if err := s.Backend.Check(s.ctx); err != nil {
		s.Error(err)
	}
}

// The store has exactly the bytes that Atlantis stored; a lock without any has
// a value that an Atlantis can read.
func rawValues(s *suite) {
	s.fill()
	k := s.key("org/app", "a", "default", "net")
	if raw := s.Raw(s, lockcluster.SpaceLock, k.Text()); !bytes.Equal(raw, value(k, host, 2)) {
		s.Error("the stored lock is not what Atlantis stored")
	}
	if raw := s.Raw(s, lockcluster.SpaceDocument, "github.com::org/app::1"); string(raw) != `{"x":1}` {
		s.Error("the stored document is another")
	}
	if raw := s.Raw(s, lockcluster.SpaceCommand, "apply"); string(raw) != `{"LockMetadata":{"UnixTime":1700000000},"CommandName":0}` {
		s.Error("the stored command lock is another")
	}
	l, err := compat.DecodeLock(s.Raw(s, lockcluster.SpaceLock, "org/cli/a/default/"))
	if err != nil || l.User.Username != "bob" || l.Project.RepoFullName != "org/cli" || !l.Time.Equal(at) {
		s.Errorf("an Atlantis reads %+v, %v", l, err)
	}
	s.want(lockcluster.StatusReleased, lockcluster.Release{Namespace: s.Namespace, Text: k.Text()})
	if s.Raw(s, lockcluster.SpaceLock, k.Text()) != nil {
		s.Error("a released lock is still stored")
	}
}

// Mirrored records are verbatim, tokens, revisions and leases too, and what is
// mirrored again is replaced.
func mirror(s *suite) {
	s.fill()
	k := s.key("org/m", "a", "default", "")
	lock := lockcluster.Lock{
		Key: k, Kind: lockcluster.KindPull, Owner: lockcluster.Owner{Host: host, Repo: k.Repo, Pull: 9}, User: "eve", Priority: lockcluster.PriorityLow,
		Token: lockcluster.Token{Epoch: 5, Counter: 1 << 40}, AcquiredAt: at.In(time.FixedZone("", -3600)), Revision: 12345,
		Home: lockcluster.Home{System: lockcluster.SystemEnhanced, Epoch: 5}, Value: value(k, host, 9),
	}
	leased := lockcluster.Lock{
		Key: s.key("org/m", "leased", "default", ""), Kind: lockcluster.KindLeased, Owner: lockcluster.Owner{ID: "ci"}, User: "x",
		Priority: lockcluster.PriorityNormal, Token: lockcluster.Token{Epoch: 5, Counter: 3}, AcquiredAt: at, RenewedAt: at, TTL: time.Minute, LeaseEpoch: 4, Revision: 12346,
	}
	req := lockcluster.Mirror{
		Namespace: s.Namespace, Epoch: 99,
		Deletes: []lockcluster.RecordRef{
			{Namespace: s.Namespace, Space: lockcluster.SpaceLock, Key: "org/app/a/default/"},
			{Namespace: s.Namespace, Space: lockcluster.SpaceDocument, Key: "other"},
			{Namespace: s.Namespace, Space: lockcluster.SpaceDocument, Key: "never"},
		},
		Locks: []lockcluster.Lock{lock, leased},
		CommandLocks: []lockcluster.CommandLock{{
			Namespace: s.Namespace, Name: "apply", LockedAt: time.Unix(1800000000, 0).UTC(), Token: lockcluster.Token{Epoch: 5, Counter: 4}, Revision: 7,
			Value: s.lockCommand(compat.CommandApply, 1800000000).Value,
		}},
		Documents: []lockcluster.Document{{Namespace: s.Namespace, Key: "github.com::org/app::1", Value: []byte("new"), Revision: 8}},
	}
	s.want(lockcluster.StatusApplied, req)
	s.reopen()
	got := s.get(k.Text())
	if got == nil || got.Token != lock.Token || got.Revision != lock.Revision || got.Home != lock.Home || got.User != "eve" || !got.AcquiredAt.Equal(at) || got.Priority != lockcluster.PriorityLow {
		s.Errorf("the mirrored lock is %+v", got)
	}
	if got := s.get(leased.Key.Text()); got == nil || got.TTL != time.Minute || got.Owner.ID != "ci" || got.Kind != lockcluster.KindLeased {
		s.Errorf("the mirrored lease is %+v", got)
	}
	s.read(func(r state.Reader) {
		c := state.GetCommandLock(r, s.Namespace, "apply")
		d := state.GetDocument(r, s.Namespace, "github.com::org/app::1")
		if c == nil || c.Revision != 7 || d == nil || string(d.Value) != "new" || d.Revision != 8 {
			s.Errorf("the others are %+v and %+v", c, d)
		}
		if state.GetLock(r, s.Namespace, "org/app/a/default/") != nil || state.GetDocument(r, s.Namespace, "other") != nil {
			s.Error("a deleted record is still there")
		}
	})
	before := s.digest()
	s.want(lockcluster.StatusApplied, req)
	if s.digest() != before {
		s.Error("the same mirror twice is not the same")
	}
	if res := s.want(lockcluster.StatusGranted, s.acquire(s.key("org/n", "a", "default", ""), 1)); !lock.Token.Less(res.Token) {
		s.Errorf("token %s after the mirrored %s", res.Token, lock.Token)
	}
}

// A routed request is decided only where its record is at home, and a new
// record is at home where it was made.
func routed(s *suite) {
	k := s.key("org/app", "a", "default", "")
	route := func(home lockcluster.System, req lockcluster.Request) lockcluster.Routed {
		return lockcluster.Routed{Epoch: 3, GradualEpoch: 3, Base: lockcluster.SystemLegacy, Home: home, Request: req}
	}
	s.want(lockcluster.StatusNotActive, route(lockcluster.SystemEnhanced, s.acquire(k, 1)))
	s.want(lockcluster.StatusGranted, route(lockcluster.SystemLegacy, s.acquire(k, 1)))
	s.reopen()
	if l := s.get(k.Text()); l == nil || l.Home != (lockcluster.Home{System: lockcluster.SystemLegacy, Epoch: 3}) {
		s.Fatalf("the lock is %+v", l)
	}
	away := *s.get(k.Text())
	away.Home.System = lockcluster.SystemEnhanced
	s.want(lockcluster.StatusApplied, lockcluster.Mirror{Namespace: s.Namespace, Locks: []lockcluster.Lock{away}})
	s.want(lockcluster.StatusNotActive, route(lockcluster.SystemLegacy, lockcluster.Release{Namespace: s.Namespace, Text: k.Text()}))
	res := s.want(lockcluster.StatusReleased, route(lockcluster.SystemLegacy, lockcluster.ReleaseByPull{Namespace: s.Namespace, Repo: k.Repo, Pull: 1}))
	if len(res.Locks) != 0 {
		s.Error("a lock of another home was freed by its pull")
	}
	last := s.want(lockcluster.StatusGranted, s.acquire(s.key("org/app", "b", "default", ""), 1)).Token
	last.Counter += 100 // by the enhanced system, since
	next := route(lockcluster.SystemLegacy, s.acquire(s.key("org/app", "c", "default", ""), 1))
	next.Token = last
	res = s.want(lockcluster.StatusGranted, next)
	s.reopen()
	if again := s.want(lockcluster.StatusGranted, s.acquire(s.key("org/app", "d", "default", ""), 1)); !last.Less(res.Token) || !res.Token.Less(again.Token) {
		s.Errorf("tokens %s and %s after %s", res.Token, again.Token, last)
	}
}

// A lower fence is refused, by the backend that raised it, by another one, and
// after the store was opened again.
func fences(s *suite) {
	k := s.key("org/app", "a", "default", "")
	low := s.Fence
	high := backends.Fence{Term: low.Term + 1, Epoch: 0}
	s.want(lockcluster.StatusGranted, s.acquire(k, 1))
	if err := s.Backend.Raise(s.ctx, high); err != nil {
		s.Fatal(err)
	}
	refused := func(b backends.Backend, what string) {
		s.Helper()
		_, err := b.Do(s.ctx, low, at, lockcluster.Release{Namespace: s.Namespace, Text: k.Text()})
		if !errors.Is(err, backends.ErrFenced) {
			s.Errorf("%s: %v, want ErrFenced", what, err)
		}
		if err := b.Raise(s.ctx, low); !errors.Is(err, backends.ErrFenced) {
			s.Errorf("%s: raise: %v, want ErrFenced", what, err)
		}
	}
	refused(s.Backend, "who raised it")
	if s.Second != nil {
		second := s.Second(s)
		refused(second, "another one")
		higher := backends.Fence{Term: high.Term, Epoch: high.Epoch + 1}
		if err := second.Raise(s.ctx, higher); err != nil {
			s.Fatal(err)
		}
		for _, req := range []lockcluster.Request{
			s.acquire(s.key("org/app", "new", "default", ""), 1), s.acquire(k, 1), lockcluster.ReleaseByPull{Namespace: s.Namespace, Repo: k.Repo, Pull: 1},
		} {
			if res, err := s.Backend.Do(s.ctx, high, at, req); !errors.Is(err, backends.ErrFenced) {
				s.Errorf("a deposed leader's %T: %v %v, want ErrFenced", req, res.Status, err)
			}
		}
		high = higher
	}
	s.reopen()
	if s.Reopen != nil {
		refused(s.Backend, "opened again")
	}
	s.Fence = high
	s.want(lockcluster.StatusAlreadyHeld, s.acquire(k, 1))
	if res := s.want(lockcluster.StatusGranted, s.acquire(s.key("org/app", "b", "default", ""), 1)); res.Token.Epoch < high.Epoch {
		s.Errorf("token %s is of an epoch before the fence's, %d", res.Token, high.Epoch)
	}
}

// What Atlantis's formats cannot say is refused: a TTL, and a value that is
// about another record than its key.
func noPlace(s *suite) {
	s.want(lockcluster.StatusInvalid, lockcluster.Acquire{Key: s.key("org/app", "a", "default", ""), Owner: lockcluster.Owner{ID: "x"}, TTL: time.Minute})
	s.want(lockcluster.StatusInvalid, lockcluster.PutDocument{Namespace: s.Namespace, Key: "d", TTL: time.Minute})
	s.want(lockcluster.StatusInvalid, lockcluster.SetTTL{Namespace: s.Namespace, Key: "d", TTL: time.Minute})
	lying := s.acquire(s.key("org/app", "a", "default", ""), 1)
	lying.Value = value(s.key("org/app", "b", "default", ""), host, 1)
	s.want(lockcluster.StatusInvalid, lying)
	apply := s.lockCommand(compat.CommandPlan, 1)
	apply.Name = "apply"
	s.want(lockcluster.StatusInvalid, apply)
	if got := s.digest(); !strings.HasSuffix(got, " of 0") {
		s.Errorf("something was stored: %s", got)
	}
}

func (s *suite) bad() []string {
	s.Helper()
	all, err := s.Backend.(backends.Inspector).Unreadable(s.ctx)
	if err != nil {
		s.Fatal(err)
	}
	var keys []string
	for _, b := range all {
		if b.Reason == "" || strings.Contains(b.Reason, "CANARY") {
			s.Errorf("%s: the reason is %q", b.Key, b.Reason)
		}
		keys = append(keys, b.Key)
	}
	slices.Sort(keys)
	return keys
}

// What cannot be read, or contradicts another record, is listed and left alone,
// and is nobody's to take; everything else works.
func unreadable(s *suite) {
	broken, twice := s.key("org/app", "broken", "default", ""), s.key("org/app", "twice", "default", "")
	foreign := s.key("org/app", "foreign", "default", "")
	s.PutRaw(s, lockcluster.SpaceLock, broken.Text(), []byte(`{"CANARY`))
	s.PutRaw(s, lockcluster.SpaceLock, twice.Text(), value(twice, host, 1))
	s.PutRaw(s, lockcluster.SpaceLock, twice.OldText(), value(twice, host, 2))
	s.PutRaw(s, lockcluster.SpaceLock, foreign.Text(), bytes.Replace(value(foreign, "gitlab.com", 3), []byte("2026-01-02"), []byte("2026-01-03"), 1))
	good := s.key("org/app", "good", "default", "")
	s.PutRaw(s, lockcluster.SpaceLock, good.Text(), value(good, host, 4))
	s.PutRaw(s, lockcluster.SpaceCommand, "apply", []byte("CANARY"))
	s.reopen()
	want := []string{"apply", broken.Text(), foreign.Text(), twice.OldText(), twice.Text()}
	slices.Sort(want)
	if got := s.bad(); !slices.Equal(got, want) {
		s.Errorf("listed %q, want %q", got, want)
	}
	for _, req := range []lockcluster.Request{
		s.acquire(broken, 9), s.acquire(twice, 1), s.acquire(twice, 9), s.acquire(foreign, 3), s.lockCommand(compat.CommandApply, 1),
		lockcluster.Release{Namespace: s.Namespace, Text: broken.Text()},
		lockcluster.Release{Namespace: s.Namespace, Text: twice.Text()},
	} {
		if res := s.want(lockcluster.StatusInvalid, req); !strings.Contains(res.Text, "locks validate") || strings.Contains(res.Text, "CANARY") {
			s.Errorf("%T: the text is %q", req, res.Text)
		}
	}
	imp := s.want(lockcluster.StatusApplied, lockcluster.Import{Namespace: s.Namespace, Locks: []lockcluster.Acquire{
		s.acquire(broken, 1), s.acquire(s.key("org/app", "fine", "default", ""), 1), s.acquire(twice, 1),
	}})
	if imp.Results[0].Status != lockcluster.StatusInvalid || imp.Results[1].Status != lockcluster.StatusGranted || imp.Results[2].Status != lockcluster.StatusInvalid {
		s.Errorf("the import answers %+v", imp.Results)
	}
	s.want(lockcluster.StatusAlreadyHeld, s.acquire(good, 4))
	s.want(lockcluster.StatusReleased, lockcluster.ReleaseByPull{Namespace: s.Namespace, Repo: "org/app", Pull: 1})
	if raw := s.Raw(s, lockcluster.SpaceLock, broken.Text()); string(raw) != `{"CANARY` {
		s.Error("the broken record was touched")
	}
	// The host's conflict ends with the last lock of the other host.
	s.want(lockcluster.StatusReleased, lockcluster.ReleaseByPull{Namespace: s.Namespace, Repo: "org/app", Pull: 4})
	if got := s.get(foreign.Text()); got == nil || got.Owner.Host != "gitlab.com" {
		s.Errorf("the repository is free for its other host, and its lock is %+v", got)
	}
	// That of two pulls ends when somebody removes one of them.
	s.PutRaw(s, lockcluster.SpaceLock, foreign.Text(), nil)
	s.PutRaw(s, lockcluster.SpaceLock, twice.OldText(), nil)
	s.reopen()
	if got := s.get(twice.Text()); got == nil || got.Owner.Pull != 1 {
		s.Errorf("of two locks one is left, and it is %+v", got)
	}
}

// A lock under the key of an old Atlantis is the lock of its value, and the old
// key goes when it is released.
func oldKeys(s *suite) {
	plain, nested := s.key("org/app", "dir", "default", ""), s.key("grp/sub/repo", "a/b", "default", "")
	named, both := s.key("org/app", "dir", "default", "net"), s.key("org/app", "both", "default", "")
	for i, k := range []lockcluster.Key{plain, nested, both} {
		s.PutRaw(s, lockcluster.SpaceLock, k.OldText(), value(k, host, i+1))
	}
	s.PutRaw(s, lockcluster.SpaceLock, both.Text(), value(both, host, 3))
	s.reopen()
	if got := s.listed(); got != "grp/sub/repo/a/b/default/#2 org/app/both/default/#3 org/app/dir/default/#1 " {
		s.Errorf("listed: %s", got)
	}
	s.want(lockcluster.StatusHeld, s.acquire(plain, 9))
	s.want(lockcluster.StatusHeld, s.acquire(nested, 9))
	s.want(lockcluster.StatusGranted, s.acquire(named, 9))
	before := s.digest()
	s.reopen()
	if s.digest() != before {
		s.Error("the tokens of old records change with every opening")
	}
	for i, k := range []lockcluster.Key{plain, nested, both} {
		s.want(lockcluster.StatusReleased, lockcluster.Release{Namespace: s.Namespace, Text: k.Text(), Guard: lockcluster.Guard{Pull: i + 1}})
		if s.Raw(s, lockcluster.SpaceLock, k.OldText()) != nil || s.Raw(s, lockcluster.SpaceLock, k.Text()) != nil {
			s.Errorf("%s is still stored", k.Text())
		}
	}
}

// What an Atlantis has written to the store meanwhile counts: a lock it took is
// held, one it freed is free, and one that changed hands has a new token.
func otherWriter(s *suite) {
	k, l := s.key("org/app", "a", "default", ""), s.key("org/app", "b", "default", "")
	first := s.want(lockcluster.StatusGranted, s.acquire(k, 1))
	s.want(lockcluster.StatusStored, s.put("doc", "ours", lockcluster.PutAlways))
	s.PutRaw(s, lockcluster.SpaceLock, l.Text(), value(l, host, 2))
	s.PutRaw(s, lockcluster.SpaceLock, k.Text(), value(k, host, 3))
	if s.Second == nil { // nobody else can write while it is open
		s.reopen()
	}
	if res := s.want(lockcluster.StatusHeld, s.acquire(l, 1)); res.Lock.Owner.Pull != 2 {
		s.Errorf("told %+v", res.Lock.Owner)
	}
	res := s.want(lockcluster.StatusHeld, s.acquire(k, 1))
	if res.Lock.Owner.Pull != 3 || !first.Token.Less(res.Token) {
		s.Errorf("the lock that changed hands has pull %d and token %s, it had %s", res.Lock.Owner.Pull, res.Token, first.Token)
	}
	s.want(lockcluster.StatusNotHolder, lockcluster.Release{Namespace: s.Namespace, Text: k.Text(), Guard: lockcluster.Guard{Token: first.Token}})
	s.PutRaw(s, lockcluster.SpaceLock, k.Text(), nil)
	if s.Second == nil {
		s.reopen()
	}
	if s.get(k.Text()) != nil {
		s.Error("a lock that an Atlantis has freed is still there")
	}
	s.want(lockcluster.StatusGranted, s.acquire(k, 4))
	if got := s.listed(); got != "org/app/a/default/#4 org/app/b/default/#2 " {
		s.Errorf("listed: %s", got)
	}
}
