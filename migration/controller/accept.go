package controller

import (
	"context"
	"errors"
	"fmt"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/migration"
)

// acceptable reports whether the store that is there is another one than the
// attached, so that a person may accept it, and its ids.
func (t *term) acceptable(ctx context.Context, m *lockcluster.Migration, req *lockcluster.ModeRequest) (ids []string, ok bool, err error) {
	id, err := t.c.legacy.identity(ctx, m)
	if errors.Is(err, backends.ErrUnavailable) {
		id, err = t.c.legacy.identity(ctx, m) // the first try may have found that the store has to be opened again
	}
	known := t.c.setting(settingStoreID)
	claim, there := t.c.storeClaim()
	switch {
	case errors.Is(err, migration.ErrFollowed):
		// Its id is read when it is taken; --force says that it does not matter.
		return []string{backends.AnyStore}, known == "" && req.Force && req.Mode == m.Mode.String(), nil
	case errors.Is(err, lockcluster.ErrInvalid):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("%w: the legacy system cannot be reached: %w", ErrRefused, err)
	case len(id.IDs) == 1 && (id.IDs[0] == known || there && id.IDs[0] == claim.ID):
		return nil, false, nil
	}
	return id.IDs, true, nil
}

// accept makes the store that is there the attached one, by a person's word.
// Whose records count is --authority: the store's as they are, or the cluster's
// copy, which is written into it. The epoch is raised first, so that whatever was
// sent to the store before is refused.
func (t *term) accept(ctx context.Context, m *lockcluster.Migration, req *lockcluster.ModeRequest, ids []string, res *lockcluster.ModeResult) error {
	authority, err := lockcluster.ParseSystem(req.Authority)
	if err == nil {
		err = mayAccept(m, req.Mode, authority)
	}
	if err != nil {
		return err
	}
	if err := t.showAccepted(ctx, m, authority, res); err != nil || req.DryRun {
		return err
	}
	if !req.Force && (res.Lost > 0 || m.Mode == lockcluster.ModeLegacy) {
		return fmt.Errorf("%w: %s; look at it with --dry-run, then repeat with --force", ErrRefused, res.Notes[0])
	}
	mirror := m.Decides(m.Namespace) == lockcluster.SystemEnhanced
	if !mirror {
		t.takeOverAgain() // nobody decides until both are aligned
	}
	next := *m
	next.Reason = "another legacy store was accepted, by --authority " + authority.String()
	if req.Reason != "" {
		next.Reason += ": " + req.Reason
	}
	after, err := t.setMigration(ctx, m.Epoch, next)
	if err != nil {
		return err
	}
	res.Epoch = after.Epoch
	claim := storeClaim{Claim: backends.Claim{ID: backends.NewStoreID(), Over: ids}, Restore: authority == lockcluster.SystemEnhanced && !mirror}
	if err := t.claimAccepted(ctx, &after, claim); err != nil {
		return err
	}
	t.c.log.Warn("another legacy store is accepted", "authority", authority.String(), "epoch", after.Epoch, "differences", res.Differences,
		"lost", res.Lost, "was", ids, "id", claim.ID, "reason", req.Reason)
	if mirror {
		err = t.own(ctx, &after)
		t.c.changed.addAll()
		return err
	}
	if err := t.align(ctx, &after); err != nil && !errors.Is(err, migration.ErrFollowed) {
		return fmt.Errorf("the store was accepted, and is brought up as soon as that can be done: %w", err)
	}
	return nil
}

func mayAccept(m *lockcluster.Migration, mode string, authority lockcluster.System) error {
	switch {
	case mode != m.Mode.String():
		return fmt.Errorf("%w: the legacy store is another one than was attached; accept it in the present mode (%s) before you go to another", ErrRefused, m.Mode)
	case authority == lockcluster.SystemEnhanced && m.Mode == lockcluster.ModeLegacy:
		return fmt.Errorf("%w: in mode legacy the cluster has no copy of the store; bring the right one back, or accept what is there by --authority legacy", ErrRefused)
	case authority == lockcluster.SystemLegacy && m.Decides(m.Namespace) == lockcluster.SystemEnhanced:
		return fmt.Errorf("%w: the enhanced system decides and the store is its mirror: --authority enhanced writes it anew", ErrRefused)
	}
	return nil
}

// claimAccepted writes the claim of an accepted store down. Until it was carried
// out no store is the right one.
func (t *term) claimAccepted(ctx context.Context, m *lockcluster.Migration, claim storeClaim) error {
	if err := t.adoptFence(ctx, m); err != nil {
		return err
	}
	more := map[string]string{}
	if t.c.setting(settingStoreID) == "" {
		more[settingStoreID] = noStoreID
	}
	return t.claimStore(ctx, claim, more)
}

// showAccepted says what the acceptance of the present store does.
func (t *term) showAccepted(ctx context.Context, m *lockcluster.Migration, authority lockcluster.System, res *lockcluster.ModeResult) error {
	there, err := t.c.legacy.whole(backends.WithStore(ctx, backends.AnyStore), m)
	if err != nil {
		return fmt.Errorf("%w: the legacy store cannot be read: %w", ErrRefused, err)
	}
	mine, _ := t.c.node.StaleView()
	_, records := state.ContentDigest(there, m.Namespace)
	note := ""
	switch {
	case m.Mode == lockcluster.ModeLegacy && t.c.setting(settingStoreID) == "":
		note = fmt.Sprintf("the %d records that the store has count; another cluster has attached it before: make sure that none works with it any more", records)
	case m.Mode == lockcluster.ModeLegacy:
		note = fmt.Sprintf("the %d records that the store has now count; what the attached one held is lost, and the cluster has no copy of it", records)
	case authority == lockcluster.SystemLegacy:
		b := difference(there, mine, m.Namespace)
		res.Differences, res.Lost = b.size(), len(b.deletes)
		if m.Mode == lockcluster.ModeGradual { // the enhanced system's own stay
			res.Lost = 0
			for _, ref := range b.deletes {
				if home, _ := homeThere(mine, m, ref); home == lockcluster.SystemLegacy {
					res.Lost++
				}
			}
		}
		note = fmt.Sprintf("the %d records that the store has now count; %d that only the cluster's copy has are lost", records, res.Lost)
	default:
		b := difference(mine, there, m.Namespace)
		res.Differences, res.Lost = b.size(), len(b.deletes)
		note = fmt.Sprintf("the cluster's copy is written into the store: %d records change, %d of them are removed there", res.Differences, res.Lost)
		if m.Decides(m.Namespace) == lockcluster.SystemLegacy {
			note += "; what was decided in the last moments before the store was lost may be missing"
		}
	}
	res.Notes = append(res.Notes, note)
	return nil
}
