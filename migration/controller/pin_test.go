package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// A transaction that names a lock by a text that the rules do not know finds
// nothing there, as it does in the enhanced system; it is not tried for ever.
func TestPinnedTransactionByOldText(t *testing.T) {
	s := newSite(t, nil)
	s.inMode(lockcluster.ModeLegacy)
	s.lead("n1")
	a := acquire("acme/app", 7)
	a.Key.Project = "p"
	s.want("n1", a, lockcluster.StatusGranted)
	old := a.Key.OldText()
	for _, req := range []lockcluster.Request{
		lockcluster.Txn{Namespace: ns, Requests: []lockcluster.Request{lockcluster.Release{Namespace: ns, Text: old}}},
	} {
		s.want("n2", req, lockcluster.StatusApplied)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		res, err := s.ctl("n2").Do(ctx, lockcluster.RequestID{ClientID: "c", Sequence: 1}, req)
		cancel()
		if err != nil || res.Status != lockcluster.StatusApplied {
			t.Errorf("with an id: %s, %v", res.Status, err)
		}
	}
	s.want("n2", lockcluster.Release{Namespace: ns, Text: old}, lockcluster.StatusNotFound)
}

// What a transaction is pinned to counts against its bound, not the client's.
func TestPinnedTransactionOfManyRequests(t *testing.T) {
	s := newSite(t, nil)
	s.inMode(lockcluster.ModeLegacy)
	s.lead("n1")
	txn := lockcluster.Txn{Namespace: ns}
	for i := range 5001 { // and as many conditions
		txn.Requests = append(txn.Requests, document(fmt.Sprintf("k%d", i), "v"))
	}
	for _, client := range []string{"", "c"} {
		for id := uint64(1); ; id++ {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			res, err := s.ctl("n2").Do(ctx, lockcluster.RequestID{ClientID: client, Sequence: id * uint64(len(client))}, txn)
			cancel()
			if errors.Is(err, lockcluster.ErrOutcomeUnknown) && id < 5 {
				continue // a busy machine has elected another leader
			}
			if err != nil || res.Status != lockcluster.StatusApplied {
				t.Errorf("by client %q: %s, %v", client, res.Status, err)
			}
			break
		}
	}
}

// A pin does not carry what a request removes: a pull request with many locks
// and a long text would not fit between two nodes, and could never be closed.
func TestPinOfManyLocksIsSmall(t *testing.T) {
	s := newSite(t, nil)
	s.inMode(lockcluster.ModeLegacy)
	s.lead("n1")
	value := func(a lockcluster.Acquire) []byte {
		return fmt.Appendf(nil, `{"Project":{"RepoFullName":%q,"Path":"."},"Pull":{"Num":7,"Body":%q,"BaseRepo":{"FullName":%q}},"User":{"Username":"u"},"Workspace":%q,"Time":"2024-01-01T00:00:00Z"}`,
			a.Key.Repo, strings.Repeat("x", 60<<10), a.Key.Repo, a.Key.Workspace)
	}
	for i := range 40 {
		a := acquire("acme/app", 7)
		a.Key.Workspace = fmt.Sprintf("w%d", i)
		a.Value = value(a)
		if got := s.try("n1", a); got != "granted" && got != "already held" { // again, after an election on a busy machine
			t.Fatal(got)
		}
	}
	most := 0
	s.setHooks(func(_ string, req lockcluster.Request, next func() (lockcluster.Result, error)) (lockcluster.Result, error) {
		if p, ok := req.(lockcluster.Pin); ok {
			size := 0
			for i := range p.Found.Locks {
				size += len(p.Found.Locks[i].Value)
			}
			most = max(most, size)
		}
		return next()
	}, nil, nil)
	res := s.as(1, "n1", lockcluster.ReleaseByPull{Namespace: ns, Repo: "acme/app", Pull: 7})
	if res.Status != lockcluster.StatusReleased || len(res.Locks) != 40 || len(res.Locks[0].Value) == 0 {
		t.Errorf("released %d locks: %s", len(res.Locks), res.Status)
	}
	if most > 1<<20 {
		t.Errorf("%d bytes of values were pinned", most)
	}
}

// A record that a stock Atlantis has written into the store has no token and no
// revision that nodes agree on. A request that comes to another node than the
// leader is pinned to it all the same.
func TestPinOfARecordThatAStockAtlantisWrote(t *testing.T) {
	s := newRedisSite(t, lockcluster.ModeLegacy)
	leader := s.Leader()
	other := "n1"
	if leader == "n1" {
		other = "n2"
	}
	write := func(key, value string) {
		t.Helper()
		if err := s.raw.Set(t.Context(), key, value, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	lock := func(a lockcluster.Acquire) {
		write(compat.LockKeyPrefix+a.Key.Text(), string(compat.NewLockValue(lockcluster.Lock{Key: a.Key, Owner: a.Owner, User: "u", AcquiredAt: time.Now()})))
	}
	a := acquire("acme/app", 7)
	lock(a)
	s.want(other, lockcluster.ReleaseByPull{Namespace: ns, Repo: "acme/app", Pull: 7}, lockcluster.StatusReleased)
	if n := s.raw.Exists(t.Context(), compat.LockKeyPrefix+a.Key.Text()).Val(); n != 0 {
		t.Error("a release by pull has left a lock")
	}
	lock(a)
	s.want(other, anybody("acme/app"), lockcluster.StatusReleased)
	write("doc", "old")
	s.want(other, document("doc", "new"), lockcluster.StatusStored)
	write("doc", "other")
	s.want(other, lockcluster.DeleteDocument{Namespace: ns, Key: "doc"}, lockcluster.StatusDeleted)
	lock(a)
	s.want(other, lockcluster.Txn{Namespace: ns, Requests: []lockcluster.Request{anybody("acme/app")}}, lockcluster.StatusApplied)
}

// What a leader has not even looked at yet does not make an outcome unknown: a
// transaction whose conditions do not hold is told so, whoever was not ready.
func TestLeaderThatIsNotReadyHasDecidedNothing(t *testing.T) {
	s := newSite(t, nil)
	s.inMode(lockcluster.ModeLegacy)
	s.lead("n1")
	s.want("n1", document("doc", "v"), lockcluster.StatusStored)
	txn := lockcluster.Txn{
		Namespace: ns, Requests: []lockcluster.Request{document("doc", "w")},
		Conditions: []lockcluster.Condition{{Space: lockcluster.SpaceDocument, Key: "doc", Revision: 1}},
	}
	var before atomic.Int32
	s.setHooks(nil, func(from, _, method string, next func() ([]byte, error)) ([]byte, error) {
		if from == "n2" && method == methodDecide && before.Add(1) <= 3 {
			return append([]byte{endNotReady}, errNotReady.Error()...), nil
		}
		return next()
	}, nil)
	if res := s.as(1, "n2", txn); res.Status != lockcluster.StatusConflict {
		t.Errorf("the transaction: %s, want a conflict", res.Status)
	}
}

// What any node tells of a record that a stock Atlantis has written is true for
// all: who has read a lock may release what he has read.
func TestTokensOfWhatAStockAtlantisWrote(t *testing.T) {
	s := newRedisSite(t, lockcluster.ModeLegacy)
	other := "n1"
	if s.Leader() == "n1" {
		other = "n2"
	}
	for i, whole := range []bool{false, true} {
		a := acquire(fmt.Sprintf("acme/app%d", i), 7)
		value := compat.NewLockValue(lockcluster.Lock{Key: a.Key, Owner: a.Owner, User: "u", AcquiredAt: time.Now()})
		if err := s.raw.Set(t.Context(), compat.LockKeyPrefix+a.Key.Text(), value, 0).Err(); err != nil {
			t.Fatal(err)
		}
		var l *lockcluster.Lock
		read := func(r state.Reader, _ uint64) { l = state.GetLock(r, ns, a.Key.Text()) }
		err := error(nil)
		if whole {
			var view *state.View
			if view, err = s.ctl(other).View(t.Context()); err == nil {
				read(view, 0)
			}
		} else {
			err = s.ctl(other).Read(t.Context(), read)
		}
		if err != nil || l == nil {
			t.Fatal(err, l)
		}
		s.want(other, lockcluster.Release{Namespace: ns, Text: a.Key.Text(), Guard: lockcluster.Guard{Token: l.Token}}, lockcluster.StatusReleased)
	}
}
