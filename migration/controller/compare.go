package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// comparedMax bounds the differing records that are named.
const comparedMax = 1000

// Comparison is how what the two systems hold differs at this moment. A mirror
// that is at work may be a moment behind.
type Comparison struct {
	Namespace    string       `json:"namespace"`
	Equal        int          `json:"equal"`
	OnlyLegacy   int          `json:"only_legacy"`
	OnlyEnhanced int          `json:"only_enhanced"`
	Differ       int          `json:"differ"`
	Records      []Difference `json:"records"` // at most 1000

	bothDecide bool // see [sameHolder]
}

// Difference is one record that the two systems do not hold alike. It holds no
// stored value.
type Difference struct {
	Kind     string `json:"kind"` // lock, command lock or document
	Key      string `json:"key"`
	Legacy   string `json:"legacy"`   // who holds it there; empty: nobody
	Enhanced string `json:"enhanced"` // the same
	// Parts are what both have and not alike; none of a record that one system lacks.
	Parts []PartDifference `json:"parts,omitempty"`
}

var spaceNames = map[lockcluster.Space]string{
	lockcluster.SpaceLock: "lock", lockcluster.SpaceCommand: "command lock", lockcluster.SpaceDocument: "document",
}

// Compare compares what the two systems hold.
func (c *Controller) Compare(ctx context.Context) (Comparison, error) {
	out, err := c.control(ctx, controlRequest{Compare: true})
	if err != nil || out.Compare == nil {
		return Comparison{}, err
	}
	return *out.Compare, nil
}

func (t *term) compareSystems(ctx context.Context) (*Comparison, error) {
	m := t.c.Migration()
	if m.Legacy == "" {
		return nil, fmt.Errorf("%w: no legacy system is attached, there is nothing to compare; \"lockcluster migration status\" says whether a node has one", ErrRefused)
	}
	ctx, cancel := answerable(ctx)
	defer cancel()
	mine, _ := t.c.node.StaleView()
	old, err := t.legacyView(ctx, &m)
	switch {
	case errors.Is(err, backends.ErrOtherStore): // no other try would find the right one
		return nil, fmt.Errorf("%w: %w", ErrRefused, t.c.advised(&m, err))
	case err != nil: // that is an answer: another node would find no more
		return nil, fmt.Errorf("%w: %w", ErrRefused, away(&m, err))
	}
	return compareViews(old, mine, m.Namespace, m.Mode == lockcluster.ModeShadow), nil
}

// away says which legacy system cannot be read, and what to do.
func away(m *lockcluster.Migration, err error) error {
	if m.LegacyHost == "" {
		return fmt.Errorf("the legacy system (%s) cannot be read: %w; bring it back, \"lockcluster migration status\" tells when it answers", m.Legacy, err)
	}
	return fmt.Errorf("the legacy system (%s on node %s) cannot be read: %w; bring it and the node back, \"lockcluster migration status\" tells when it answers",
		m.Legacy, m.LegacyHost, err)
}

// answerable bounds what is done for a person with the legacy system, so that who
// asks is still there to be told that it does not answer.
func answerable(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := 4 * legacyTimeout
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)*4/5)
	}
	return context.WithTimeout(ctx, limit)
}

// legacyView returns what the legacy system holds, or an error when ctx ends: the
// call may take longer, for example behind another one that opens a silent Redis.
func (t *term) legacyView(ctx context.Context, m *lockcluster.Migration) (*state.View, error) {
	var view *state.View
	var err error // with view, read only after done
	done := make(chan struct{})
	t.spawn(func() {
		defer close(done)
		view, err = t.c.legacy.view(ctx, m)
	})
	select {
	case <-done:
		return view, err
	case <-ctx.Done():
	case <-t.ctx.Done():
	}
	return nil, fmt.Errorf("%w: it does not answer", backends.ErrUnavailable)
}

// compareViews compares two systems that both decide, or of which one is the copy.
func compareViews(old, mine state.Reader, ns string, bothDecide bool) *Comparison {
	alike := same
	if bothDecide {
		alike = sameHolder
	}
	out := &Comparison{Namespace: ns, Records: []Difference{}, bothDecide: bothDecide}
	for _, space := range []lockcluster.Space{lockcluster.SpaceLock, lockcluster.SpaceCommand, lockcluster.SpaceDocument} {
		state.Keys(old, ns, space, "", func(key string) bool {
			switch {
			case state.Revision(mine, ns, space, key) == 0:
				out.OnlyLegacy++
			case alike(mine, old, ns, space, key):
				out.Equal++
				return true
			default:
				out.Differ++
			}
			out.name(space, key, old, mine)
			return true
		})
		state.Keys(mine, ns, space, "", func(key string) bool {
			if state.Revision(old, ns, space, key) == 0 {
				out.OnlyEnhanced++
				out.name(space, key, old, mine)
			}
			return true
		})
	}
	return out
}

// sameHolder reports whether two systems that both decide hold a record for the
// same owner with the same content. Tokens, revisions and times are each
// system's own then; a switch carries those of the authority over.
func sameHolder(a, b state.Reader, ns string, space lockcluster.Space, key string) bool {
	switch space {
	case lockcluster.SpaceLock:
		x, y := state.GetLock(a, ns, key), state.GetLock(b, ns, key)
		return x != nil && y != nil && x.Key == y.Key && x.Owner == y.Owner && string(x.Value) == string(y.Value)
	case lockcluster.SpaceCommand:
		x, y := state.GetCommandLock(a, ns, key), state.GetCommandLock(b, ns, key)
		return x != nil && y != nil && string(x.Value) == string(y.Value)
	}
	x, y := state.GetDocument(a, ns, key), state.GetDocument(b, ns, key)
	return x != nil && y != nil && string(x.Value) == string(y.Value) && x.TTL == y.TTL
}

func (c *Comparison) name(space lockcluster.Space, key string, old, mine state.Reader) {
	if len(c.Records) < comparedMax {
		ref := lockcluster.RecordRef{Namespace: c.Namespace, Space: space, Key: key}
		c.Records = append(c.Records, Difference{
			Kind: spaceNames[space], Key: key, Legacy: holder(old, ref), Enhanced: holder(mine, ref), Parts: differingParts(old, mine, ref, c.bothDecide),
		})
	}
}

// holder says who holds a record, or of when it is.
func holder(r state.Reader, ref lockcluster.RecordRef) string {
	switch ref.Space {
	case lockcluster.SpaceLock:
		if l := state.GetLock(r, ref.Namespace, ref.Key); l != nil {
			return l.Owner.String()
		}
	case lockcluster.SpaceCommand:
		if l := state.GetCommandLock(r, ref.Namespace, ref.Key); l != nil {
			return "locked"
		}
	case lockcluster.SpaceDocument:
		if d := state.GetDocument(r, ref.Namespace, ref.Key); d != nil {
			return "revision " + strconv.FormatUint(d.Revision, 10)
		}
	}
	return ""
}

// findAttached returns the legacy system that this node was configured with,
// or, asked in turn, another one.
func (c *Controller) findAttached(ctx context.Context) *attachRequest {
	if c.cfg.Attached != nil {
		return &attachRequest{Kind: c.cfg.Attached.Kind, Host: c.attachedHost(), Namespace: c.cfg.Attached.Namespace}
	}
	for id, addr := range c.nodes() {
		if a := c.askAttached(ctx, id, addr); a != nil && a.Kind != "" {
			return a
		}
	}
	return nil
}

func (c *Controller) serveAttached() ([]byte, error) {
	a := attachRequest{Settings: c.cfg.Settings}
	if c.cfg.Attached != nil {
		a.Kind, a.Host, a.Namespace = c.cfg.Attached.Kind, c.attachedHost(), c.cfg.Attached.Namespace
	}
	return json.Marshal(a)
}
