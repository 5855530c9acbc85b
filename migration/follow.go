package migration

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// followReport is the time between two calls of [Follower.Progress].
	followReport = 10 * time.Second
	// followRest is the part of a round's time that follows as a pause, so that
	// a source that changes without end does not take a whole processor.
	followRest = 4
	// followRetryMax bounds the pause after a round that failed.
	followRetryMax = 2 * time.Second
	// followPendingMax bounds how many changes are kept to tell their lag.
	followPendingMax = 1 << 16
)

// FollowSource is a legacy system that is read again and again.
type FollowSource interface {
	// Version returns a text that differs whenever the content does. It runs
	// beside Read.
	Version(ctx context.Context) (string, error)
	// Read returns the content at one moment and its version.
	Read(ctx context.Context) (src *Source, version string, err error)
	// Interval is the pause between two calls of Version.
	Interval() time.Duration
}

// Follower keeps something equal to a legacy system that others write to: the
// mirror of a running Atlantis. It never writes to the source.
type Follower struct {
	Source FollowSource
	// Apply makes the target equal to the plan, which differs from the plan of
	// the last call that succeeded by the diff; the first one adds everything.
	// After an error it is called again with what is true then. It may be called
	// with an old plan's records removed twice, so it must be idempotent.
	Apply func(ctx context.Context, plan *Plan, diff Diff) error
	PlanOptions
	// Interval is the pause between two looks at the source; zero: what the
	// source says.
	Interval time.Duration
	// Progress is told how it goes, every 10 s and on a goroutine of its own;
	// may be nil.
	Progress func(FollowStats)
	// Started is told once, when everything that the source holds is applied; may
	// be nil.
	Started func(FollowStats)
	// Before is called once, with what the source holds first, before anything is
	// applied; its error ends Run. May be nil.
	Before func(ctx context.Context, src *Source, plan *Plan) error
	// WaitMax is how long the source may not be readable, at the start or later,
	// until Run gives up with [ErrGivenUp]; 0: for ever.
	WaitMax time.Duration
	// Waiting is told for how long the source could not be read so far, and why: after
	// 5 s, and then at twice the time each but at least every minute. It is told 0
	// when that is over. May be nil; it is called on a goroutine of its own.
	Waiting func(d time.Duration, why error)
	// Failed is told of a reading or a call of Apply that failed, once until the
	// reason changes, and of nil when it goes on; may be nil. It is called on
	// several goroutines, one at a time.
	Failed func(err error)

	toldMu sync.Mutex // guards told; held while Failed is called
	told   string     // the failure that was told last, empty: none

	mu      sync.Mutex // guards what follows
	seen    string     // newest version
	done    string     // version that is applied
	pending []sighting // changes that are not applied, the oldest first
	stats   FollowStats
	lag     lagCounter

	waits waits

	memo     *planMemo // of follow
	admitted bool      // of follow: Before has let it go on
	blind    bool      // of watch: its last look failed
}

// sighting is a change of the source, when it was seen.
type sighting struct {
	version string
	at      time.Time
}

// FollowStats says how far behind its source a follower is. The lag of a
// change is the time from when it was seen, a few milliseconds after it was
// made, to when it was applied.
type FollowStats struct {
	Readings  int     `json:"readings"`
	Applied   int     `json:"applied"`  // calls of Apply that succeeded
	Failures  int     `json:"failures"` // readings and calls that did not
	Seen      int     `json:"changes_seen"`
	Added     int     `json:"added"`
	Changed   int     `json:"changed"`
	Removed   int     `json:"removed"`
	Records   int     `json:"records"`  // in the source now
	LeftOut   int     `json:"left_out"` // of the source now, that cannot be imported
	LagP50    float64 `json:"lag_p50_ms"`
	LagP99    float64 `json:"lag_p99_ms"`
	LagMax    float64 `json:"lag_max_ms"`
	Behind    float64 `json:"behind_ms"` // age of the oldest change that is not applied
	LastError string  `json:"last_error,omitempty"`
}

// Run follows until ctx ends, which is no error. It returns an error only if
// the source cannot be read at the start, Before returns one, the options are
// wrong, or the source could not be read for WaitMax. A source that keeps changing,
// or a Redis that does not answer, is waited for at the start, too. Only one Run at
// a time.
func (f *Follower) Run(ctx context.Context) (FollowStats, error) {
	if f.Interval == 0 {
		f.Interval = f.Source.Interval()
	}
	f.memo = newPlanMemo()
	ctx, cancel := context.WithCancelCause(ctx)
	changed := make(chan struct{}, 1)
	var wg sync.WaitGroup
	wg.Go(func() { f.watch(ctx, changed) })
	wg.Go(func() { f.tellWaits(ctx, cancel) })
	err := f.follow(ctx, changed)
	cancel(nil)
	wg.Wait()
	if why := context.Cause(ctx); errors.Is(why, ErrGivenUp) {
		err = why
	}
	return f.Stats(), err
}

// Stats returns how it goes.
func (f *Follower) Stats() FollowStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stats
	s.LagP50, s.LagP99, s.LagMax = f.lag.quantile(0.50), f.lag.quantile(0.99), milliseconds(f.lag.max)
	if len(f.pending) > 0 {
		s.Behind = milliseconds(time.Since(f.pending[0].at))
	}
	return s
}

// watch looks for changes until ctx ends.
func (f *Follower) watch(ctx context.Context, changed chan<- struct{}) {
	look := time.NewTicker(f.Interval)
	defer look.Stop()
	report := time.NewTicker(followReport)
	defer report.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-report.C:
			if f.Progress != nil {
				f.Progress(f.Stats())
			}
		case <-look.C:
			if f.look(ctx) {
				select {
				case changed <- struct{}{}:
				default:
				}
			}
		}
	}
}

// look reports whether the source has another version than before. Until it was
// read there is none.
func (f *Follower) look(ctx context.Context) bool {
	f.mu.Lock()
	begun := f.seen != ""
	f.mu.Unlock()
	if !begun {
		return false
	}
	end := f.waits.begin(askVersion)
	version, err := f.Source.Version(ctx)
	end(err)
	now := time.Now()
	if err != nil {
		if ctx.Err() == nil {
			f.blind = true
			f.failed(err)
		}
		return false
	}
	if f.blind { // what failed was the last look, and nothing else
		f.blind = false
		f.tell(nil)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if version == f.seen {
		return false
	}
	f.seen = version
	if version == f.done { // it was applied before it was seen
		return false
	}
	f.stats.Seen++
	if len(f.pending) < followPendingMax {
		f.pending = append(f.pending, sighting{version, now})
	}
	return true
}

// failed notes a failure.
func (f *Follower) failed(err error) {
	f.mu.Lock()
	f.stats.Failures++
	f.stats.LastError = err.Error()
	f.mu.Unlock()
	f.tell(err)
}

// tell calls Failed if it does not know that yet.
func (f *Follower) tell(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	f.toldMu.Lock()
	defer f.toldMu.Unlock()
	if f.Failed != nil && text != f.told {
		f.Failed(err)
	}
	f.told = text
}

// follow reads and applies, round by round, until ctx ends.
func (f *Follower) follow(ctx context.Context, changed <-chan struct{}) error {
	var applied *Plan
	begun := false // the source was read once
	for wait := f.Interval; ; {
		start := time.Now()
		plan, version, err := f.round(ctx, applied)
		rest := time.Since(start) / followRest
		begun = begun || err == nil || errors.Is(err, errApply)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // it was to end
		case err == nil:
			f.applied(version, start)
			f.tell(nil)
			if applied == nil && f.Started != nil {
				f.Started(f.Stats())
			}
			applied, wait = plan, f.Interval
		case !begun && !mayPass(err):
			return err
		default:
			if !errors.Is(err, ErrBusy) { // it only changes too fast just now
				f.failed(err)
			}
			wait = min(2*wait, followRetryMax)
			rest = max(rest, wait)
		}
		if sleep(ctx, rest) != nil {
			return nil //nolint:nilerr // it was to end
		}
		if err == nil && !f.isBehind() {
			select {
			case <-ctx.Done():
				return nil
			case <-changed:
			}
		}
	}
}

var errApply = errors.New("apply what has changed")

// round reads the source and applies what differs from the plan before.
func (f *Follower) round(ctx context.Context, before *Plan) (*Plan, string, error) {
	end := f.waits.begin(askContent)
	src, version, err := f.Source.Read(ctx)
	end(err)
	if err != nil {
		return nil, "", err
	}
	f.lookFrom(version)
	plan, err := buildPlan(src, f.PlanOptions, f.memo)
	if err != nil {
		return nil, "", err
	}
	if f.Before != nil && !f.admitted {
		if err := f.Before(ctx, src, plan); err != nil {
			return nil, "", err
		}
	}
	f.admitted = true
	diff := DiffPlans(before, plan)
	isNew := before == nil || !diff.Empty()
	if isNew {
		if err := f.Apply(ctx, plan, diff); err != nil {
			return nil, "", fmt.Errorf("%w: %w", errApply, err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stats.Readings++
	f.stats.Records, f.stats.LeftOut = len(plan.Records), plan.leftOut()
	if isNew {
		f.stats.Applied++
		f.stats.Added += len(diff.Added)
		f.stats.Changed += len(diff.Changed)
		f.stats.Removed += len(diff.Removed)
	}
	return plan, version, nil
}

// lookFrom lets watch begin to look for other versions than the one read first.
func (f *Follower) lookFrom(version string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen == "" {
		f.seen = version
	}
}

// applied notes that everything up to a version, and everything that was seen
// before its reading began, is applied.
func (f *Follower) applied(version string, readFrom time.Time) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	done := 0
	for i, s := range f.pending {
		if s.version == version || s.at.Before(readFrom) {
			done = i + 1
		}
	}
	for _, s := range f.pending[:done] {
		f.lag.add(now.Sub(s.at))
	}
	f.pending = append(f.pending[:0], f.pending[done:]...)
	f.done = version
	f.stats.LastError = ""
}

func (f *Follower) isBehind() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.pending) > 0
}
