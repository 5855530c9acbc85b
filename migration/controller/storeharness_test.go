package controller

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// begin brings a new site, which is in mode legacy, into a mode.
func (s *site) begin(mode lockcluster.Mode) {
	s.t.Helper()
	s.inMode(lockcluster.ModeLegacy)
	if mode != lockcluster.ModeLegacy {
		s.mustMode(mode, nil)
	}
}

// hold has pull 7 hold the lock of acme/app, in both systems where there are two.
func (s *site) hold(mode lockcluster.Mode) {
	s.t.Helper()
	s.want("n2", acquire("acme/app", 7), lockcluster.StatusGranted)
	if mode != lockcluster.ModeLegacy {
		s.mirrored("acme/app")
	}
}

// mirrored waits until the enhanced system has a lock.
func (s *site) mirrored(repo string) {
	s.t.Helper()
	req := acquire(repo, 7)
	s.Eventually("the mirror has the lock", func() (there bool) {
		s.Node(s.Leader()).StaleRead(func(r state.Reader, _ uint64) { there = state.GetLock(r, req.Key.Namespace, req.Key.Text()) != nil })
		return there
	})
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

func (s *site) status() Status {
	s.t.Helper()
	st, err := s.ctl("n1").Status(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return st
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

func (s *site) accept(mode lockcluster.Mode, change func(*lockcluster.ModeRequest)) (lockcluster.ModeResult, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req := lockcluster.ModeRequest{Mode: mode.String()}
	change(&req)
	return s.ctl("n3").SetMode(ctx, req)
}

// word is a person's word for whose records count.
func word(authority string, force bool) func(*lockcluster.ModeRequest) {
	return func(r *lockcluster.ModeRequest) { r.Authority, r.Force = authority, force }
}

// withMirror are the modes in which the legacy system decides and the cluster
// has a copy.
var withMirror = []lockcluster.Mode{lockcluster.ModeShadow, lockcluster.ModeGradual, lockcluster.ModeBlueGreen}
