package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/internal/testutil"
	"github.com/lockcluster/lockcluster/rpc"
)

// A client takes, reads and frees locks through any node, and every answer
// carries its log index.
func TestClientRoundTrip(t *testing.T) {
	s := newSystem(t, 3)
	for _, endpoint := range s.endpoints() {
		c := dial(t, rpc.ClientConfig{Endpoints: []string{endpoint}})
		ctx := t.Context()
		key := lockKey(1)
		res, err := c.Do(ctx, lockcluster.RequestID{}, lockcluster.Acquire{Key: key, Owner: pullOwner(4), User: "ann"})
		if err != nil || res.Status != lockcluster.StatusGranted || res.Index == 0 || res.Lock.Owner != pullOwner(4) || res.Token.IsZero() {
			t.Fatalf("acquire: %+v, %v", res, err)
		}
		res, err = c.Do(ctx, lockcluster.RequestID{}, lockcluster.Acquire{Key: key, Owner: pullOwner(5)})
		if err != nil || res.Status != lockcluster.StatusHeld || res.Lock.Owner.Pull != 4 {
			t.Fatalf("acquire by another: %+v, %v", res, err)
		}
		lock, info, err := c.GetLock(ctx, "default", key.Text())
		if err != nil || lock == nil || lock.User != "ann" || info.Index != res.Index || lock.Key != key {
			t.Fatalf("get: %+v, %+v, %v", lock, info, err)
		}
		old, info, err := c.GetLock(ctx, "", key.OldText(), rpc.Stale())
		if err != nil || old == nil || old.Token != lock.Token || info.Age != 3*time.Second {
			t.Fatalf("stale get by the old form: %+v, %+v, %v", old, info, err)
		}
		res, err = c.Do(ctx, lockcluster.RequestID{}, lockcluster.Release{Namespace: "default", Text: key.Text(), Guard: lockcluster.Guard{Token: lock.Token}})
		if err != nil || res.Status != lockcluster.StatusReleased {
			t.Fatalf("release: %+v, %v", res, err)
		}
		if lock, _, err := c.GetLock(ctx, "default", key.Text()); err != nil || lock != nil {
			t.Fatalf("get of a free lock: %+v, %v", lock, err)
		}
	}
}

// A client moves to the new leader by itself, whether nodes forward or refuse,
// and also when it knew only one node.
func TestClientFollowsLeader(t *testing.T) {
	for _, forward := range []bool{true, false} {
		t.Run(fmt.Sprintf("forward=%v", forward), func(t *testing.T) {
			s := newSystem(t, 3)
			s.forward = forward
			c := dial(t, rpc.ClientConfig{Endpoints: s.endpoints()[:1]})
			for i := range 6 {
				s.setLeader(i % 3)
				for j := range 2 {
					res, err := c.Do(t.Context(), lockcluster.RequestID{}, lockcluster.Acquire{Key: lockKey(10*i + j), Owner: pullOwner(1)})
					if err != nil || res.Status != lockcluster.StatusGranted {
						t.Fatalf("leader %d: %+v, %v", i%3, res, err)
					}
				}
				if got, want := c.LeaderAddr(), s.nodes[i%3].server.GRPCAddr(); got != want {
					t.Fatalf("the client asks %s, the leader is %s", got, want)
				}
			}
		})
	}
}

// A request waits through an election, and is decided once.
func TestClientWaitsForLeader(t *testing.T) {
	s := newSystem(t, 3)
	s.setLeader(-1)
	c := dial(t, rpc.ClientConfig{Endpoints: s.endpoints()})
	elected := time.AfterFunc(300*time.Millisecond, func() { s.setLeader(2) })
	defer elected.Stop()
	res, err := c.Do(t.Context(), lockcluster.RequestID{}, lockcluster.Acquire{Key: lockKey(1), Owner: pullOwner(1)})
	if err != nil || res.Status != lockcluster.StatusGranted {
		t.Fatalf("%+v, %v", res, err)
	}
	if n := s.count(lockcluster.RequestID{ClientID: c.ID(), Sequence: 1}); n != 1 {
		t.Fatalf("the request reached the rules %d times", n)
	}
}

// Without a leader, or without any node, a call ends at its deadline with an
// error that says that nothing was proposed.
func TestClientNoLeader(t *testing.T) {
	s := newSystem(t, 2)
	s.setLeader(-1)
	for name, endpoints := range map[string][]string{"no leader": s.endpoints(), "no node": {testutil.FreeAddr(t)}} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, rpc.ClientConfig{Endpoints: endpoints, Timeout: 300 * time.Millisecond})
			_, err := c.Do(t.Context(), lockcluster.RequestID{}, lockcluster.Acquire{Key: lockKey(1), Owner: pullOwner(1)})
			if !errors.Is(err, lockcluster.ErrNoLeader) || errors.Is(err, lockcluster.ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got %v", err)
			}
			if _, _, err := c.GetLock(t.Context(), "default", "a/b/./default/"); !errors.Is(err, lockcluster.ErrNoLeader) {
				t.Fatalf("read: got %v", err)
			}
		})
	}
}

// Replies that are lost after the commit, with the connection, do not make a
// request take effect twice, nor be told another answer.
func TestReplyLostAfterCommit(t *testing.T) {
	s := newSystem(t, 3)
	rnd := testutil.Rand(t)
	var proxies []*proxy
	var endpoints []string
	for _, n := range s.nodes {
		p := newProxy(t, n.server.GRPCAddr())
		proxies, endpoints = append(proxies, p), append(endpoints, p.addr())
	}
	// Nodes here do not say who leads, or the client would leave the proxies.
	s.hideLeader()
	c := dial(t, rpc.ClientConfig{Endpoints: endpoints, Timeout: 20 * time.Second})
	const requests = 300
	repeats := 0
	for i := range requests {
		for _, p := range proxies {
			if i%2 == 0 {
				p.loseAfter(rnd.Int64N(3))
			}
		}
		key := lockKey(i / 2)
		var req lockcluster.Request = lockcluster.Acquire{Key: key, Owner: pullOwner(1)}
		want := lockcluster.StatusGranted
		if i%2 == 1 {
			req, want = lockcluster.Release{Namespace: "default", Text: key.Text()}, lockcluster.StatusReleased
		}
		res, err := c.Do(t.Context(), lockcluster.RequestID{}, req)
		if err != nil || res.Status != want {
			t.Fatalf("request %d: %v, %v; want %v", i, res.Status, err, want)
		}
		repeats += s.count(lockcluster.RequestID{ClientID: c.ID(), Sequence: uint64(i + 1)}) - 1
	}
	t.Logf("%d requests, %d of them were sent again after they had been decided", requests, repeats)
	if repeats == 0 {
		t.Fatal("no reply was lost: the test shows nothing")
	}
}

// A caller that gives up learns that the outcome is unknown, and finds out with
// the id from the error.
func TestOutcomeUnknown(t *testing.T) {
	s := newSystem(t, 1)
	c := dial(t, rpc.ClientConfig{Endpoints: s.endpoints()})
	release := make(chan struct{})
	s.mu.Lock()
	s.blocked = release
	s.mu.Unlock()
	req := lockcluster.Acquire{Key: lockKey(1), Owner: pullOwner(1)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := c.Do(ctx, lockcluster.RequestID{}, req)
	var unknown *rpc.OutcomeUnknownError
	if !errors.As(err, &unknown) || !errors.Is(err, lockcluster.ErrOutcomeUnknown) || errors.Is(err, lockcluster.ErrNoLeader) {
		t.Fatalf("got %v", err)
	}
	if unknown.ID.ClientID != c.ID() || unknown.ID.Sequence != 1 {
		t.Fatalf("the error names %+v", unknown.ID)
	}
	close(release)
	for range 5 { // others must not make the cluster forget it
		if _, err := c.Do(t.Context(), lockcluster.RequestID{}, lockcluster.Acquire{Key: lockKey(2), Owner: pullOwner(1)}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		res, err := c.Do(t.Context(), unknown.ID, req)
		if err != nil || res.Status != lockcluster.StatusGranted && res.Status != lockcluster.StatusForgotten {
			t.Fatalf("%+v, %v", res, err)
		}
		if res.Status == lockcluster.StatusForgotten {
			break // answered, and acknowledged since
		}
	}
}

// A node that swallows its answers is left for another one within the time of
// a try, and the request still takes effect once.
func TestSilentNode(t *testing.T) {
	s := newSystem(t, 2)
	proxies := map[string]*proxy{}
	var endpoints []string
	for _, n := range s.nodes {
		p := newProxy(t, n.server.GRPCAddr())
		proxies[p.addr()], endpoints = p, append(endpoints, p.addr())
	}
	s.hideLeader()
	c := dial(t, rpc.ClientConfig{Endpoints: endpoints, TryTimeout: 200 * time.Millisecond})
	do := func(i int) lockcluster.Status {
		t.Helper()
		res, err := c.Do(t.Context(), lockcluster.RequestID{}, lockcluster.Acquire{Key: lockKey(i), Owner: pullOwner(1)})
		if err != nil {
			t.Fatal(err)
		}
		return res.Status
	}
	do(0)
	proxies[c.LeaderAddr()].deaf.Store(true)
	for i := range 3 {
		start := time.Now()
		if got := do(i + 1); got != lockcluster.StatusGranted {
			t.Fatalf("request %d: %v", i, got)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Fatalf("request %d took %v", i, took)
		}
	}
	if n := s.count(lockcluster.RequestID{ClientID: c.ID(), Sequence: 2}); n != 2 {
		t.Fatalf("the first request after the silence reached the rules %d times, want 2: the test shows nothing", n)
	}
}

// A listing of 10,000 locks with values arrives whole, in order, of one state,
// without a credential.
func TestListLocks(t *testing.T) {
	s := newSystem(t, 1)
	const locks = 10_000
	value := []byte(`{"Pull":{"Num":1,"Body":"` + strings.Repeat("x", 600) + `","BaseRepo":{"CloneURL":"https://bot:CANARY@github.com/acme/app.git"}}}`)
	for i := range locks {
		s.decide(lockcluster.RequestID{}, lockcluster.Acquire{Key: lockKey(i), Owner: pullOwner(1 + i%10), User: "ann", Value: value})
	}
	c := dial(t, rpc.ClientConfig{Endpoints: s.endpoints(), WithValues: true, TryTimeout: 20 * time.Second})
	start := time.Now()
	got, info, err := c.CollectLocks(t.Context(), rpc.LockFilter{})
	if err != nil || len(got) != locks || info.Index != locks {
		t.Fatalf("%d locks at index %d, %v", len(got), info.Index, err)
	}
	t.Logf("%d locks with values in %v", locks, time.Since(start))
	for i := range got {
		if got[i].Key != lockKey(i) || bytes.Contains(got[i].Value, []byte("CANARY")) || !bytes.Contains(got[i].Value, []byte("https://github.com/acme/app.git")) {
			t.Fatalf("lock %d: %+v %s", i, got[i].Key, got[i].Value)
		}
	}
	n := 0
	for lock, err := range c.ListLocks(t.Context(), rpc.LockFilter{Repo: "acme/app", Pull: 3, After: lockKey(5_000).Text(), Limit: 7}) {
		if err != nil || lock.Owner.Pull != 3 || lock.Key.Text() <= lockKey(5_000).Text() {
			t.Fatalf("%+v, %v", lock, err)
		}
		n++
	}
	if n != 7 {
		t.Fatalf("%d locks, want the limit of 7", n)
	}
	for lock, err := range c.ListLocks(t.Context(), rpc.LockFilter{Prefix: "acme/app/dir/0012"}) {
		if err != nil || !strings.HasPrefix(lock.Key.Text(), "acme/app/dir/0012") {
			t.Fatalf("%+v, %v", lock, err)
		}
		break // a listing may be left
	}
	if got, info, err := c.CollectLocks(t.Context(), rpc.LockFilter{Repo: "acme/ap"}, rpc.Stale()); err != nil || len(got) != 0 || info.Age != 3*time.Second {
		t.Fatalf("a repository that merely begins alike: %d locks, %+v, %v", len(got), info, err)
	}
}

// Many callers of one client each get their own answers, over a few connections.
func TestClientConcurrent(t *testing.T) {
	s := newSystem(t, 3)
	c := dial(t, rpc.ClientConfig{Endpoints: s.endpoints()})
	var wg sync.WaitGroup
	for caller := range 64 {
		wg.Go(func() {
			for i := range 20 {
				res, err := c.Do(t.Context(), lockcluster.RequestID{}, lockcluster.Acquire{Key: lockKey(100*caller + i), Owner: pullOwner(caller + 1)})
				if err != nil || res.Status != lockcluster.StatusGranted || res.Lock.Owner.Pull != caller+1 {
					t.Errorf("caller %d: %+v, %v", caller, res, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// The cluster's own calls reach the leader from any endpoint; a refusal says
// why and is not tried again.
func TestClusterCalls(t *testing.T) {
	s := newSystem(t, 3)
	s.setLeader(1)
	c := dial(t, rpc.ClientConfig{Endpoints: s.endpoints()[2:], Timeout: 20 * time.Second})
	ctx := t.Context()
	st, err := c.Status(ctx, false)
	if err != nil || st.Leader != "n2" || st.NodeID != "n3" || len(st.Members) != 3 {
		t.Fatalf("%+v, %v", st, err)
	}
	want, _ := s.nodes[2].Status(ctx, false)
	if fmt.Sprint(st) != fmt.Sprint(want) {
		t.Fatalf("status\n%+v\nwant\n%+v", st, want)
	}
	if index, err := c.AddMember(ctx, "n4", "host:1"); err != nil || index != 11 {
		t.Fatalf("%d, %v", index, err)
	}
	if _, err := c.AddMember(ctx, "n4", "host:1"); !errors.Is(err, rpc.ErrRefused) || !strings.Contains(err.Error(), "member already") {
		t.Fatalf("got %v", err)
	}
	if _, err := c.AddMember(ctx, "", "host:1"); !errors.Is(err, lockcluster.ErrInvalid) {
		t.Fatalf("got %v", err)
	}
	if index, err := c.RemoveMember(ctx, "n4"); err != nil || index != 12 {
		t.Fatalf("%d, %v", index, err)
	}
	if leader, err := c.TransferLeader(ctx, "n1"); err != nil || leader != "n1" {
		t.Fatalf("%s, %v", leader, err)
	}
}

// The leader's own view is had through an endpoint that was given, where the
// address by which the nodes know it leads nowhere.
func TestLeaderStatusBehindOtherAddresses(t *testing.T) {
	s := newSystem(t, 3)
	s.setLeader(1)
	s.advertised = testutil.FreeAddr(t)
	for range 10 { // it begins anywhere
		c := dial(t, rpc.ClientConfig{Endpoints: s.endpoints(), Timeout: 20 * time.Second})
		if st, err := c.LeaderStatus(t.Context()); err != nil || st.NodeID != "n2" {
			t.Fatalf("seen by %s, %v", st.NodeID, err)
		}
	}
	c := dial(t, rpc.ClientConfig{Endpoints: s.endpoints()[:1], Timeout: 20 * time.Second})
	if st, err := c.LeaderStatus(t.Context()); err != nil || st.NodeID != "n1" || st.Leader != "n2" {
		t.Fatalf("%s leads as seen by %s, %v", st.Leader, st.NodeID, err)
	}
}

// A node that was removed and still answers does not hide what the others know,
// whether one of them leads or not.
func TestLeaderStatusBesideARemovedNode(t *testing.T) {
	s := newSystem(t, 3)
	s.nodes[2].apart = true
	for _, leader := range []int{0, -1} {
		s.setLeader(leader)
		for range 10 { // it begins anywhere
			c := dial(t, rpc.ClientConfig{Endpoints: s.endpoints()[1:], Timeout: 20 * time.Second})
			st, err := c.LeaderStatus(t.Context())
			if want := "n2"; err != nil || leader < 0 && st.NodeID != want || leader == 0 && st.NodeID != "n1" {
				t.Fatalf("leader %d: seen by %s, %v", leader, st.NodeID, err)
			}
		}
	}
}

// An endpoint where another cluster answers is told; one where nobody does is not.
func TestStrangers(t *testing.T) {
	ours, other := newSystem(t, 2), newSystem(t, 1)
	other.clusterID = "other"
	c := dial(t, rpc.ClientConfig{Endpoints: append(ours.endpoints(), other.endpoints()[0], testutil.FreeAddr(t))})
	if got := c.Strangers(t.Context(), "c"); !slices.Equal(got, other.endpoints()) {
		t.Errorf("strangers %v, want %v", got, other.endpoints())
	}
}

// A backup of several chunks goes out whole and comes back through a node that
// does not lead.
func TestSnapshot(t *testing.T) {
	s := newSystem(t, 2)
	for i := range 5_000 {
		s.decide(lockcluster.RequestID{}, lockcluster.Acquire{Key: lockKey(i), Owner: pullOwner(1)})
	}
	c := dial(t, rpc.ClientConfig{Endpoints: s.endpoints()[1:]})
	var backup, want bytes.Buffer
	if err := c.SnapshotSave(t.Context(), &backup); err != nil {
		t.Fatal(err)
	}
	if err := s.nodes[0].SnapshotSave(t.Context(), &want); err != nil || !bytes.Equal(backup.Bytes(), want.Bytes()) {
		t.Fatalf("backup of %d bytes, want %d; %v", backup.Len(), want.Len(), err)
	}
	info, err := c.SnapshotRestore(t.Context(), bytes.NewReader(backup.Bytes()))
	if err != nil || info.Index != uint64(backup.Len()) || info.Epoch != 2 {
		t.Fatalf("%+v, %v", info, err)
	}
	if _, err := c.SnapshotRestore(t.Context(), bytes.NewReader(nil)); !errors.Is(err, lockcluster.ErrInvalid) {
		t.Fatalf("got %v", err)
	}
}

// Bad input is refused before anything is sent, with an error that says what to do.
func TestClientBadInput(t *testing.T) {
	if _, err := rpc.Dial(t.Context(), rpc.ClientConfig{}); !errors.Is(err, lockcluster.ErrInvalid) {
		t.Fatalf("got %v", err)
	}
	if _, err := rpc.Dial(t.Context(), rpc.ClientConfig{Endpoints: []string{"localhost"}}); !errors.Is(err, lockcluster.ErrInvalid) {
		t.Fatalf("got %v", err)
	}
	s := newSystem(t, 1)
	c := dial(t, rpc.ClientConfig{Endpoints: s.endpoints(), Timeout: 20 * time.Second})
	for name, req := range map[string]lockcluster.Request{
		"no key":          lockcluster.Acquire{Owner: pullOwner(1)},
		"not for clients": lockcluster.BumpEpoch{},
		"not UTF-8":       lockcluster.PutDocument{Namespace: "default", Key: "\xff", Value: []byte("{}")},
		"other namespace": lockcluster.Txn{Namespace: "default", Requests: []lockcluster.Request{lockcluster.SetTTL{Namespace: "db1", Key: "k"}}},
	} {
		if _, err := c.Do(t.Context(), lockcluster.RequestID{}, req); !errors.Is(err, lockcluster.ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	big := make([]byte, rpc.MessageSizeMax)
	for i := range 2 { // an import may be larger than a message
		_, err := c.Do(t.Context(), lockcluster.RequestID{}, lockcluster.Import{Namespace: "default", Documents: []lockcluster.PutDocument{
			{Namespace: "default", Key: "a", Value: big[:lockcluster.ValueSizeMax]}, {Namespace: "default", Key: "b", Value: big[:lockcluster.ValueSizeMax]},
		}})
		if !errors.Is(err, lockcluster.ErrInvalid) {
			t.Errorf("try %d: got %v", i, err)
		}
	}
	if len(s.decided) != 0 {
		t.Fatalf("%d requests reached the rules", len(s.decided))
	}
}

// A closed client says so.
func TestClientClosed(t *testing.T) {
	s := newSystem(t, 1)
	c, err := rpc.Dial(t.Context(), rpc.ClientConfig{Endpoints: s.endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.GetLock(t.Context(), "default", "a/b/./d/"); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do(t.Context(), lockcluster.RequestID{}, lockcluster.Acquire{Key: lockKey(1), Owner: pullOwner(1)}); !errors.Is(err, lockcluster.ErrClosed) {
		t.Fatalf("got %v", err)
	}
}
