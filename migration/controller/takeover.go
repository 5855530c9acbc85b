package controller

import (
	"github.com/lockcluster/lockcluster"
)

// takeOver makes this node the one that decides. It raises the epoch, so that
// nothing of the leader before, whose requests may still be on their way, is
// applied any more; it fences the legacy store; and it brings the mirror up to
// its authority. A gate that a switch has left closed is opened: what the log
// says decides, and that is one system at every moment. For seen see
// [term.decideAgain].
func (t *term) takeOver(seen int) {
	for !t.inherited() {
		if !t.c.sleep(t.ctx, dutyPause) {
			return
		}
	}
	t.realignAfter(seen)
}

// takeOverAgain makes this leader begin anew, when it cannot know any more how
// the legacy system or the mirror stands. Until then it decides nothing. What is
// doubted while it begins anew makes it begin once more.
func (t *term) takeOverAgain() {
	t.doubtMu.Lock()
	defer t.doubtMu.Unlock()
	t.ready.Store(false)
	t.doubts++
	if t.doubts == 1 {
		t.spawn(t.settleDoubts)
	}
}

func (t *term) settleDoubts() {
	for t.ctx.Err() == nil {
		t.doubtMu.Lock()
		known := t.doubts
		t.ready.Store(false)
		t.doubtMu.Unlock()
		t.c.changed.drop()
		t.toEnhanced.drop()
		t.takeOver(known)
		t.doubtMu.Lock()
		settled := t.doubts == known
		if settled {
			t.doubts = 0
		}
		t.doubtMu.Unlock()
		if settled {
			return
		}
	}
}

// decideAgain lets this leader decide, unless it has come to a doubt since it had
// seen so many: whoever is told of a doubt begins anew, and until then nobody
// decides, whatever else has ended well meanwhile.
func (t *term) decideAgain(seen int) {
	t.doubtMu.Lock()
	defer t.doubtMu.Unlock()
	if t.doubts == seen {
		t.ready.Store(true)
	}
}

// inherited makes the migration state this leader's.
func (t *term) inherited() bool {
	done, err := t.alone(t.ctx)
	if err != nil {
		return false
	}
	defer done()
	m := t.c.Migration()
	if m.Mode == lockcluster.ModeEnhanced && !m.GateClosed {
		return t.foundCluster()
	}
	if !t.c.isFounded() && t.markFounded(t.ctx) != nil {
		return false
	}
	next := reopened(m, "a new leader has taken over")
	if m.GateClosed {
		next.Reason = "a new leader has taken over; the switch that was under way did not happen"
	}
	if m, err = t.setMigration(t.ctx, m.Epoch, next); err != nil {
		t.warnOnce("this node cannot decide yet", err)
		return false
	}
	t.c.shadow.clear(t.trialKept())
	return true
}

// keepOpen opens a gate that nobody stands at: the entry that closes it may come
// after its change was given up, or from a leader that is none any more.
func (t *term) keepOpen() {
	for {
		m, moved := t.c.changedState()
		if !m.GateClosed {
			select {
			case <-moved:
				continue
			case <-t.ctx.Done():
				return
			}
		}
		if t.openAbandoned() {
			t.realignAfter(0)
		}
		if !t.c.sleep(t.ctx, retryPause) {
			return
		}
	}
}

// openAbandoned waits for the change that is under way, if any, and opens the
// gate if it is closed all the same. It reports whether it has tried.
func (t *term) openAbandoned() bool {
	done, err := t.alone(t.ctx)
	if err != nil {
		return false
	}
	defer done()
	m := t.c.Migration()
	if !m.GateClosed {
		return false
	}
	t.ready.Store(false)
	if _, err := t.setMigration(t.ctx, m.Epoch, reopened(m, "a change of the migration state was given up")); err != nil {
		t.warnOnce("the gate cannot be opened yet", err)
	}
	return true
}

// realignAfter fences and compares both systems, again and again until that has
// succeeded. Changes of the migration state may go on between two tries. For seen
// see [term.decideAgain].
func (t *term) realignAfter(seen int) {
	for t.ctx.Err() == nil {
		if done, err := t.alone(t.ctx); err == nil {
			m := t.c.Migration()
			err := t.align(t.ctx, &m)
			if err == nil {
				t.decideAgain(seen)
				t.c.log.Info("this node decides", "mode", m.Mode.String(), "epoch", m.Epoch, "term", t.number)
			}
			done()
			if err == nil {
				return
			}
			why := err.Error()
			t.why.Store(&why)
			t.warnOnce("this node cannot decide yet", err)
		}
		if !t.c.sleep(t.ctx, dutyPause) {
			return
		}
	}
}
