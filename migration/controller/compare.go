package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

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
}

// Difference is one record that the two systems do not hold alike. It holds no
// stored value.
type Difference struct {
	Kind     string `json:"kind"` // lock, command lock or document
	Key      string `json:"key"`
	Legacy   string `json:"legacy"`   // who holds it there; empty: nobody
	Enhanced string `json:"enhanced"` // the same
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
		return nil, fmt.Errorf("%w: no legacy system is attached, there is nothing to compare", ErrRefused)
	}
	mine, _ := t.c.node.StaleView()
	old, err := t.c.legacy.view(ctx, &m)
	switch {
	case errors.Is(err, backends.ErrOtherStore): // no other try would find the right one
		return nil, fmt.Errorf("%w: %w", ErrRefused, t.c.advised(&m, err))
	case err != nil:
		return nil, err
	}
	alike := same
	if m.Mode == lockcluster.ModeShadow {
		alike = sameHolder
	}
	out := &Comparison{Namespace: m.Namespace, Records: []Difference{}}
	for _, space := range []lockcluster.Space{lockcluster.SpaceLock, lockcluster.SpaceCommand, lockcluster.SpaceDocument} {
		state.Keys(old, m.Namespace, space, "", func(key string) bool {
			switch {
			case state.Revision(mine, m.Namespace, space, key) == 0:
				out.OnlyLegacy++
			case alike(mine, old, m.Namespace, space, key):
				out.Equal++
				return true
			default:
				out.Differ++
			}
			out.name(space, key, old, mine)
			return true
		})
		state.Keys(mine, m.Namespace, space, "", func(key string) bool {
			if state.Revision(old, m.Namespace, space, key) == 0 {
				out.OnlyEnhanced++
				out.name(space, key, old, mine)
			}
			return true
		})
	}
	return out, nil
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
		c.Records = append(c.Records, Difference{Kind: spaceNames[space], Key: key, Legacy: holder(old, ref), Enhanced: holder(mine, ref)})
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
