package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// decideGradual sends req to the home of its key. Requests about one key come
// here one after the other (stripes), and the enhanced system knows every key
// that is held in either, so a key is never free in one and held in the other.
func (t *term) decideGradual(m *lockcluster.Migration, id lockcluster.RequestID, req lockcluster.Request) (lockcluster.Result, error) {
	if _, ok := req.(lockcluster.Import); ok {
		return lockcluster.Result{}, fmt.Errorf(
			"%w: an import cannot choose between two systems; go to blue-green or shadow first (lockcluster cluster mode)", lockcluster.ErrInvalid)
	}
	defer t.stripes.lock(stripesOf(req))()
	if r, ok := req.(lockcluster.ReleaseByPull); ok {
		return t.releaseByPull(m, id, r)
	}
	home, elsewhere := t.homeOf(m, req)
	if err := t.gather(m, elsewhere); err != nil {
		return lockcluster.Result{}, err
	}
	routed := lockcluster.Routed{Epoch: m.Epoch, GradualEpoch: m.GradualEpoch, Base: m.Active, Home: home, Request: req}
	if home == lockcluster.SystemEnhanced {
		start := time.Now()
		res, err := t.askEnhanced(id, routed)
		if err == nil {
			t.c.observe(lockcluster.SystemEnhanced, req, start, nil)
		}
		return res, err
	}
	if err := t.settleKeys(m, req); err != nil {
		if errors.Is(err, errMoved) { // a switch that waits for this request has closed the gate
			err = errors.Join(errNotReady, err)
		}
		return lockcluster.Result{}, err
	}
	routed.Token = t.lastToken()
	res, err := t.askLegacy(m, routed)
	return res, t.copyBack(m, changedBy(req, &res), newestToken(&res), err)
}

// askEnhanced has the enhanced system decide what was routed to it. Its end does
// not depend on the client's patience: a grant that is still on its way into the
// log must not meet one of the legacy system's. If the outcome is not known, the
// epoch that it carries is ended before anybody decides.
func (t *term) askEnhanced(id lockcluster.RequestID, req lockcluster.Routed) (lockcluster.Result, error) {
	ctx, cancel := context.WithTimeout(t.ctx, legacyTimeout)
	defer cancel()
	res, err := t.c.node.Do(ctx, id, req)
	if errors.Is(err, lockcluster.ErrOutcomeUnknown) {
		t.takeOverAgain()
	}
	return res, err
}

// releaseByPull frees a pull request's locks in both systems.
func (t *term) releaseByPull(m *lockcluster.Migration, id lockcluster.RequestID, req lockcluster.ReleaseByPull) (lockcluster.Result, error) {
	routed := lockcluster.Routed{Epoch: m.Epoch, GradualEpoch: m.GradualEpoch, Base: m.Active, Home: lockcluster.SystemLegacy, Request: req}
	old, err := t.askLegacy(m, routed)
	if err := t.copyBack(m, changedBy(req, &old), lockcluster.Token{}, err); err != nil {
		return lockcluster.Result{}, err
	}
	routed.Home = lockcluster.SystemEnhanced
	res, err := t.askEnhanced(id, routed)
	if err == nil && res.Status == lockcluster.StatusReleased {
		res.Locks = append(res.Locks, old.Locks...)
	}
	return res, err
}

// settleKeys makes sure that the legacy system knows how its keys stand before
// it decides about them: a copy that the enhanced system has given up may still
// lie there.
func (t *term) settleKeys(m *lockcluster.Migration, req lockcluster.Request) error {
	refs, whole := readBy(req)
	if whole {
		return t.alignGradual(t.ctx, m)
	}
	return t.copyHomedLocked(t.ctx, m, refs)
}

// readBy lists the records by which req is decided; whole means that it may be
// any. A script of an Atlantis names all that it has read: for it, too, comparing
// the systems as a whole would hold up everybody.
func readBy(req lockcluster.Request) (refs []lockcluster.RecordRef, whole bool) {
	list, whole := targets(req)
	seen := make(map[lockcluster.RecordRef]bool, len(list))
	add := func(ref lockcluster.RecordRef) {
		if !seen[ref] {
			seen[ref] = true
			refs = append(refs, ref)
		}
	}
	for _, one := range list {
		add(one.ref)
	}
	if txn, ok := req.(lockcluster.Txn); ok {
		for _, c := range txn.Conditions {
			add(lockcluster.RecordRef{Namespace: txn.Namespace, Space: c.Space, Key: c.Key})
		}
		whole = len(txn.Ranges) > 0 || slices.ContainsFunc(txn.Requests, func(inner lockcluster.Request) bool {
			_, is := inner.(lockcluster.ReleaseByPull)
			return is
		})
	}
	return refs, whole
}

// copyBack tells the enhanced system what the legacy system has decided,
// before the client is told: the records as they are, and the newest token, whose
// lock may be gone again within the same transaction. It does not give up while
// this node leads: until then nobody may decide about these keys.
func (t *term) copyBack(m *lockcluster.Migration, refs []lockcluster.RecordRef, token lockcluster.Token, cause error) error {
	if cause != nil {
		// It may have been done: everything is compared before the next decision.
		t.takeOverAgain()
		return cause
	}
	if len(refs) == 0 {
		return nil
	}
	for {
		ctx, cancel := context.WithTimeout(t.ctx, legacyTimeout)
		b := &batch{token: token}
		err := t.readFrom(ctx, m, lockcluster.SystemLegacy, func(r state.Reader) {
			for _, ref := range refs {
				b.read(r, ref)
			}
		})
		if err == nil {
			err = t.send(ctx, m, lockcluster.SystemEnhanced, b)
		}
		cancel()
		if err == nil || t.ctx.Err() != nil {
			return err
		}
		if now := t.c.Migration(); errors.Is(err, errMoved) && now.Epoch > m.Epoch {
			if now.GradualEpoch != m.GradualEpoch {
				return errNotCopied // a backup was restored: both systems are compared anew
			}
			m = &now // a switch that waits for this request has closed the gate
			continue
		}
		t.warn("a decision of the legacy system could not be copied yet", err)
		if !t.c.sleep(t.ctx, dutyPause) {
			return errNotCopied
		}
	}
}

// errNotCopied ends a request that the legacy system has decided: unlike with
// errNotReady another try is not the first.
var errNotCopied = fmt.Errorf("%w: the leader has changed before the decision was copied", lockcluster.ErrOutcomeUnknown)

// copyHomed brings the legacy system's copies of enhanced records up, one
// stripe after the other.
func (t *term) copyHomed(ctx context.Context, m *lockcluster.Migration, refs []lockcluster.RecordRef) error {
	byStripe := map[int][]lockcluster.RecordRef{}
	for _, ref := range refs {
		one := target{ref: ref}
		if ref.Space == lockcluster.SpaceLock {
			one = lockTarget(ref.Namespace, ref.Key)
		}
		i := stripeOf(one)
		byStripe[i] = append(byStripe[i], ref)
	}
	for i, refs := range byStripe {
		unlock := t.stripes.lock([]int{i})
		err := t.copyHomedLocked(ctx, m, refs)
		unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// copyHomedLocked copies records whose home is the enhanced system; the caller
// holds their stripes. A record that the legacy system decides about is left
// alone.
func (t *term) copyHomedLocked(ctx context.Context, m *lockcluster.Migration, refs []lockcluster.RecordRef) error {
	view, _ := t.c.node.StaleView()
	b := &batch{token: state.GetStats(view).LastToken} // for what others write into the legacy store
	err := t.c.legacy.read(ctx, m, func(legacy state.Reader) {
		for _, ref := range refs {
			mine, mineThere := homeThere(view, m, ref)
			old, oldThere := homeThere(legacy, m, ref)
			switch {
			case oldThere && old == lockcluster.SystemLegacy:
			case mineThere && mine == lockcluster.SystemEnhanced:
				if !oldThere || !same(view, legacy, ref.Namespace, ref.Space, ref.Key) {
					b.read(view, ref)
				}
			case !mineThere && oldThere:
				b.deletes = append(b.deletes, ref)
			}
		}
	})
	if err != nil || b.size() == 0 {
		return err
	}
	return t.send(ctx, m, lockcluster.SystemLegacy, b.withHome(m, lockcluster.SystemEnhanced))
}

// withHome marks the records with the system that decides about them, so that a
// copy can be told from an original.
func (b *batch) withHome(m *lockcluster.Migration, s lockcluster.System) *batch {
	home := lockcluster.Home{System: s, Epoch: m.GradualEpoch}
	for i := range b.locks {
		b.locks[i].Home = home
	}
	for i := range b.commands {
		b.commands[i].Home = home
	}
	for i := range b.documents {
		b.documents[i].Home = home
	}
	return b
}

// homeThere returns the home of a record that a system holds.
func homeThere(r state.Reader, m *lockcluster.Migration, ref lockcluster.RecordRef) (lockcluster.System, bool) {
	switch ref.Space {
	case lockcluster.SpaceLock:
		if l := state.GetLock(r, ref.Namespace, ref.Key); l != nil {
			return m.HomeOf(l.Home), true
		}
	case lockcluster.SpaceCommand:
		if l := state.GetCommandLock(r, ref.Namespace, ref.Key); l != nil {
			return m.HomeOf(l.Home), true
		}
	case lockcluster.SpaceDocument:
		if d := state.GetDocument(r, ref.Namespace, ref.Key); d != nil {
			return m.HomeOf(d.Home), true
		}
	}
	return 0, false
}

// alignGradual compares both systems as a whole. Each is the authority for the
// records whose home it is; nobody may decide meanwhile.
func (t *term) alignGradual(ctx context.Context, m *lockcluster.Migration) error {
	mine, _ := t.c.node.StaleView()
	old, err := t.c.legacy.view(ctx, m)
	if err != nil {
		return err
	}
	back, out := &batch{token: state.GetStats(old).LastToken}, &batch{token: state.GetStats(mine).LastToken}
	for _, space := range []lockcluster.Space{lockcluster.SpaceLock, lockcluster.SpaceCommand, lockcluster.SpaceDocument} {
		seen := func(key string) bool {
			t.alignRecord(m, mine, old, lockcluster.RecordRef{Namespace: m.Namespace, Space: space, Key: key}, back, out)
			return true
		}
		state.Keys(old, m.Namespace, space, "", seen)
		state.Keys(mine, m.Namespace, space, "", func(key string) bool {
			if state.Revision(old, m.Namespace, space, key) == 0 {
				seen(key)
			}
			return true
		})
	}
	if err := t.send(ctx, m, lockcluster.SystemEnhanced, back); err != nil {
		return err
	}
	return t.send(ctx, m, lockcluster.SystemLegacy, out.withHome(m, lockcluster.SystemEnhanced))
}

// alignRecord puts one record into back (to the enhanced system) or out (to the
// legacy system) if the system that does not decide about it has it wrong.
func (t *term) alignRecord(m *lockcluster.Migration, mine, old state.Reader, ref lockcluster.RecordRef, back, out *batch) {
	mineHome, mineThere := homeThere(mine, m, ref)
	oldHome, oldThere := homeThere(old, m, ref)
	equal := mineThere && oldThere && same(mine, old, ref.Namespace, ref.Space, ref.Key)
	switch {
	case equal && oldHome == lockcluster.SystemLegacy && mineHome == lockcluster.SystemEnhanced:
		out.read(mine, ref) // it was about to be gathered
	case oldThere && mineThere && oldHome == lockcluster.SystemLegacy && mineHome == lockcluster.SystemEnhanced:
		// Only somebody who writes to the legacy store by himself can do this.
		t.c.shadow.conflict(ref)
		t.c.log.Error("a key is held in both systems; neither was changed", "namespace", ref.Namespace, "key", ref.Key)
	case oldThere && oldHome == lockcluster.SystemLegacy: // an original
		if !equal || mineHome != lockcluster.SystemLegacy {
			back.read(old, ref)
		}
	case mineThere && mineHome == lockcluster.SystemEnhanced: // an original
		if !equal {
			out.read(mine, ref)
		}
	case mineThere: // a copy without its original
		back.deletes = append(back.deletes, ref)
	default:
		out.deletes = append(out.deletes, ref)
	}
}
