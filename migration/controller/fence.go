package controller

import (
	"context"
	"strconv"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
)

// This file keeps everybody but the leader out of the legacy store: other leaders
// by the fence, an Atlantis by holding the file.

func (t *term) fence(m *lockcluster.Migration) backends.Fence {
	base, _ := strconv.ParseUint(t.c.setting(settingFenceBase), 10, 64) // our own writing
	return backends.Fence{Term: base + t.number, Epoch: m.Epoch}
}

// settingFenceBase is added to the terms of this cluster in fences: what another
// cluster has left in the store that was attached.
const settingFenceBase = internalPrefix + "fence-base"

// alignAttached is align for a store that was just attached: another cluster,
// which has had it before, may have left higher fences there. From now on it is
// that one that is refused.
func (t *term) alignAttached(ctx context.Context, m *lockcluster.Migration) error {
	if err := t.adoptFence(ctx, m); err != nil {
		return err
	}
	return t.align(ctx, m)
}

// adoptFence puts this cluster's fences above what a store has that is about to
// be attached. It changes nothing in the store.
func (t *term) adoptFence(ctx context.Context, m *lockcluster.Migration) error {
	id, err := t.c.legacy.identity(ctx, m)
	if err != nil || !t.fence(m).Less(id.Fence) {
		return nil //nolint:nilerr // what else is wrong shows when it is used
	}
	t.c.log.Warn("the legacy system was another cluster's, which is refused once it is attached here", "fence", id.Fence.String())
	return t.store(ctx, map[string]string{settingFenceBase: strconv.FormatUint(id.Fence.Term, 10)})
}

// settingTaken says that the legacy system's file was taken from its Atlantis at
// a cutover, so that no node lets an Atlantis have it again.
const settingTaken = internalPrefix + "legacy-taken"

// noteTaken keeps whether the file is the cluster's.
func (t *term) noteTaken(ctx context.Context, m *lockcluster.Migration) {
	want := ""
	if m.LegacyHost != "" {
		want = "true"
	}
	if t.c.setting(settingTaken) == want {
		return
	}
	if err := t.store(ctx, map[string]string{settingTaken: want}); err != nil {
		t.warn("that the file was taken is not noted", err)
	}
}

// hold keeps the file of this node open while it is the cluster's, so that no
// Atlantis can start on it, whoever leads.
func (c *Controller) hold() {
	for c.sleep(c.ctx, time.Second) {
		m := c.Migration()
		if m.LegacyHost != c.cfg.NodeID || m.Mode == lockcluster.ModeEnhanced {
			continue
		}
		ctx, cancel := context.WithTimeout(c.ctx, legacyTimeout)
		if c.setting(settingTaken) != "" {
			_ = c.legacy.take(ctx, &m) // what stands in the way shows when it is used
		} else {
			_, _ = c.legacy.local(ctx)
		}
		cancel()
	}
}
