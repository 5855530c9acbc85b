package controller

import (
	"context"
	"errors"
	"time"

	"github.com/lockcluster/lockcluster"
)

// followPause is between two looks at a legacy system that an Atlantis owns.
const followPause = 200 * time.Millisecond

// followLegacy keeps the enhanced system a copy of a legacy system that an
// Atlantis still owns: as long as it cannot be fenced this node decides nothing.
func (t *term) followLegacy() {
	for seen := uint64(0); t.c.sleep(t.ctx, followPause); {
		seen = t.followOnce(seen)
	}
}

// followOnce copies what the legacy system holds, if that is to be followed and has
// another index than seen; it returns the index of what is copied.
func (t *term) followOnce(seen uint64) uint64 {
	m := t.c.Migration()
	if t.ready.Load() || t.strange.Load() != nil || m.GateClosed || m.Mode != lockcluster.ModeShadow && (m.Mode != lockcluster.ModeBlueGreen || m.Active != lockcluster.SystemLegacy) {
		return seen
	}
	ctx, cancel := context.WithTimeout(t.ctx, 4*legacyTimeout)
	defer cancel()
	view, err := t.c.legacy.view(ctx, &m)
	if err == nil && view.Index() != seen {
		if err = t.copyAll(ctx, &m, lockcluster.SystemEnhanced); err == nil {
			return view.Index()
		}
	}
	if err != nil && !errors.Is(err, errMoved) {
		t.warnOnce("the legacy system cannot be followed", err)
	}
	return seen
}
