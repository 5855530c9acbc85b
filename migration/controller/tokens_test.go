package controller

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// tokens checks that each grant of a key has a greater token than the one before.
type tokens map[string]lockcluster.Token

func (k tokens) granted(s *site, node string, req lockcluster.Request) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	res, err := s.ctl(node).Do(ctx, lockcluster.RequestID{}, req)
	if err != nil {
		s.t.Fatalf("%T through %s: %v", req, node, err)
	}
	k.note(s, req, &res)
}

func (k tokens) note(s *site, req lockcluster.Request, res *lockcluster.Result) {
	s.t.Helper()
	if txn, ok := req.(lockcluster.Txn); ok && res.Status == lockcluster.StatusApplied {
		for i, inner := range txn.Requests {
			k.note(s, inner, &res.Results[i])
		}
	}
	if res.Status != lockcluster.StatusGranted {
		return
	}
	key := ""
	switch r := req.(type) {
	case lockcluster.Acquire:
		key = r.Key.Text()
	case lockcluster.LockCommand:
		key = r.Name
	}
	m := s.ctl(s.Leader()).Migration()
	if last := k[key]; !last.Less(res.Token) {
		s.t.Fatalf("%s: token %s after %s (%s, %d %%, active %s)", key, res.Token, last, m.Mode, m.Percentage, m.Active)
	}
	k[key] = res.Token
}

func (s *site) gradually(percentage uint32, canary ...lockcluster.CanaryRule) {
	s.t.Helper()
	s.mustMode(lockcluster.ModeGradual, func(r *lockcluster.ModeRequest) { r.Percentage, r.Canary = &percentage, canary })
}

// In mode gradual the tokens of a key rise when its home changes while it is
// free, both ways, though each system has counted its own grants.
func TestTokensRiseWhenTheHomeChanges(t *testing.T) {
	s := newSite(t, nil)
	s.inMode(lockcluster.ModeLegacy)
	s.lead("n1")
	k := tokens{}
	staging := acquire("acme/app", 1)
	staging.Key.Workspace = "staging"
	s.gradually(0, lockcluster.CanaryRule{UserGroup: "platform"})
	mine, theirs := staging, staging
	mine.Value = valueOf(staging, "platform")
	theirs.Value = valueOf(staging, "others")
	free := lockcluster.Release{Namespace: lockcluster.DefaultNamespace, Text: staging.Key.Text()}
	// The copies into the legacy store come to a halt: they do not tell it.
	halted, on := make(chan struct{}), make(chan struct{})
	s.setHooks(nil, nil, func(req lockcluster.Request, next func() (lockcluster.Result, error)) (lockcluster.Result, error) {
		if r, ok := req.(lockcluster.Mirror); ok && len(r.Locks) > 0 && r.Locks[0].Key.Repo == "acme/other" {
			close(halted)
			<-on
		}
		return next()
	})
	other := acquire("acme/other", 1)
	other.Value = valueOf(other, "platform")
	k.granted(s, "n1", other)
	<-halted
	for range 3 { // the enhanced system is ahead
		k.granted(s, "n2", mine)
		s.want("n1", free, lockcluster.StatusReleased)
	}
	for range 5 { // the legacy system goes on, and is ahead then
		k.granted(s, "n2", theirs)
		s.want("n1", free, lockcluster.StatusReleased)
	}
	k.granted(s, "n3", mine)
	s.want("n1", free, lockcluster.StatusReleased)
	close(on)
	// Within one transaction a lock comes and goes, and leaves no record to copy.
	k.granted(s, "n1", lockcluster.Txn{Namespace: lockcluster.DefaultNamespace, Requests: []lockcluster.Request{theirs, free, theirs, free}})
	k.granted(s, "n3", mine)
}

// valueOf is what an Atlantis stores for a lock of a user of a group.
func valueOf(a lockcluster.Acquire, group string) []byte {
	return fmt.Appendf(nil, `{"Project":{"ProjectName":"","RepoFullName":%q,"Path":%q},"Pull":{"Num":%d,"BaseRepo":{"FullName":%q}},`+
		`"User":{"Username":"u","Teams":[%q]},"Workspace":%q,"Time":"2026-01-02T15:04:05Z"}`,
		a.Key.Repo, a.Key.Path, a.Owner.Pull, a.Key.Repo, group, a.Key.Workspace)
}

// A legacy store in which another cluster has given out tokens of a later epoch
// takes this cluster there.
func TestTokensRiseOverAStoreOfALaterEpoch(t *testing.T) {
	file, k := filepath.Join(t.TempDir(), "used.db"), tokens{}
	useBefore(t, file, k)
	s := newSite(t, map[string]func(*Config){"n1": usedFile(file)})
	s.inMode(lockcluster.ModeLegacy)
	s.mustSwitch(lockcluster.SystemEnhanced)
	k.granted(s, "n2", acquire("acme/app0", 2))
}

func usedFile(file string) func(*Config) {
	return func(cfg *Config) {
		cfg.Attached.Open = func(ctx context.Context) (backends.Backend, error) {
			return backends.Open(ctx, backends.Options{Backend: KindBoltDB, Path: file, Create: true})
		}
	}
}

// The tokens of a key rise for ever: over grants and releases through any node,
// in any mode, over switches, shares and elections, and over a legacy store in
// which another cluster has given out tokens of a far later epoch.
func TestTokensRiseOnEveryRoad(t *testing.T) {
	r := testutil.Rand(t)
	file := filepath.Join(t.TempDir(), "used.db")
	k := tokens{}
	if r.IntN(2) == 0 {
		useBefore(t, file, k)
	}
	s := newSite(t, map[string]func(*Config){"n1": usedFile(file)})
	s.inMode(lockcluster.ModeLegacy)
	steps := 40
	if testing.Short() {
		steps = 10
	}
	for range steps {
		s.walk(r)
		for range 12 {
			s.grantOrFree(r, k)
		}
	}
	if len(k) < 4 {
		t.Errorf("only %d keys were granted", len(k))
	}
}

// useBefore has another cluster grant and free a lock in a file.
func useBefore(t *testing.T, file string, k tokens) {
	b, err := backends.Open(t.Context(), backends.Options{Backend: KindBoltDB, Path: file, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	a := acquire("acme/app0", 1)
	fence := backends.Fence{Term: 7, Epoch: 1000}
	res, err := b.Do(t.Context(), fence, time.Now(), a)
	if err == nil {
		_, err = b.Do(t.Context(), fence, time.Now(), release("acme/app0", 1))
	}
	if err != nil || res.Status != lockcluster.StatusGranted {
		t.Fatalf("%s %v", res.Status, err)
	}
	k[a.Key.Text()] = res.Token
}

// walk goes one step on the road, or stays where it cannot go.
func (s *site) walk(r *rand.Rand) {
	_, c := s.leader()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	percentage := []uint32{0, 30, 60, 100}[r.IntN(4)]
	req := lockcluster.ModeRequest{Force: true, Percentage: &percentage}
	var err error
	switch r.IntN(8) {
	case 0:
		req.Mode = "legacy"
	case 1:
		req.Mode = "shadow"
	case 2:
		req.Mode = "blue-green"
	case 3:
		_, err = c.Switch(ctx, lockcluster.SwitchRequest{To: "enhanced", Force: r.IntN(2) == 0})
	case 4:
		_, err = c.Switch(ctx, lockcluster.SwitchRequest{To: "legacy"})
	case 5:
		s.lead([]string{"n1", "n2", "n3"}[r.IntN(3)])
	default:
		req.Mode = "gradual"
		if r.IntN(2) == 0 {
			req.Canary = []lockcluster.CanaryRule{{UserGroup: "platform"}}
		}
	}
	if req.Mode != "" {
		_, err = c.SetMode(ctx, req)
	}
	s.t.Logf("%s, %v: %v", req.Mode, percentage, err)
}

func (s *site) grantOrFree(r *rand.Rand, k tokens) {
	node := []string{"n1", "n2", "n3"}[r.IntN(3)]
	a := acquire(fmt.Sprintf("acme/app%d", r.IntN(4)), 1+r.IntN(3))
	a.Value = valueOf(a, []string{"platform", "others"}[r.IntN(2)])
	free := lockcluster.Release{Namespace: a.Key.Namespace, Text: a.Key.Text()}
	switch r.IntN(6) {
	case 0, 1:
		k.granted(s, node, a)
	case 2, 3:
		k.granted(s, node, free)
	case 4:
		k.granted(s, node, lockcluster.Txn{Namespace: a.Key.Namespace, Requests: []lockcluster.Request{free, a, free, a}})
	default:
		k.granted(s, node, lockcluster.ReleaseByPull{Namespace: a.Key.Namespace, Repo: a.Key.Repo, Pull: a.Owner.Pull})
	}
}
