package controller

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

func hexShort(b []byte) string { return hex.EncodeToString(b[:min(len(b), 8)]) }

// setMode changes the mode, or the shares of ModeGradual.
func (t *term) setMode(ctx context.Context, req lockcluster.ModeRequest) (lockcluster.ModeResult, error) {
	m := t.c.Migration()
	mode, err := lockcluster.ParseMode(req.Mode)
	if err != nil {
		return lockcluster.ModeResult{}, err
	}
	ctx, cancel := t.limit(ctx, req.Timeout)
	defer cancel()
	res := lockcluster.ModeResult{From: describe(&m), Mode: mode.String(), Epoch: m.Epoch, DryRun: req.DryRun}
	c := &change{before: m, next: m, authority: authorityOf(&m)}
	c.next.Mode, c.next.Reason = mode, req.Reason
	if mode != lockcluster.ModeGradual {
		c.next.Percentage, c.next.Canary = 0, nil
	} else if err := shares(&c.next, &req); err != nil {
		return res, err
	}
	switch mode {
	case lockcluster.ModeEnhanced:
		err = t.toEnhancedMode(c, &req)
	case lockcluster.ModeLegacy, lockcluster.ModeShadow:
		err = t.toLegacyMode(c, &req)
	default:
		err = t.toSharedMode(c, &req)
	}
	if err != nil {
		return res, err
	}
	if m.Mode != lockcluster.ModeEnhanced && req.Authority != "" {
		if ids, other, err := t.acceptable(ctx, &m, &req); err != nil || other {
			res.ActiveSystem, res.Percentage = m.Decides(m.Namespace).String(), m.Percentage
			if err == nil {
				err = t.accept(ctx, &m, &req, ids, &res)
			}
			return res, err
		}
		if req.Authority != c.authority.String() {
			return res, fmt.Errorf("%w: the %s system decides and its locks count; --authority is for a legacy system that is not attached yet "+
				"or was replaced, \"lockcluster cluster switch\" changes who decides", ErrRefused, c.authority)
		}
	}
	res.ActiveSystem, res.Percentage = c.next.Decides(c.next.Namespace).String(), c.next.Percentage
	if sameMode(&m, &c.next) {
		res.Notes = append(res.Notes, "that is the mode already; nothing was changed")
		return res, nil
	}
	attaches := m.Mode == lockcluster.ModeEnhanced && mode != lockcluster.ModeEnhanced
	var claim *storeClaim
	if attaches {
		if claim, err = t.mayClaim(ctx, &c.before, req.Force); err != nil {
			return res, err
		}
	}
	if err := t.showDifferences(ctx, c, &req, &res); err != nil || req.DryRun {
		return res, err
	}
	if attaches {
		if err := t.prepareStore(ctx, &c.before, claim); err != nil {
			return res, err
		}
	}
	if m.Mode == lockcluster.ModeEnhanced && c.authority == lockcluster.SystemLegacy && mode != lockcluster.ModeLegacy {
		// The records of a system that decides are never overwritten: the legacy
		// system decides first, and then the other becomes its mirror.
		first := *c
		first.next.Mode, first.next.Active = lockcluster.ModeLegacy, lockcluster.SystemLegacy
		if err := t.run(ctx, &first); err != nil {
			return res, err
		}
		c.before = first.after
	}
	if mode == lockcluster.ModeShadow {
		if err := t.beginTrial(ctx); err != nil {
			return res, err
		}
	}
	if m.Mode == lockcluster.ModeGradual && mode == lockcluster.ModeGradual {
		err = t.setShares(ctx, c)
	} else {
		err = t.run(ctx, c)
	}
	t.c.history.note(c, err)
	res.GateClosedMS = float64(c.gateTime.Microseconds()) / 1000
	if err != nil {
		return res, err
	}
	res.Epoch = c.after.Epoch
	t.noteMode(ctx, &c.after)
	if mode == lockcluster.ModeEnhanced {
		t.noteTaken(ctx, &c.after)
		// A copy on its way must not reach a store that somebody else works with by then.
		t.c.changed.drop()
		select {
		case <-t.c.changed.idle():
		case <-ctx.Done():
			res.Notes = append(res.Notes, "a last copy may still be on its way into the legacy system")
		}
	}
	if m.Mode == lockcluster.ModeShadow && mode != lockcluster.ModeShadow {
		t.endTrial(ctx)
	}
	t.c.log.Info("the mode was changed", "from", res.From, "to", describe(&c.after), "epoch", res.Epoch, "reason", req.Reason)
	return res, nil
}

func sameMode(a, b *lockcluster.Migration) bool {
	return a.Mode == b.Mode && a.Active == b.Active && a.Percentage == b.Percentage && a.Legacy == b.Legacy &&
		fmt.Sprint(a.Canary) == fmt.Sprint(b.Canary)
}

// shares takes percentage and canary rules over from a request.
func shares(next *lockcluster.Migration, req *lockcluster.ModeRequest) error {
	if req.Percentage != nil {
		next.Percentage = *req.Percentage
	}
	if !req.KeepCanary {
		next.Canary = req.Canary
	}
	if next.Percentage > 100 {
		return fmt.Errorf("%w: a percentage of %d: use 0 to 100", lockcluster.ErrInvalid, next.Percentage)
	}
	return nil
}

// toEnhancedMode detaches the legacy system.
func (t *term) toEnhancedMode(c *change, req *lockcluster.ModeRequest) error {
	if c.before.Mode == lockcluster.ModeEnhanced {
		return nil
	}
	if c.before.Mode != lockcluster.ModeBlueGreen || c.before.Active != lockcluster.SystemEnhanced {
		return fmt.Errorf("%w: the legacy system decides; make it the enhanced system first: lockcluster cluster switch enhanced", ErrRefused)
	}
	c.next = lockcluster.Migration{Mode: lockcluster.ModeEnhanced, Active: lockcluster.SystemEnhanced, Namespace: c.before.Namespace, Reason: req.Reason}
	c.unverified = true // the legacy system is let go as it is
	return nil
}

// toLegacyMode lets the legacy system decide, with or without shadow.
func (t *term) toLegacyMode(c *change, req *lockcluster.ModeRequest) error {
	if err := t.attachFor(c, req); err != nil {
		return err
	}
	c.next.Active = lockcluster.SystemLegacy
	return nil
}

// toSharedMode is ModeBlueGreen and ModeGradual: what decided goes on deciding.
func (t *term) toSharedMode(c *change, req *lockcluster.ModeRequest) error {
	if err := t.attachFor(c, req); err != nil {
		return err
	}
	if c.next.Mode == lockcluster.ModeGradual && c.before.Mode == lockcluster.ModeGradual {
		return nil // what the homes go by stays
	}
	c.next.Active = c.authority
	return nil
}

// attachFor attaches a legacy system to a cluster that has none. Then somebody
// has to say whose records count.
func (t *term) attachFor(c *change, req *lockcluster.ModeRequest) error {
	if c.before.Mode != lockcluster.ModeEnhanced {
		return nil
	}
	if req.Kind == "" {
		return fmt.Errorf("%w: this node has no legacy system: start it with --legacy-boltdb or --legacy-redis, and ask it", ErrRefused)
	}
	if req.Authority == "" {
		return fmt.Errorf("%w: both systems may hold locks; say whose count: --authority legacy (the file or Redis) or --authority enhanced (this cluster)", ErrRefused)
	}
	authority, err := lockcluster.ParseSystem(req.Authority)
	if err != nil {
		return err
	}
	if authority == lockcluster.SystemEnhanced && c.next.Mode != lockcluster.ModeBlueGreen {
		return fmt.Errorf("%w: with --authority enhanced the mode is blue-green; from there \"lockcluster cluster switch legacy\" leads to the legacy system", ErrRefused)
	}
	c.authority = authority
	c.next.Legacy, c.next.LegacyHost, c.next.Namespace = req.Kind, req.Host, req.Namespace
	// The gate and the copies go by the state before: it has to name the system.
	c.before.Legacy, c.before.LegacyHost, c.before.Namespace = req.Kind, req.Host, req.Namespace
	return nil
}

// showDifferences counts what a change will overwrite, and refuses to lose a
// record in silence.
func (t *term) showDifferences(ctx context.Context, c *change, req *lockcluster.ModeRequest, res *lockcluster.ModeResult) error {
	if c.unverified || c.before.Mode == lockcluster.ModeGradual || c.before.Legacy == "" {
		return nil
	}
	from, err := t.viewOf(ctx, &c.before, c.authority)
	if err == nil {
		var to *state.View
		if to, err = t.viewOf(ctx, &c.before, c.authority.Other()); err == nil {
			b := difference(from, to, c.before.Namespace)
			res.Differences, res.Lost = b.size(), len(b.deletes)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: the legacy system cannot be reached: %w", ErrRefused, err)
	}
	attaches := t.c.Migration().Mode == lockcluster.ModeEnhanced
	if attaches && res.Lost > 0 && !req.Force {
		return fmt.Errorf("%w: %d records of the %s system would be lost, because --authority says that the %s system counts; "+
			"look at them (locks list, locks validate), save a backup (cluster snapshot save), then repeat with --force",
			ErrRefused, res.Lost, c.authority.Other(), c.authority)
	}
	return nil
}

// setShares changes percentage and canary rules. Held keys keep their home, so
// no gate is needed: only that nobody decides about a free key meanwhile.
func (t *term) setShares(ctx context.Context, c *change) (err error) {
	defer t.stripes.lock(all)()
	if c.after, err = t.setMigration(ctx, c.before.Epoch, c.next); err != nil {
		return err
	}
	return t.own(ctx, &c.after)
}
