package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/migration"
)

// The attached store has an id, which is known to the cluster too, so that no
// other one, and not the same one after it was emptied, is taken for it. Every
// call to the store names the id. What gives a store its id is written down
// first: a leader that dies in between leaves a claim that the next one finishes.
const (
	settingStoreID    = internalPrefix + "legacy-id"
	settingStoreClaim = internalPrefix + "legacy-claim" // see [storeClaim]; gone when it was carried out
	// noStoreID is the id of no store: until a claim was carried out none is right.
	noStoreID = "-"
)

// storeClaim is the order to make the store that is there the attached one.
type storeClaim struct {
	backends.Claim
	// Restore: the cluster's copy is written into it before it counts.
	Restore bool `json:"restore,omitempty"`
}

// storeID returns the id of the attached store, empty while none is known.
func (c *Controller) storeID() string {
	if m := c.state.Load(); m.Mode == lockcluster.ModeEnhanced && !m.GateClosed {
		return "" // none is attached; which one was the last is still known
	}
	return c.setting(settingStoreID)
}

// storeClaim returns the claim that was not carried out yet.
func (c *Controller) storeClaim() (claim storeClaim, there bool) {
	text := c.setting(settingStoreClaim)
	return claim, text != "" && json.Unmarshal([]byte(text), &claim) == nil // our own writing
}

// unclaimed returns why a store that the cluster has given no id yet may not be
// read: it has that of another cluster.
func (c *Controller) unclaimed(ctx context.Context, m *lockcluster.Migration) error {
	claim, there := c.storeClaim()
	if !there || c.setting(settingStoreID) != "" {
		return nil // who reads asks for the id
	}
	id, err := c.legacy.identity(ctx, m)
	if err != nil {
		return nil //nolint:nilerr // it shows when the store is read
	}
	for _, have := range id.IDs {
		if err := claim.Refuses(have); err != nil {
			return err
		}
	}
	return nil
}

// claimStore writes a claim down.
func (t *term) claimStore(ctx context.Context, claim storeClaim, more map[string]string) error {
	b, err := json.Marshal(claim)
	if err != nil {
		return err
	}
	changes := map[string]string{settingStoreClaim: string(b)}
	for name, value := range more {
		changes[name] = value
	}
	return t.store(ctx, changes)
}

// own fences the legacy store if it is the attached one, and carries a claim
// out. A store that was attached before there were ids is given one, as is one
// that was just attached, if it has none.
func (t *term) own(ctx context.Context, m *lockcluster.Migration) error {
	t.claimMu.Lock()
	defer t.claimMu.Unlock()
	err := t.raiseOrClaim(ctx, m)
	t.noteStrange(m, err)
	return t.c.advised(m, err)
}

func (t *term) raiseOrClaim(ctx context.Context, m *lockcluster.Migration) error {
	id := t.c.setting(settingStoreID)
	claim, there := t.c.storeClaim()
	switch {
	case !there && id != "":
		return t.c.legacy.raise(ctx, m, t.fence(m))
	case !there:
		claim = storeClaim{Claim: backends.Claim{ID: backends.NewStoreID(), Over: []string{backends.NoStore}}}
		if err := t.claimStore(ctx, claim, nil); err != nil {
			return err
		}
	}
	err := t.c.legacy.adopt(ctx, m, t.fence(m), claim.Claim)
	switch {
	case errors.Is(err, lockcluster.ErrInvalid):
		return t.c.legacy.raise(ctx, m, t.fence(m)) // the node that has it is of a version without ids
	case errors.Is(err, backends.ErrOtherStore) && id != "":
		// What was to be accepted is not there any more; the right one may be.
		if err := t.c.legacy.raise(ctx, m, t.fence(m)); err != nil {
			return err
		}
		return t.store(ctx, map[string]string{settingStoreClaim: ""})
	case err != nil:
		return err
	}
	if claim.Restore {
		if err := t.restore(ctx, m, claim.ID); err != nil {
			return err
		}
	}
	t.c.log.Info("the legacy store has its id", "id", claim.ID, "restored", claim.Restore)
	return t.store(ctx, map[string]string{settingStoreID: claim.ID, settingStoreClaim: ""})
}

// restore writes the cluster's copy into the store with that id, which nobody
// else asks for yet.
func (t *term) restore(ctx context.Context, m *lockcluster.Migration, id string) error {
	ctx = backends.WithStore(ctx, id)
	mine, _ := t.c.node.StaleView()
	there, err := t.c.legacy.whole(ctx, m)
	if err != nil {
		return fmt.Errorf("read what is in the legacy store: %w", err)
	}
	b := difference(mine, there, m.Namespace)
	for {
		req, ok := b.next(m)
		if !ok {
			t.c.log.Warn("the cluster's copy was written into the legacy store", "records", b.sent)
			return nil
		}
		res, err := t.c.legacy.do(ctx, m, t.fence(m), req)
		if err != nil {
			return fmt.Errorf("write the cluster's copy into the legacy store: %w", err)
		}
		if res.Status != lockcluster.StatusApplied {
			return fmt.Errorf("the legacy store cannot take over the cluster's copy: %s %s", res.Status, res.Text)
		}
	}
}

// noteStrange keeps whether the store is another one than the attached, by what
// came of its use. An error of another kind tells nothing about that.
func (t *term) noteStrange(m *lockcluster.Migration, err error) {
	switch {
	case errors.Is(err, backends.ErrOtherStore):
		text := t.c.advised(m, err).Error()
		if t.strange.Swap(&text) == nil {
			t.c.log.Error("the legacy store was emptied or replaced; nothing is decided with it", "err", text)
		}
	case err == nil || errors.Is(err, migration.ErrFollowed):
		if t.strange.Swap(nil) != nil {
			t.c.log.Warn("the legacy store is the attached one again")
		}
	default:
		return
	}
	t.tellStrange()
}

// doubtStore looks at an error of the legacy system: with another store than the
// attached this leader does not decide. It tries again until the right one is
// back, or another one was accepted.
func (t *term) doubtStore(m *lockcluster.Migration, err error) {
	if !errors.Is(err, backends.ErrOtherStore) {
		return
	}
	t.noteStrange(m, err)
	if m.Decides(m.Namespace) != lockcluster.SystemEnhanced && t.ready.Load() {
		t.takeOverAgain()
	}
}

func (t *term) tellStrange() {
	if t.c.cfg.Metrics != nil {
		t.c.cfg.Metrics.LegacyRefused(t.ctx.Err() == nil && t.strange.Load() != nil)
	}
}

// strangeErr is what a request is told that needs a store which is another one.
func (t *term) strangeErr() error {
	if text := t.strange.Load(); text != nil {
		return fmt.Errorf("%w: %s", ErrRefused, *text)
	}
	return nil
}

// advised adds to the refusal of a store what a person can do.
func (c *Controller) advised(m *lockcluster.Migration, err error) error {
	if !errors.Is(err, backends.ErrOtherStore) || errors.As(err, new(*advisedError)) {
		return err
	}
	accept := "lockcluster cluster mode " + m.Mode.String() + " --authority "
	text := "bring the right one back, which is taken by itself; or accept what is there, as it is: " + accept + "legacy"
	if m.Mode != lockcluster.ModeLegacy {
		text = "bring the right one back, which is taken by itself; or have the cluster's copy written into what is there: " + accept + "enhanced"
	}
	switch {
	case m.Decides(m.Namespace) == lockcluster.SystemEnhanced:
		text = "the enhanced system decides and needs it only as its mirror; " + text
	case c.setting(settingStoreID) == "":
		text = "another cluster has attached it, or this one before it was set up anew; if no other one works with it any more: " + accept + "legacy"
	case m.Mode != lockcluster.ModeLegacy:
		text += "; or accept it as it is: " + accept + "legacy; or go on without it: lockcluster cluster switch enhanced --force"
	}
	return &advisedError{err, text}
}

type advisedError struct {
	err    error
	advice string
}

func (e *advisedError) Error() string {
	return e.err.Error() + "; " + e.advice + " (--dry-run shows what that does)"
}
func (e *advisedError) Unwrap() error { return e.err }

// mayClaim returns the claim for a store that is about to be attached; none if
// it is the one that was attached last. What another cluster has attached is not
// taken from it unless that is said.
func (t *term) mayClaim(ctx context.Context, m *lockcluster.Migration, force bool) (claim *storeClaim, err error) {
	claim = &storeClaim{Claim: backends.Claim{ID: backends.NewStoreID(), Over: []string{backends.NoStore}}}
	id, err := t.c.legacy.identity(ctx, m)
	switch {
	case errors.Is(err, migration.ErrFollowed): // its id is read when it is taken
		if force {
			claim.Over = []string{backends.AnyStore}
		}
		return claim, nil
	case errors.Is(err, lockcluster.ErrInvalid): // the node that has it is of a version without ids
		return nil, nil //nolint:nilnil // no claim
	case err != nil:
		return nil, fmt.Errorf("%w: the legacy system cannot be reached: %w", ErrRefused, err)
	case len(id.IDs) == 1 && id.IDs[0] != backends.NoStore && id.IDs[0] == t.c.setting(settingStoreID):
		return nil, nil //nolint:nilnil // no claim
	case len(id.IDs) == 1 && id.IDs[0] == backends.NoStore || force:
		claim.Over = id.IDs
		return claim, nil
	}
	return nil, fmt.Errorf("%w: another cluster has attached this legacy store (id %q), or this one before it was set up anew; "+
		"two clusters with one store would grant locks twice: if no other one works with it any more, repeat with --force", ErrRefused, id.IDs)
}

// prepareStore makes a store ready to be attached.
func (t *term) prepareStore(ctx context.Context, m *lockcluster.Migration, claim *storeClaim) error {
	if err := t.adoptFence(ctx, m); err != nil || claim == nil {
		return err
	}
	return t.claimStore(ctx, *claim, map[string]string{settingStoreID: ""})
}
