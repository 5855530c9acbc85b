package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// legacyReads reports whether reads of m's namespace are the legacy system's to
// answer. In ModeGradual the enhanced system has a copy of everything that was
// acknowledged.
func legacyReads(m *lockcluster.Migration) bool {
	return m.Decides(m.Namespace) == lockcluster.SystemLegacy
}

// Read calls f with a state that contains everything answered before the call:
// the enhanced system's, with the legacy system's namespace as that has it
// while it decides. f must be short and must not block.
//
// A legacy read is of a moment after the migration state was read, and the
// legacy system then holds what was decided up to some moment after the call,
// by whichever system: a mirror is never ahead of its source, nor behind what
// it was when the gate opened.
func (c *Controller) Read(ctx context.Context, f func(r state.Reader, index uint64)) error {
	var m lockcluster.Migration
	index := uint64(0)
	err := c.node.Read(ctx, func(r state.Reader, at uint64) {
		if m = state.GetMigration(r); legacyReads(&m) {
			index = at
			return
		}
		f(r, at)
	})
	if err != nil || !legacyReads(&m) {
		return err
	}
	if err := c.unclaimed(ctx, &m); err != nil {
		return c.legacyErr(&m, err)
	}
	view, _ := c.node.StaleView()
	return c.legacyErr(&m, c.legacy.read(ctx, &m, func(r state.Reader) {
		f(composite{namespace: m.Namespace, legacy: r, enhanced: view}, index)
	}))
}

// View returns such a state to keep. A legacy picture is taken again if the
// migration state has changed meanwhile: a mirror is brought up record by
// record, so that while it is behind it is no picture of one moment.
func (c *Controller) View(ctx context.Context) (*state.View, error) {
	for {
		view, err := c.node.View(ctx)
		if err != nil {
			return nil, err
		}
		m := state.GetMigration(view)
		if !legacyReads(&m) {
			return view, nil
		}
		if err := c.unclaimed(ctx, &m); err != nil {
			return nil, c.legacyErr(&m, err)
		}
		legacy, err := c.legacy.view(ctx, &m)
		if err != nil {
			return nil, c.legacyErr(&m, err)
		}
		var epoch uint64
		if err := c.node.Read(ctx, func(r state.Reader, _ uint64) { epoch = state.GetMigration(r).Epoch }); err != nil {
			return nil, err
		}
		if epoch == m.Epoch {
			return join(view, legacy, m.Namespace), nil
		}
	}
}

// legacyErr makes an unreachable legacy system what an unreachable leader is:
// nobody there to answer, try again. Of another store than the attached one
// nothing is told.
func (c *Controller) legacyErr(m *lockcluster.Migration, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, backends.ErrOtherStore):
		if t := c.currentTerm(); t != nil {
			t.doubtStore(m, err)
		}
		return fmt.Errorf("%w: %w", ErrRefused, c.advised(m, err))
	}
	return fmt.Errorf("%w: the legacy system decides now and does not answer: %w", lockcluster.ErrNoLeader, err)
}

// composite reads one namespace from the legacy system, and all else from the
// enhanced one.
type composite struct {
	namespace        string
	legacy, enhanced state.Reader
}

func (c composite) of(key string) state.Reader {
	if ns, ok := state.NamespaceOfRecord(key); ok && ns == c.namespace {
		return c.legacy
	}
	return c.enhanced
}

// Get implements [state.Reader].
func (c composite) Get(key string) ([]byte, bool) { return c.of(key).Get(key) }

// Scan implements [state.Reader]. A prefix that does not name its namespace
// whole would have to be merged; nobody asks for one.
func (c composite) Scan(prefix, from string, yield func(key string, value []byte) bool) {
	c.of(prefix).Scan(prefix, from, yield)
}

// join returns one view of both systems. Where the enhanced system holds no
// other namespace it is the legacy system's own.
func join(enhanced, legacy *state.View, namespace string) *state.View {
	others := false
	for _, ns := range state.Namespaces(enhanced) {
		others = others || ns != namespace
	}
	if !others {
		return legacy
	}
	mem := state.NewMem()
	index, term := enhanced.Index(), enhanced.Term()
	mem.Update(index, term, func(tx state.Tx) {
		legacy.Scan("", "", func(key string, value []byte) bool {
			tx.Put(strings.Clone(key), value)
			return true
		})
		enhanced.Scan("", "", func(key string, value []byte) bool {
			if ns, ok := state.NamespaceOfRecord(key); ok && ns != namespace {
				tx.Put(key, value)
			}
			return true
		})
	})
	return mem.View()
}
