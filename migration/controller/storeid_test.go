package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	bolt "go.etcd.io/bbolt"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// redisSite is a site whose nodes share a real Redis that keeps its data in dir.
type redisSite struct {
	*site
	port   int
	dir    string
	server *exec.Cmd
	raw    *redis.Client
}

func newRedisSite(t *testing.T, mode lockcluster.Mode) *redisSite {
	t.Helper()
	s := &redisSite{port: testutil.FreePort(t), dir: t.TempDir()}
	s.startRedis(t, s.dir)
	t.Cleanup(func() { s.killRedis() })
	s.raw = redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + strconv.Itoa(s.port), MaxRetries: -1})
	t.Cleanup(func() { _ = s.raw.Close() })
	at := atRedis(s.port)
	s.site = newSite(t, map[string]func(*Config){"n1": at, "n2": at, "n3": at})
	s.inMode(lockcluster.ModeLegacy)
	if mode != lockcluster.ModeLegacy {
		s.mustMode(mode, nil)
	}
	return s
}

// atRedis configures a node with the Redis of a port.
func atRedis(port int) func(*Config) {
	return func(cfg *Config) {
		cfg.Attached = &Attached{Kind: KindRedis, Namespace: lockcluster.DefaultNamespace, Open: func(ctx context.Context) (backends.Backend, error) {
			return backends.Open(ctx, backends.Options{Backend: KindRedis, URL: "redis://127.0.0.1:" + strconv.Itoa(port), Timeout: time.Second})
		}}
	}
}

func (s *redisSite) startRedis(t *testing.T, dir string) {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("SKIPPED: no redis-server on this machine; make test installs it (apt-get install redis-server)")
	}
	s.server = exec.Command(path, "--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--logfile", "redis.log")
	if err := s.server.Start(); err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + strconv.Itoa(s.port), MaxRetries: -1})
	defer c.Close()
	testutil.WaitFor(t, 10*time.Second, func() error { return c.Ping(t.Context()).Err() })
}

func (s *redisSite) killRedis() {
	_ = s.server.Process.Kill()
	_ = s.server.Wait()
}

func (s *redisSite) flush() {
	s.t.Helper()
	if err := s.raw.FlushAll(s.t.Context()).Err(); err != nil {
		s.t.Fatal(err)
	}
}

// wantRefusal has every node refuse what the legacy system would decide or
// answer, with a text that says what to do, and the status show it.
func (s *site) wantRefusal() {
	s.t.Helper()
	m := s.ctl(s.Leader()).Migration()
	for _, id := range s.Running() {
		if got := s.try(id, acquire("acme/app", 8)); !strings.Contains(got, "refused") || !strings.Contains(got, "--authority") {
			s.t.Errorf("a request through %s: %s", id, got)
		}
		app := acquire("acme/app", 7).Key
		err := s.ctl(id).Read(s.t.Context(), func(r state.Reader, _ uint64) { state.GetLock(r, app.Namespace, app.Text()) })
		_, viewErr := s.ctl(id).View(s.t.Context())
		if legacyReads(&m) && (!errors.Is(err, ErrRefused) || !errors.Is(viewErr, ErrRefused)) {
			s.t.Errorf("a read and a view through %s: %v, %v", id, err, viewErr)
		}
	}
	st := s.status()
	if !st.Legacy.Refused || st.Legacy.Reachable || st.Ready || !strings.Contains(st.Legacy.Problem, "--authority") {
		s.t.Errorf("the status says %+v, ready %t", st.Legacy, st.Ready)
	}
}

func (s *site) status() Status {
	s.t.Helper()
	st, err := s.ctl("n1").Status(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

// stillHeld waits until the leader decides, and wants the lock of pull 7 held.
func (s *site) stillHeld() {
	s.t.Helper()
	s.leader()
	s.want("n2", acquire("acme/app", 8), lockcluster.StatusHeld)
	s.want("n3", acquire("acme/app", 7), lockcluster.StatusAlreadyHeld)
}

// handOver has another node lead, whether it decides or not.
func (s *site) handOver() {
	s.t.Helper()
	was, to := s.Leader(), "n1"
	if was == to {
		to = "n2"
	}
	s.Eventually(to+" leads", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = s.Node(s.Leader()).TransferLeader(ctx, to) // seen below
		return s.Leader() == to && s.ctl(to).currentTerm() != nil
	})
}

func (s *site) accept(mode lockcluster.Mode, change func(*lockcluster.ModeRequest)) (lockcluster.ModeResult, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req := lockcluster.ModeRequest{Mode: mode.String()}
	change(&req)
	return s.ctl("n3").SetMode(ctx, req)
}

// withMirror are the modes in which the legacy system decides and the cluster
// has a copy.
var withMirror = []lockcluster.Mode{lockcluster.ModeShadow, lockcluster.ModeGradual, lockcluster.ModeBlueGreen}

// mirrored waits until the enhanced system has a lock.
func (s *site) mirrored(repo string) {
	s.t.Helper()
	req := acquire(repo, 7)
	s.Eventually("the mirror has the lock", func() (there bool) {
		s.Node(s.Leader()).StaleRead(func(r state.Reader, _ uint64) { there = state.GetLock(r, req.Key.Namespace, req.Key.Text()) != nil })
		return there
	})
}

// A Redis that is emptied under a sitting leader, and after that another leader:
// nobody is granted a lock that another holds, and the cluster's copy is not
// emptied either. The copy, written into the Redis by a person's word, is what
// counts then.
func TestEmptiedRedisIsRestored(t *testing.T) {
	for _, mode := range withMirror {
		t.Run(mode.String(), func(t *testing.T) {
			s := newRedisSite(t, mode)
			s.want("n1", acquire("acme/app", 7), lockcluster.StatusGranted)
			s.mirrored("acme/app")
			s.flush()
			s.wantRefusal()
			s.handOver()
			s.wantRefusal()
			s.mirrored("acme/app") // still
			res, err := s.accept(mode, func(r *lockcluster.ModeRequest) { r.Authority = "enhanced" })
			if err != nil || len(res.Notes) != 1 || res.Lost != 0 || res.Differences != 1 {
				t.Fatalf("%+v, %v", res, err)
			}
			s.stillHeld()
			if n := s.raw.Exists(t.Context(), "pr/"+acquire("acme/app", 7).Key.Text()).Val(); n != 1 {
				t.Error("the lock is not in the Redis")
			}
			s.handOver()
			s.stillHeld()
		})
	}
}

// A Redis that was emptied in mode legacy, where the cluster has no copy, is
// taken as it is only by a person's word, said twice.
func TestEmptiedRedisIsAcceptedAsItIs(t *testing.T) {
	s := newRedisSite(t, lockcluster.ModeLegacy)
	s.want("n1", acquire("acme/app", 7), lockcluster.StatusGranted)
	s.flush()
	s.wantRefusal()
	s.handOver()
	s.wantRefusal()
	if _, err := s.switchTo(lockcluster.SystemEnhanced); !errors.Is(err, ErrRefused) {
		t.Errorf("a switch without the store: %v", err)
	}
	for name, change := range map[string]func(*lockcluster.ModeRequest){
		"no copy":    func(r *lockcluster.ModeRequest) { r.Authority, r.Force = "enhanced", true },
		"not forced": func(r *lockcluster.ModeRequest) { r.Authority = "legacy" },
	} {
		if _, err := s.accept(lockcluster.ModeLegacy, change); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	res, err := s.accept(lockcluster.ModeLegacy, func(r *lockcluster.ModeRequest) { r.Authority, r.DryRun = "legacy", true })
	if err != nil || len(res.Notes) != 1 || !strings.Contains(res.Notes[0], "0 records") {
		t.Errorf("dry run: %+v, %v", res, err)
	}
	s.wantRefusal()
	if _, err := s.accept(lockcluster.ModeLegacy, func(r *lockcluster.ModeRequest) { r.Authority, r.Force = "legacy", true }); err != nil {
		t.Fatal(err)
	}
	s.leader()
	s.want("n2", acquire("acme/app", 8), lockcluster.StatusGranted)
	s.want("n3", acquire("acme/app", 7), lockcluster.StatusHeld)
}

// What is there is taken as it is, although the cluster has more, only by who
// says that the rest may be lost. In mode gradual what the enhanced system
// decides about is not lost by that.
func TestAcceptedAsItIs(t *testing.T) {
	for _, mode := range withMirror {
		t.Run(mode.String(), func(t *testing.T) {
			s := newRedisSite(t, mode)
			s.want("n1", acquire("acme/app", 7), lockcluster.StatusGranted)
			s.mirrored("acme/app")
			if mode == lockcluster.ModeGradual {
				all := uint32(100)
				s.mustMode(mode, func(r *lockcluster.ModeRequest) { r.Percentage = &all })
				s.want("n1", acquire("acme/enhanced", 7), lockcluster.StatusGranted)
			}
			s.flush()
			found := acquire("acme/found", 7) // an Atlantis of its own writes to what is there
			value := compat.NewLockValue(lockcluster.Lock{Key: found.Key, Owner: found.Owner, User: "u", AcquiredAt: time.Now()})
			if err := s.raw.Set(t.Context(), "pr/"+found.Key.Text(), value, 0).Err(); err != nil {
				t.Fatal(err)
			}
			_, _ = s.ctl(s.Leader()).View(t.Context()) // so that it is noticed
			res, err := s.accept(mode, func(r *lockcluster.ModeRequest) { r.Authority = "legacy" })
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "1 that only the cluster's copy has") {
				t.Fatalf("not forced: %+v, %v", res, err)
			}
			if _, err = s.accept(mode, func(r *lockcluster.ModeRequest) { r.Authority, r.Force = "legacy", true }); err != nil {
				t.Fatal(err)
			}
			s.leader()
			s.want("n2", acquire("acme/found", 8), lockcluster.StatusHeld)
			s.want("n2", acquire("acme/app", 8), lockcluster.StatusGranted)
			if mode == lockcluster.ModeGradual {
				s.want("n3", acquire("acme/enhanced", 8), lockcluster.StatusHeld)
			}
		})
	}
}

// A Redis that comes back empty, as after a failover to an instance that had
// nothing, is refused; the right one that comes back is taken by itself, with
// every lock.
func TestRightRedisComesBack(t *testing.T) {
	for _, mode := range append(withMirror, lockcluster.ModeLegacy) {
		t.Run(mode.String(), func(t *testing.T) {
			s := newRedisSite(t, mode)
			s.want("n1", acquire("acme/app", 7), lockcluster.StatusGranted)
			s.killRedis()
			s.startRedis(t, t.TempDir())
			s.wantRefusal()
			s.killRedis()
			s.startRedis(t, s.dir)
			s.stillHeld()
			if st := s.status(); st.Legacy.Refused || st.Legacy.Problem != "" {
				t.Errorf("the status says %+v", st.Legacy)
			}
		})
	}
}

// A node that is told another URL neither decides as leader nor answers reads
// from there; under the others everything goes on.
func TestOtherRedisURL(t *testing.T) {
	s := newRedisSite(t, lockcluster.ModeLegacy)
	other := &redisSite{port: testutil.FreePort(t)}
	other.startRedis(t, t.TempDir())
	defer other.killRedis()
	s.lead("n1")
	s.want("n1", acquire("acme/app", 7), lockcluster.StatusGranted)
	s.restart("n2", atRedis(other.port))
	s.Eventually("n2 refuses reads", func() bool {
		_, err := s.ctl("n2").View(t.Context())
		return errors.Is(err, ErrRefused)
	})
	s.want("n2", acquire("acme/app", 8), lockcluster.StatusHeld) // n1 leads
	s.lead("n3")
	s.handOver() // to n1
	s.Eventually("n2 leads", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.Node(s.Leader()).TransferLeader(ctx, "n2") // seen below
		return s.Leader() == "n2" && s.ctl("n2").currentTerm() != nil && strings.Contains(s.try("n2", acquire("acme/app", 8)), "refused")
	})
	s.lead("n3")
	s.want("n3", acquire("acme/app", 8), lockcluster.StatusHeld)
}

// Another path, and a file that was put in the place of the right one, are
// refused; the right one is taken by itself again.
func TestOtherFile(t *testing.T) {
	for _, mode := range append(withMirror, lockcluster.ModeLegacy) {
		t.Run(mode.String(), func(t *testing.T) {
			s := newSite(t, nil)
			s.inMode(lockcluster.ModeLegacy)
			if mode != lockcluster.ModeLegacy {
				s.mustMode(mode, nil)
			}
			s.want("n2", acquire("acme/app", 7), lockcluster.StatusGranted)
			if mode != lockcluster.ModeLegacy {
				s.mirrored("acme/app")
			}
			other := filepath.Join(t.TempDir(), "other.db")
			s.restart("n1", func(cfg *Config) { cfg.Attached = s.bolt(other) })
			s.Eventually("it is refused", func() bool { return s.status().Legacy.Refused })
			s.wantRefusal()
			s.restart("n1", nil)
			s.stillHeld()
			// Under the node that has it open.
			aside := s.file + ".aside"
			if err := errors.Join(os.Rename(s.file, aside), os.Rename(other, s.file)); err != nil {
				t.Fatal(err)
			}
			s.Eventually("it is refused", func() bool {
				s.try("n2", acquire("acme/other", 8)) // a write: what was read is still true
				return s.status().Legacy.Refused
			})
			s.wantRefusal()
			if err := errors.Join(os.Rename(s.file, other), os.Rename(aside, s.file)); err != nil {
				t.Fatal(err)
			}
			s.stillHeld()
		})
	}
}

// A file that was put in the place of the mirror is accepted by the first command
// that asks for it, also if nothing was written since, so that nobody has
// noticed yet.
func TestOtherFileIsAcceptedAtOnce(t *testing.T) {
	s := newSite(t, nil)
	s.inMode(lockcluster.ModeLegacy)
	s.mustMode(lockcluster.ModeBlueGreen, nil)
	s.want("n2", acquire("acme/app", 7), lockcluster.StatusGranted)
	s.mustSwitch(lockcluster.SystemEnhanced)
	if err := os.Rename(s.file, s.file+".aside"); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(s.file, 0o600, nil)
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.accept(lockcluster.ModeBlueGreen, func(r *lockcluster.ModeRequest) { r.Authority = "enhanced" }); err != nil {
		t.Fatal(err)
	}
	s.Eventually("the way back is open", func() bool {
		_, err := s.switchTo(lockcluster.SystemLegacy)
		return err == nil
	})
	s.stillHeld()
}

// Two clusters on one store: the second does not take it from the first, and
// leaves it as it is. By a person's word it does, and then the first is refused.
func TestTwoClustersOnOneStore(t *testing.T) {
	first := newRedisSite(t, lockcluster.ModeBlueGreen)
	first.want("n1", acquire("acme/app", 7), lockcluster.StatusGranted)
	fence := first.raw.Get(t.Context(), "lockcluster:fence").Val()
	at := atRedis(first.port)
	second := newSite(t, map[string]func(*Config){"n1": at, "n2": at, "n3": at})
	second.Eventually("it is refused", func() bool { return second.status().Legacy.Refused })
	second.wantRefusal()
	if now := first.raw.Get(t.Context(), "lockcluster:fence").Val(); strings.Fields(now)[0] != strings.Fields(fence)[0] {
		t.Errorf("the fence was %s, and is %s", fence, now)
	}
	first.stillHeld()
	if _, err := second.accept(lockcluster.ModeLegacy, func(r *lockcluster.ModeRequest) { r.Authority, r.Force = "legacy", true }); err != nil {
		t.Fatal(err)
	}
	second.stillHeld()
	first.wantRefusal()
	first.handOver()
	first.wantRefusal()
	second.stillHeld()
}

// A store that was attached before there were ids gets one at the next
// take-over; not one that another cluster has attached meanwhile.
func TestUpgradeGivesAnID(t *testing.T) {
	s := newRedisSite(t, lockcluster.ModeBlueGreen)
	s.want("n1", acquire("acme/app", 7), lockcluster.StatusGranted)
	s.mirrored("acme/app")
	forget := func(inStore string) {
		t.Helper()
		old := lockcluster.SetConfig{Settings: []lockcluster.Setting{{Name: settingStoreClaim}, {Name: settingStoreID}}}
		if _, err := s.Node(s.Leader()).Do(t.Context(), lockcluster.RequestID{}, old); err != nil {
			t.Fatal(err)
		}
		err := s.raw.HDel(t.Context(), "lockcluster:side", "id").Err()
		if inStore != "" {
			err = s.raw.HSet(t.Context(), "lockcluster:side", "id", inStore).Err()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	forget("")
	s.handOver()
	s.stillHeld()
	id := s.status().Legacy.ID
	if got := s.raw.HGet(t.Context(), "lockcluster:side", "id").Val(); got != id || len(id) != 32 {
		t.Errorf("the store has the id %q, the cluster %q", got, id)
	}
	forget(backends.NewStoreID())
	s.handOver()
	s.Eventually("it is refused", func() bool { return s.status().Legacy.Refused })
	s.raw.Del(t.Context(), "pr/"+acquire("acme/app", 7).Key.Text()) // the other one's doing, not for our copy
	s.wantRefusal()
	time.Sleep(3 * followPause) // that the copy would need
	s.mirrored("acme/app")
}

// A leader that dies while it writes the cluster's copy into the store leaves
// that to the next one: what was written so far is not taken for all there is.
func TestHalfRestoredStore(t *testing.T) {
	s := newRedisSite(t, lockcluster.ModeBlueGreen)
	for _, repo := range []string{"acme/app", "acme/other"} {
		s.want("n1", acquire(repo, 7), lockcluster.StatusGranted)
		s.mirrored(repo)
	}
	s.flush()
	s.wantRefusal()
	// As it is after the store has its id and the first record.
	claim, _ := json.Marshal(storeClaim{Claim: backends.Claim{ID: backends.NewStoreID(), Over: []string{backends.NoStore}}, Restore: true})
	var dying atomic.Bool
	dying.Store(true)
	s.setHooks(func(_ string, req lockcluster.Request, next func() (lockcluster.Result, error)) (lockcluster.Result, error) {
		if r, ok := req.(lockcluster.SetConfig); ok && dying.Load() {
			for _, set := range r.Settings {
				if set.Name == settingStoreID && set.Value != noStoreID {
					return lockcluster.Result{}, errors.New("the leader is dying")
				}
			}
		}
		return next()
	}, nil, nil)
	if _, err := s.Node(s.Leader()).Do(t.Context(), lockcluster.RequestID{}, lockcluster.SetConfig{Settings: []lockcluster.Setting{{Name: settingStoreClaim, Value: string(claim)}}}); err != nil {
		t.Fatal(err)
	}
	s.Eventually("the copy is in the store", func() bool {
		return s.raw.Exists(t.Context(), "pr/"+acquire("acme/other", 7).Key.Text(), "pr/"+acquire("acme/app", 7).Key.Text()).Val() == 2
	})
	s.raw.Del(t.Context(), "pr/"+acquire("acme/other", 7).Key.Text())
	s.wantRefusal()
	s.handOver()
	dying.Store(false)
	s.stillHeld()
	s.want("n1", acquire("acme/other", 8), lockcluster.StatusHeld)
}

// While the enhanced system decides, a store that was emptied is only a mirror
// that is refused: locks go on, and the copy is written anew by a person's word.
func TestEmptiedMirror(t *testing.T) {
	s := newRedisSite(t, lockcluster.ModeBlueGreen)
	s.want("n1", acquire("acme/app", 7), lockcluster.StatusGranted)
	s.mustSwitch(lockcluster.SystemEnhanced)
	s.flush()
	s.want("n2", acquire("acme/other", 7), lockcluster.StatusGranted)
	s.Eventually("the status shows it", func() bool { return s.status().Legacy.Refused })
	if _, err := s.switchTo(lockcluster.SystemLegacy); !errors.Is(err, ErrRefused) {
		t.Errorf("a switch to an emptied store: %v", err)
	}
	if _, err := s.accept(lockcluster.ModeBlueGreen, func(r *lockcluster.ModeRequest) { r.Authority, r.Force = "legacy", true }); !errors.Is(err, ErrRefused) {
		t.Errorf("an emptied mirror instead of what decides: %v", err)
	}
	if _, err := s.accept(lockcluster.ModeBlueGreen, func(r *lockcluster.ModeRequest) { r.Authority = "enhanced" }); err != nil {
		t.Fatal(err)
	}
	s.Eventually("the way back is open", func() bool {
		_, err := s.switchTo(lockcluster.SystemLegacy)
		return err == nil
	})
	s.stillHeld()
}

// Without its store the cluster goes on with its copy, if a person says so.
func TestForcedSwitchFromAnEmptiedStore(t *testing.T) {
	s := newRedisSite(t, lockcluster.ModeBlueGreen)
	s.want("n1", acquire("acme/app", 7), lockcluster.StatusGranted)
	s.mirrored("acme/app")
	s.flush()
	s.wantRefusal()
	if _, err := s.switchTo(lockcluster.SystemEnhanced); !errors.Is(err, ErrRefused) {
		t.Errorf("not forced: %v", err)
	}
	if _, err := s.ctl("n2").Switch(t.Context(), lockcluster.SwitchRequest{To: "enhanced", Force: true, Timeout: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	s.want("n2", acquire("acme/app", 8), lockcluster.StatusHeld)
}

// A store that was let go is attached again without a question; one that another
// cluster has attached is not.
func TestAttachAgain(t *testing.T) {
	s := newRedisSite(t, lockcluster.ModeLegacy)
	s.want("n1", acquire("acme/app", 7), lockcluster.StatusGranted)
	id := s.status().Legacy.ID
	detach := func() {
		s.mustSwitch(lockcluster.SystemEnhanced)
		s.mustMode(lockcluster.ModeEnhanced, nil)
	}
	detach()
	s.mustMode(lockcluster.ModeBlueGreen, func(r *lockcluster.ModeRequest) { r.Authority = "enhanced" })
	s.mustSwitch(lockcluster.SystemLegacy)
	s.stillHeld()
	if got := s.status().Legacy.ID; got != id {
		t.Errorf("the id was %s, and is %s", id, got)
	}
	detach()
	if err := s.raw.HSet(t.Context(), "lockcluster:side", "id", backends.NewStoreID()).Err(); err != nil {
		t.Fatal(err)
	}
	attach := func(force bool) error {
		_, err := s.accept(lockcluster.ModeBlueGreen, func(r *lockcluster.ModeRequest) { r.Authority, r.Force = "enhanced", force })
		return err
	}
	if err := attach(false); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "another cluster") {
		t.Errorf("not forced: %v", err)
	}
	if err := attach(true); err != nil {
		t.Fatal(err)
	}
	s.mustSwitch(lockcluster.SystemLegacy)
	s.stillHeld()
}

// A restored backup leaves the cluster with the store that it has.
func TestRestoreKeepsTheStore(t *testing.T) {
	s := newRedisSite(t, lockcluster.ModeLegacy)
	s.want("n1", acquire("acme/app", 7), lockcluster.StatusGranted)
	var backup bytes.Buffer
	if _, err := s.Node("n1").SaveSnapshot(t.Context(), &backup); err != nil {
		t.Fatal(err)
	}
	s.flush()
	s.wantRefusal()
	if _, err := s.accept(lockcluster.ModeLegacy, func(r *lockcluster.ModeRequest) { r.Authority, r.Force = "legacy", true }); err != nil {
		t.Fatal(err)
	}
	s.leader()
	id := s.status().Legacy.ID
	if _, err := s.Node(s.Leader()).RestoreSnapshot(t.Context(), &backup); err != nil {
		t.Fatal(err)
	}
	s.leader()
	s.want("n2", acquire("acme/app", 8), lockcluster.StatusGranted)
	if got := s.status().Legacy.ID; got != id {
		t.Errorf("the id was %s, and is %s", id, got)
	}
}
