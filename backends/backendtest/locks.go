package backendtest

import (
	"bytes"
	"fmt"
	"strings"
	"sync"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// A free lock is granted, another pull is told who holds it, and the same pull
// has it already: nothing of the lock changes, its time neither.
func grant(s *suite) {
	k := s.key("org/app", "dir", "default", "")
	first := s.want(lockcluster.StatusGranted, s.acquire(k, 1))
	if first.Lock == nil || first.Token.IsZero() || first.Lock.Token != first.Token || first.Lock.Revision == 0 || first.Index == 0 {
		s.Fatalf("granted %+v", first)
	}
	held := s.want(lockcluster.StatusHeld, s.acquire(k, 2))
	if held.Lock == nil || held.Lock.Owner.Pull != 1 || held.Token != first.Token || held.Lock.User != "ann" {
		s.Errorf("the loser was told %+v", held.Lock)
	}
	again := s.acquire(k, 1)
	again.AcquiredAt = again.AcquiredAt.AddDate(1, 0, 0)
	again.Value = bytes.Replace(again.Value, []byte("2026-01"), []byte("2027-01"), 1)
	if res := s.want(lockcluster.StatusAlreadyHeld, again); res.Token != first.Token {
		s.Errorf("the second grant has token %s, the first %s", res.Token, first.Token)
	}
	got := s.get(k.Text())
	if got == nil || !got.AcquiredAt.Equal(first.Lock.AcquiredAt) || got.Revision != first.Lock.Revision || !bytes.Equal(got.Value, value(k, host, 1)) {
		s.Error("the second grant of one pull has changed the lock")
	}
	if _, offset := got.AcquiredAt.Zone(); offset != 2*3600 {
		s.Errorf("the time has lost its zone: %s", got.AcquiredAt)
	}
}

// A release by a guard that does not match frees nothing and shows the holder.
func guards(s *suite) {
	k := s.key("org/app", "dir", "default", "net")
	g := s.want(lockcluster.StatusGranted, s.acquire(k, 1))
	owner := func(pull int, host string) *lockcluster.Owner {
		return &lockcluster.Owner{Host: host, Repo: k.Repo, Pull: pull}
	}
	for name, guard := range map[string]lockcluster.Guard{
		"pull": {Pull: 2}, "owner": {Owner: owner(2, "")}, "host": {Owner: owner(1, "gitlab.com")}, "id": {Owner: &lockcluster.Owner{ID: "x"}},
		"token": {Token: lockcluster.Token{Epoch: g.Token.Epoch, Counter: g.Token.Counter + 1}}, "revision": {Revision: g.Lock.Revision + 1},
	} {
		res := s.want(lockcluster.StatusNotHolder, lockcluster.Release{Namespace: s.Namespace, Text: k.Text(), Guard: guard})
		if res.Lock == nil || res.Lock.Owner.Pull != 1 {
			s.Errorf("guard by %s: told %+v", name, res.Lock)
		}
	}
	all := lockcluster.Guard{Pull: 1, Owner: owner(1, ""), Token: g.Token, Revision: g.Lock.Revision}
	res := s.want(lockcluster.StatusReleased, lockcluster.Release{Namespace: s.Namespace, Text: k.Text(), Guard: all})
	if res.Lock == nil || !bytes.Equal(res.Lock.Value, value(k, host, 1)) {
		s.Error("the released lock is not as it was")
	}
	s.want(lockcluster.StatusNotFound, lockcluster.Release{Namespace: s.Namespace, Text: k.Text()})
	if s.get(k.Text()) != nil {
		s.Error("a released lock is still there")
	}
}

// Closing a pull frees its locks in exactly its repository.
func byPull(s *suite) {
	for i, k := range []lockcluster.Key{
		s.key("org/app", "a", "default", ""), s.key("org/app", "b", "prod", "net"), s.key("org/app", "c", "default", ""),
		s.key("org/app-infra", "a", "default", ""), s.key("org/app/sub", "a", "default", ""),
	} {
		pull := 7
		if i == 2 {
			pull = 8
		}
		s.want(lockcluster.StatusGranted, s.acquire(k, pull))
	}
	res := s.want(lockcluster.StatusReleased, lockcluster.ReleaseByPull{Namespace: s.Namespace, Repo: "org/app", Pull: 7})
	if len(res.Locks) != 2 {
		s.Errorf("freed %d locks, want 2", len(res.Locks))
	}
	if got := s.listed(); got != "org/app-infra/a/default/#7 org/app/c/default/#8 org/app/sub/a/default/#7 " {
		s.Errorf("left: %s", got)
	}
	if res := s.want(lockcluster.StatusReleased, lockcluster.ReleaseByPull{Namespace: s.Namespace, Repo: "org/app", Pull: 7}); len(res.Locks) != 0 {
		s.Errorf("the second time freed %d locks", len(res.Locks))
	}
}

// A repository that holds locks is of one VCS host.
func hosts(s *suite) {
	k := s.key("org/app", "a", "default", "")
	s.want(lockcluster.StatusGranted, s.acquire(k, 7))
	other := s.acquire(s.key("org/app", "b", "default", ""), 7)
	other.Owner.Host, other.Value = "gitlab.com", value(other.Key, "gitlab.com", 7)
	if res := s.want(lockcluster.StatusHostConflict, other); !strings.Contains(res.Text, host) {
		s.Errorf("the text does not name the host: %s", res.Text)
	}
	s.want(lockcluster.StatusReleased, lockcluster.Release{Namespace: s.Namespace, Text: k.Text()})
	s.want(lockcluster.StatusGranted, other)
}

// A lock of an owner id, without a value, keeps its owner and its user.
func ownerID(s *suite) {
	k := s.key("org/app", "a", "default", "")
	req := lockcluster.Acquire{Key: k, Owner: lockcluster.Owner{ID: "ci-7"}, User: "bob", Priority: lockcluster.PriorityHigh}
	s.want(lockcluster.StatusGranted, req)
	s.want(lockcluster.StatusAlreadyHeld, req)
	s.want(lockcluster.StatusHeld, s.acquire(k, 7))
	s.reopen()
	l := s.get(k.Text())
	if l == nil || l.Owner.ID != "ci-7" || l.User != "bob" || l.Priority != lockcluster.PriorityHigh || l.Kind != lockcluster.KindHeld || len(l.Value) > 0 || s.legacy() && !l.AcquiredAt.Equal(at) {
		s.Errorf("the lock is %+v", l)
	}
	s.want(lockcluster.StatusReleased, lockcluster.Release{Namespace: s.Namespace, Text: k.Text(), Guard: lockcluster.Guard{Owner: &lockcluster.Owner{ID: "ci-7"}}})
}

// Every grant's token is greater than all before it.
func tokens(s *suite) {
	var last lockcluster.Token
	for i := range 20 {
		k := s.key("org/app", fmt.Sprintf("d%d", i%3), "default", "")
		res := s.want(lockcluster.StatusGranted, s.acquire(k, i))
		if !last.Less(res.Token) {
			s.Fatalf("token %s after %s", res.Token, last)
		}
		last = res.Token
		s.want(lockcluster.StatusReleased, lockcluster.Release{Namespace: s.Namespace, Text: k.Text()})
		if i == 10 {
			s.reopen()
		}
	}
}

// Names are bytes: nothing in them is a pattern, and a lock is freed under the
// key that it is listed by.
func names(s *suite) {
	keys := []lockcluster.Key{
		s.key("org/a*b", "dir", "default", ""), s.key("org/a?b", "[x]", "default", ""), s.key("org/axb", "dir", "default", ""),
		s.key("grp/sub/repo", ".", "ws::1", "p/q"), s.key("org/ünï", "pfad/ä", "größe", "名前"), s.key("org/app", "d ir", "de{f}ault", "{x}"),
		s.key("org/app", `back\slash`, "default", "trailing/"), s.key("org/app", "a", "default", ""), s.key("org/app", "a", "default", "p"),
	}
	for i, k := range keys {
		s.want(lockcluster.StatusGranted, s.acquire(k, i+1))
		s.want(lockcluster.StatusHeld, s.acquire(k, i+100))
	}
	odd := lockcluster.Acquire{
		Key: s.key("org/app", "d\xff", "default", "\xfe"), Owner: lockcluster.Owner{Host: host, Repo: "org/app", Pull: 50}, User: "ann",
	}
	s.want(lockcluster.StatusGranted, odd)
	s.reopen()
	s.want(lockcluster.StatusAlreadyHeld, odd)
	odd.Owner.Pull++
	s.want(lockcluster.StatusHeld, odd)
	keys = append(keys, odd.Key)
	var texts []string
	state.ListLocks(s.view(), s.Namespace, state.LockFilter{}, func(l *lockcluster.Lock) bool { texts = append(texts, l.Key.Text()); return true })
	if len(texts) != len(keys) {
		s.Fatalf("%d locks listed, want %d", len(texts), len(keys))
	}
	s.want(lockcluster.StatusReleased, lockcluster.ReleaseByPull{Namespace: s.Namespace, Repo: "org/a*b", Pull: 1})
	if got := len(strings.Fields(s.listed())); got < len(keys)-1 {
		s.Errorf("a repository with * freed others: %d left", got)
	}
	for _, text := range texts {
		want := lockcluster.StatusReleased
		if text == keys[0].Text() {
			want = lockcluster.StatusNotFound
		}
		s.want(want, lockcluster.Release{Namespace: s.Namespace, Text: text})
	}
	if got := s.listed(); got != "" {
		s.Errorf("left: %s", got)
	}
}

// 64 clients go for one key at once, 32 times over few keys: each time exactly
// one gets it, and all others are told who.
func race(s *suite) {
	const clients, rounds, keys = 64, 32, 4
	for round := range rounds {
		k := s.key("org/app", fmt.Sprintf("d%d", round%keys), "default", "")
		var results [clients]lockcluster.Result
		var errs [clients]error
		var wg sync.WaitGroup
		start := make(chan struct{})
		for c := range clients {
			req := s.acquire(k, c+1)
			wg.Go(func() {
				<-start
				results[c], errs[c] = s.Backend.Do(s.ctx, s.Fence, at, req)
			})
		}
		close(start)
		wg.Wait()
		winner := -1
		for c, res := range results {
			switch {
			case errs[c] != nil:
				s.Fatalf("round %d: %v", round, errs[c])
			case res.Status == lockcluster.StatusGranted && winner >= 0:
				s.Fatalf("round %d: pulls %d and %d both got it", round, winner+1, c+1)
			case res.Status == lockcluster.StatusGranted:
				winner = c
			}
		}
		if winner < 0 {
			s.Fatalf("round %d: nobody got it", round)
		}
		for c, res := range results {
			if c != winner && (res.Status != lockcluster.StatusHeld || res.Lock.Owner.Pull != winner+1 || res.Token != results[winner].Token) {
				s.Fatalf("round %d: pull %d was told %s %s", round, c+1, res.Status, res.Token)
			}
		}
		s.want(lockcluster.StatusReleased, lockcluster.Release{
			Namespace: s.Namespace, Text: k.Text(), Guard: lockcluster.Guard{Token: results[winner].Token},
		})
	}
	if got := s.listed(); got != "" {
		s.Errorf("left: %s", got)
	}
}
