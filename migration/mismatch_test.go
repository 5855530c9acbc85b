package migration

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state"
)

var mismatchKey = lockcluster.Key{Namespace: "default", Repo: "acme/app", Path: ".", Workspace: "default"}

func pullLock(pull int, change func(*lockcluster.Lock)) *lockcluster.Lock {
	l := &lockcluster.Lock{
		Key: mismatchKey, Kind: lockcluster.KindPull, Owner: lockcluster.Owner{Host: "github.com", Repo: "acme/app", Pull: pull},
		Token: lockcluster.Token{Epoch: 1, Counter: 7}, Revision: 12, AcquiredAt: time.Unix(1, 0), Value: []byte("ghp_secret of the lock"),
	}
	if change != nil {
		change(l)
	}
	return l
}

func document(value string) *lockcluster.Document {
	return &lockcluster.Document{Namespace: "default", Key: "github.com::acme/app::7", Value: []byte(value), Revision: 3}
}

// Only what a client could tell apart counts as a difference.
func TestCompare(t *testing.T) {
	var (
		acquire = lockcluster.Acquire{Key: mismatchKey, Owner: lockcluster.Owner{Repo: "acme/app", Pull: 7}}
		byPull  = lockcluster.ReleaseByPull{Namespace: "default", Repo: "acme/app", Pull: 7}
		put     = lockcluster.PutDocument{Namespace: "default", Key: "github.com::acme/app::7"}
		other   = mismatchKey
	)
	other.Path = "other"
	type result = lockcluster.Result
	locks := func(keys ...lockcluster.Key) (ls []lockcluster.Lock) {
		for _, k := range keys {
			ls = append(ls, lockcluster.Lock{Key: k})
		}
		return ls
	}
	tests := []struct {
		name             string
		req              lockcluster.Request
		legacy, enhanced result
		want             string // the difference, empty for none
	}{
		{"equal", acquire, result{Status: lockcluster.StatusGranted, Lock: pullLock(7, nil)}, result{Status: lockcluster.StatusGranted, Lock: pullLock(7, nil)}, ""},
		{
			"token, index, revision, time, text and the lock's bytes do not count", acquire,
			result{Status: lockcluster.StatusHeld, Lock: pullLock(7, nil), Token: lockcluster.Token{Epoch: 1, Counter: 7}, Index: 1 << 52, Text: "a"},
			result{Status: lockcluster.StatusHeld, Lock: pullLock(7, func(l *lockcluster.Lock) {
				l.Token, l.Revision, l.AcquiredAt, l.Value = lockcluster.Token{Epoch: 2}, 99, time.Unix(5, 0), nil
			}), Index: 5, Text: "b"},
			"",
		},
		{
			"granted and already held", acquire,
			result{Status: lockcluster.StatusGranted, Lock: pullLock(7, nil)},
			result{Status: lockcluster.StatusAlreadyHeld, Lock: pullLock(7, nil)},
			"status",
		},
		{
			"another holder", acquire,
			result{Status: lockcluster.StatusHeld, Lock: pullLock(7, nil)},
			result{Status: lockcluster.StatusHeld, Lock: pullLock(8, nil)},
			"holder",
		},
		{
			"a host that one does not know", acquire,
			result{Status: lockcluster.StatusHeld, Lock: pullLock(7, func(l *lockcluster.Lock) { l.Owner.Host = "" })},
			result{Status: lockcluster.StatusHeld, Lock: pullLock(7, nil)},
			"",
		},
		{"a lock and none", acquire, result{Status: lockcluster.StatusHeld, Lock: pullLock(7, nil)}, result{Status: lockcluster.StatusHeld}, "holder"},
		{
			"released locks in another order", byPull,
			result{Status: lockcluster.StatusReleased, Locks: locks(mismatchKey, other)},
			result{Status: lockcluster.StatusReleased, Locks: locks(other, mismatchKey)},
			"",
		},
		{
			"one lock more", byPull,
			result{Status: lockcluster.StatusReleased, Locks: locks(mismatchKey, other)},
			result{Status: lockcluster.StatusReleased, Locks: locks(mismatchKey)},
			"released locks",
		},
		{"a document and none", put, result{Status: lockcluster.StatusStored, Document: document("a")}, result{Status: lockcluster.StatusStored}, "document"},
		{
			"values", put,
			result{Status: lockcluster.StatusStored, Document: document("ghp_a")},
			result{Status: lockcluster.StatusStored, Document: document("ghp_b")},
			"document",
		},
		{
			"a value and its digest", put,
			result{Status: lockcluster.StatusStored, Document: document("ghp_a")},
			DigestValues(result{Status: lockcluster.StatusStored, Document: document("ghp_a")}), "",
		},
		{
			"a value and the digest of another", put,
			result{Status: lockcluster.StatusStored, Document: document("ghp_a")},
			DigestValues(result{Status: lockcluster.StatusStored, Document: document("ghp_b")}), "document",
		},
		{
			"a value that was not sent", put,
			result{Status: lockcluster.StatusStored, Document: document("ghp_a")},
			result{Status: lockcluster.StatusStored, Document: &lockcluster.Document{}},
			"",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, pair := range [][2]result{{tt.legacy, tt.enhanced}, {tt.enhanced, tt.legacy}} {
				m := Compare(tt.req, pair[0], pair[1])
				switch {
				case (m == nil) != (tt.want == ""):
					t.Fatalf("mismatch = %+v, want %q", m, tt.want)
				case m == nil:
					continue
				case m.Difference != tt.want || m.Operation != OperationOf(tt.req) || m.Namespace != "default" || m.Key == "" ||
					m.Index != pair[1].Index || m.Legacy.Status != pair[0].Status.String() || m.Enhanced.Status != pair[1].Status.String():
					t.Errorf("mismatch = %+v", m)
				}
				b, err := json.Marshal(m)
				if err != nil || strings.Contains(string(b), "ghp_") {
					t.Errorf("%v; a stored value is in %s", err, b)
				}
			}
		})
	}
}

// A transaction's answers are compared part by part, on the real rules: the
// part that differs is shown, with its key.
func TestCompareTransactions(t *testing.T) {
	env := state.Env{Index: 1, Term: 1, Now: time.Unix(100, 0)}
	txn := lockcluster.Txn{Namespace: "default", Requests: []lockcluster.Request{
		lockcluster.PutDocument{Namespace: "default", Key: "first", Value: []byte("ghp_1")},
		lockcluster.Acquire{Key: mismatchKey, Owner: lockcluster.Owner{Host: "github.com", Repo: "acme/app", Pull: 7}},
		lockcluster.DeleteDocument{Namespace: "default", Key: "last"},
	}}
	decide := func(before ...lockcluster.Request) lockcluster.Result {
		a := state.Begin(state.NewOverlay(state.NewMem().View()), env)
		defer a.End()
		for _, req := range before {
			a.Do(command.Command{Request: req})
		}
		return a.Do(command.Command{Request: txn})
	}
	free := decide()
	held := decide(lockcluster.Acquire{Key: mismatchKey, Owner: lockcluster.Owner{Host: "github.com", Repo: "acme/app", Pull: 8}})
	if held.Status != lockcluster.StatusConflict || free.Status != lockcluster.StatusApplied {
		t.Fatalf("free: %v, held: %v", free.Status, held.Status)
	}
	if m := Compare(txn, free, DigestValues(decide())); m != nil {
		t.Errorf("equal answers: %+v", m)
	}
	m := Compare(txn, free, held)
	if m == nil || m.Operation != "transaction" || m.Key != mismatchKey.Text() || m.Difference != "status" ||
		m.Legacy.Status != "granted" || m.Enhanced.Status != "held" || m.Enhanced.Holder != "pull request #8 of acme/app" || m.Enhanced.Token == "" {
		t.Errorf("mismatch = %+v", m)
	}
	other := decide()
	other.Results = other.Results[:2]
	if m := Compare(txn, free, other); m == nil || m.Difference != "answers" {
		t.Errorf("an answer less: %+v", m)
	}
	routed := lockcluster.Routed{Request: txn}
	if m := Compare(routed, free, held); m == nil || m.Operation != "transaction" || m.Key != mismatchKey.Text() {
		t.Errorf("routed: %+v", m)
	}
	imported := lockcluster.Import{Namespace: "default", Locks: []lockcluster.Acquire{{Key: mismatchKey}}, Documents: []lockcluster.PutDocument{{Key: "doc"}}}
	a := lockcluster.Result{Results: []lockcluster.Result{{Status: lockcluster.StatusGranted}, {Status: lockcluster.StatusStored}}}
	b := lockcluster.Result{Results: []lockcluster.Result{{Status: lockcluster.StatusGranted}, {Status: lockcluster.StatusHeld}}}
	if m := Compare(imported, a, b); m == nil || m.Operation != "import" || m.Key != "doc" {
		t.Errorf("import: %+v", m)
	}
}

// Digests leave the answer that they were taken of alone, and no value in
// their own.
func TestDigestValues(t *testing.T) {
	secret := []byte("ghp_secret")
	r := lockcluster.Result{
		Lock: pullLock(7, nil), CommandLock: &lockcluster.CommandLock{Value: secret}, Document: document("ghp_secret"),
		Locks: []lockcluster.Lock{*pullLock(7, nil)}, Results: []lockcluster.Result{{Document: document("ghp_secret")}},
	}
	d := DigestValues(r)
	for i, v := range [][]byte{d.Lock.Value, d.CommandLock.Value, d.Document.Value, d.Locks[0].Value, d.Results[0].Document.Value} {
		if !strings.HasPrefix(string(v), digestPrefix) {
			t.Errorf("value %d is no digest: %q", i, v)
		}
	}
	for i, v := range [][]byte{r.Lock.Value, r.CommandLock.Value, r.Document.Value, r.Locks[0].Value, r.Results[0].Document.Value} {
		if !strings.HasPrefix(string(v), "ghp_") {
			t.Errorf("value %d of the answer was changed: %q", i, v)
		}
	}
	if DigestValues(lockcluster.Result{Document: &lockcluster.Document{}}).Document.Value != nil {
		t.Error("no value has a digest")
	}
}

// The log keeps the latest, counts all, and knows what nobody has explained.
func TestMismatchLog(t *testing.T) {
	l := NewMismatchLog(3)
	if l.Latest(0) == nil || len(l.Latest(5)) != 0 {
		t.Error("an empty log has no empty list")
	}
	for i := range 5 {
		op := "acquire"
		if i == 4 {
			op = "release"
		}
		if seq := l.Add(Mismatch{Operation: op, Key: fmt.Sprint(i), Explained: i == 1}); seq != uint64(i+1) {
			t.Errorf("number = %d, want %d", seq, i+1)
		}
	}
	got := l.Latest(0)
	if len(got) != 3 || got[0].Seq != 5 || got[2].Seq != 3 || got[0].Time.IsZero() {
		t.Errorf("latest = %+v", got)
	}
	if got := l.Latest(1); len(got) != 1 || got[0].Seq != 5 {
		t.Errorf("the latest = %+v", got)
	}
	c := l.Counts()
	if c.Total != 5 || c.Unexplained != 4 || c.Dropped != 2 || c.ByOperation["acquire"] != 4 || c.ByOperation["release"] != 1 {
		t.Errorf("counts = %+v", c)
	}
	c.ByOperation["acquire"] = 0 // a copy
	if l.Explain(1, "gone") {
		t.Error("what the log has dropped was explained")
	}
	if !l.Explain(5, "a person looked") || !l.Explain(5, "again") {
		t.Error("what the log has was not explained")
	}
	if got := l.Latest(1)[0]; !got.Explained || got.Explanation != "a person looked" {
		t.Errorf("explained = %+v", got)
	}
	if c := l.Counts(); c.Unexplained != 3 || c.ByOperation["acquire"] != 4 {
		t.Errorf("counts = %+v, want 3 unexplained", c)
	}
	l.ExplainAll("started over")
	if c := l.Counts(); c.Unexplained != 0 || c.Total != 5 {
		t.Errorf("counts = %+v", c)
	}
	l.Add(Mismatch{Operation: "acquire"})
	if c := l.Counts(); c.Unexplained != 1 {
		t.Errorf("counts = %+v, want the new one unexplained", c)
	}
}

// Many may add at a time; every difference gets a number of its own.
func TestMismatchLogConcurrently(t *testing.T) {
	l := NewMismatchLog(0)
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[uint64]bool{}
	for range 8 {
		wg.Go(func() {
			for range 200 {
				seq := l.Add(Mismatch{Operation: "acquire"})
				mu.Lock()
				seen[seq] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if c := l.Counts(); len(seen) != 1600 || c.Total != 1600 || c.Dropped != 600 || len(l.Latest(0)) != 1000 {
		t.Errorf("%d numbers, counts %+v, %d kept", len(seen), c, len(l.Latest(0)))
	}
}
