package history_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/internal/history"
)

// hand builds histories of one lock, operation by operation.
type hand struct{ ops []history.Op }

func handKey() lockcluster.Key {
	return lockcluster.Key{Namespace: "default", Repo: "org/app", Path: ".", Workspace: "default"}
}

func handLock(pull int, token, revision uint64) *lockcluster.Lock {
	return &lockcluster.Lock{
		Key: handKey(), Kind: lockcluster.KindPull, Owner: lockcluster.Owner{Repo: "org/app", Pull: pull},
		Priority: lockcluster.PriorityNormal, Token: lockcluster.Token{Epoch: 1, Counter: token}, Revision: revision,
		Value: []byte("secret"),
	}
}

func (h *hand) add(client string, from, to int, op history.Op) *hand {
	op.Client, op.Invoke, op.Return, op.Outcome = client, time.Duration(from), time.Duration(to), history.Done
	if to == 0 {
		op.Outcome = history.Unknown
	}
	h.ops = append(h.ops, op)
	return h
}

// acquire is a request of a pull; got is the lock that was told.
func (h *hand) acquire(client string, from, to, pull int, s lockcluster.Status, index uint64, got *lockcluster.Lock) *hand {
	res := lockcluster.Result{Status: s, Index: index, Lock: got}
	if got != nil {
		res.Token = got.Token
	}
	return h.add(client, from, to, history.Op{
		Request: lockcluster.Acquire{Key: handKey(), Owner: lockcluster.Owner{Repo: "org/app", Pull: pull}, Value: []byte("secret")}, Result: res,
	})
}

func (h *hand) release(client string, from, to int, s lockcluster.Status, index uint64, got *lockcluster.Lock) *hand {
	res := lockcluster.Result{Status: s, Index: index, Lock: got}
	if got != nil {
		res.Token = got.Token
	}
	return h.add(client, from, to, history.Op{Request: lockcluster.Release{Namespace: "default", Text: handKey().Text()}, Result: res})
}

func (h *hand) get(client string, from, to int, index uint64, got *lockcluster.Lock) *hand {
	return h.add(client, from, to, history.Op{
		Read: &history.Read{Namespace: "default", Space: lockcluster.SpaceLock, Key: handKey().Text(), Index: index, Lock: got},
	})
}

const (
	granted  = lockcluster.StatusGranted
	held     = lockcluster.StatusHeld
	released = lockcluster.StatusReleased
	notFound = lockcluster.StatusNotFound
)

// TestHandMadeHistories: histories without a log are judged as one would by
// hand, and a violation shows the operations that contradict each other and no
// stored value.
func TestHandMadeHistories(t *testing.T) {
	begin := func() *hand { return new(hand).acquire("a", 1, 2, 1, granted, 10, handLock(1, 1, 10)) }
	for name, c := range map[string]struct {
		h    *hand
		rule string   // "" if the history is right
		show []string // clients of the operations shown
	}{
		"hand-over":             {begin().release("a", 3, 4, released, 11, handLock(1, 1, 10)).acquire("b", 5, 6, 2, granted, 12, handLock(2, 2, 12)), "", nil},
		"refused with holder":   {begin().acquire("b", 3, 4, 2, held, 11, handLock(1, 1, 10)), "", nil},
		"double grant":          {begin().acquire("b", 3, 4, 2, granted, 12, handLock(2, 2, 12)), "answer", []string{"a", "b"}},
		"in one entry":          {begin().acquire("b", 1, 4, 2, held, 10, handLock(1, 1, 10)).release("c", 1, 4, notFound, 10, nil), "", nil},
		"twice in one entry":    {begin().acquire("b", 1, 4, 2, granted, 10, handLock(2, 2, 10)), "answer", []string{"a", "b"}},
		"released between":      {begin().acquire("b", 1, 4, 2, granted, 10, handLock(2, 2, 10)).release("c", 1, 4, released, 10, handLock(1, 1, 10)), "", nil},
		"acknowledgement lost":  {begin().get("b", 3, 4, 12, nil), "read", []string{"a", "b"}},
		"stale read":            {begin().get("b", 3, 4, 9, nil), "real time", []string{"a", "b"}},
		"read beside it":        {begin().get("b", 1, 4, 9, nil), "", nil},
		"wrong holder told":     {begin().acquire("b", 3, 4, 2, held, 12, handLock(3, 1, 10)), "answer", []string{"a", "b"}},
		"token going back":      {begin().release("a", 3, 4, released, 11, handLock(1, 1, 10)).acquire("b", 5, 6, 2, granted, 12, handLock(2, 0, 12)), "answer", []string{"a", "b"}},
		"token used again":      {begin().release("a", 3, 4, released, 11, handLock(1, 1, 10)).acquire("b", 5, 6, 2, granted, 12, handLock(2, 1, 12)), "answer", []string{"a", "b"}},
		"index against time":    {begin().acquire("b", 3, 4, 2, held, 10, handLock(1, 1, 10)), "real time", []string{"a", "b"}},
		"write before its time": {begin().release("c", 3, 4, notFound, 9, nil), "real time", []string{"a", "c"}},
		"unknown grant seen":    {new(hand).acquire("a", 1, 0, 1, 0, 0, nil).get("b", 3, 4, 12, handLock(1, 1, 10)), "", nil},
		"unknown grant unseen":  {new(hand).acquire("a", 1, 0, 1, 0, 0, nil).get("b", 3, 4, 12, nil), "", nil},
		"unknown grant twice": {new(hand).acquire("a", 1, 0, 1, 0, 0, nil).release("b", 3, 4, released, 12, handLock(1, 1, 10)).
			get("b", 5, 6, 14, handLock(1, 2, 13)), "read", []string{"b", "b"}},
		"grant before it was sent": {new(hand).get("b", 1, 2, 12, handLock(1, 1, 10)).acquire("a", 3, 0, 1, 0, 0, nil), "read", []string{"b"}},
		"unknown release":          {begin().release("a", 3, 0, 0, 0, nil).acquire("b", 5, 6, 2, granted, 12, handLock(2, 2, 12)), "", nil},
		"unknown release too late": {begin().acquire("b", 5, 6, 2, granted, 12, handLock(2, 2, 12)).release("a", 7, 0, 0, 0, nil), "answer", []string{"a", "b"}},
		"lock out of thin air":     {new(hand).get("b", 3, 4, 12, handLock(1, 1, 10)), "read", []string{"b"}},
	} {
		t.Run(name, func(t *testing.T) {
			report := mustCheck(t, c.h.ops, history.Options{})
			if c.rule == "" {
				if err := report.Err(); err != nil {
					t.Fatalf("%s\n%v", report, err)
				}
				return
			}
			i := slices.IndexFunc(report.Violations, func(v history.Violation) bool { return v.Rule == c.rule })
			if i < 0 {
				t.Fatalf("no violation of %q: %s\n%v", c.rule, report, report.Err())
			}
			var clients []string
			for _, op := range report.Violations[i].Ops {
				clients = append(clients, op.Client)
			}
			if !slices.Equal(clients, c.show) {
				t.Errorf("shown are %q, want %q:\n%s", clients, c.show, report.Violations[i])
			}
			if strings.Contains(report.Err().Error(), "secret") {
				t.Error("a stored value is shown")
			}
		})
	}
}

// TestRetriesAreOneRequest: a retry may get an answer that is older than
// itself, but only the one that the first try would have got.
func TestRetriesAreOneRequest(t *testing.T) {
	id := lockcluster.RequestID{ClientID: "a", Sequence: 1}
	h := new(hand).acquire("a", 1, 0, 1, 0, 0, nil).
		acquire("b", 3, 4, 2, held, 12, handLock(1, 1, 10)).
		acquire("a", 5, 6, 1, granted, 10, handLock(1, 1, 10))
	h.ops[0].ID, h.ops[2].ID = id, id
	if err := mustCheck(t, h.ops, history.Options{}).Err(); err != nil {
		t.Error(err)
	}
	h.acquire("a", 7, 8, 1, lockcluster.StatusAlreadyHeld, 14, handLock(1, 1, 10))
	h.ops[3].ID = id
	if report := mustCheck(t, h.ops, history.Options{}); len(report.Violations) != 1 {
		t.Errorf("two answers to one request: %s\n%v", report, report.Err())
	}
}

// TestRecorder: calls of many clients are recorded with what they returned, in
// the order they began, and those under way have an unknown outcome.
func TestRecorder(t *testing.T) {
	r := history.NewRecorder()
	req := lockcluster.Release{Namespace: "default", Text: "k"}
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for n := range 50 {
				_, err := r.Do(fmt.Sprint(i), lockcluster.RequestID{}, req, func() (lockcluster.Result, error) {
					return lockcluster.Result{Index: uint64(n + 1)}, nil
				})
				if err != nil {
					t.Error(err)
				}
				if _, err := r.Get(fmt.Sprint(i), history.Read{Key: "k"}, func(read *history.Read) error { read.Index = 7; return nil }); err != nil {
					t.Error(err)
				}
				r.Ops()
			}
		})
	}
	clients.Wait()
	hold := make(chan struct{})
	started := make(chan struct{})
	clients.Go(func() {
		_, err := r.Do("late", lockcluster.RequestID{}, req, func() (lockcluster.Result, error) {
			close(started)
			<-hold
			return lockcluster.Result{}, nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-started
	ops := r.Ops()
	close(hold)
	clients.Wait()
	if len(ops) != 8*50*2+1 {
		t.Fatalf("%d operations", len(ops))
	}
	for i, op := range ops {
		switch {
		case i > 0 && op.Invoke < ops[i-1].Invoke, op.Outcome == history.Done && op.Return < op.Invoke:
			t.Fatalf("%s is out of order", op.String())
		case op.Client == "late" && op.Outcome != history.Unknown, op.Client != "late" && op.Outcome != history.Done:
			t.Fatalf("%s has outcome %d", op.String(), op.Outcome)
		case op.Read != nil && op.Index() != 7:
			t.Fatalf("%s has index %d", op.String(), op.Index())
		}
	}
}

// TestOutcomeOf: only what was surely not proposed counts as failed.
func TestOutcomeOf(t *testing.T) {
	for err, want := range map[error]history.Outcome{
		nil:                            history.Done,
		lockcluster.ErrInvalid:         history.Failed,
		lockcluster.ErrOverloaded:      history.Failed,
		&lockcluster.NotLeaderError{}:  history.Failed,
		lockcluster.ErrOutcomeUnknown:  history.Unknown,
		lockcluster.ErrClosed:          history.Unknown,
		context.DeadlineExceeded:       history.Unknown,
		errors.New("connection reset"): history.Unknown,
		errors.Join(lockcluster.ErrNoLeader, lockcluster.ErrOutcomeUnknown): history.Unknown,
	} {
		if got := history.OutcomeOf(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}
