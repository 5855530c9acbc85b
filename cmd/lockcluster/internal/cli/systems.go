package cli

import (
	"context"
	"errors"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/rpc"
)

// systems knows which lock system decides about a lock. The zero value is a
// cluster without a legacy system.
type systems struct{ migration lockcluster.Migration }

// systems asks a node. What cannot be asked is left open: it is for display.
func (c *client) systems(ctx context.Context) *systems {
	s, _ := c.anySystems(ctx)
	return s
}

// anySystems is systems with an error if no node answers, which has taken all the
// time that there is.
func (c *client) anySystems(ctx context.Context) (*systems, error) {
	st, err := c.Status(ctx, true)
	var unanswered *rpc.UnansweredError
	switch {
	case errors.As(err, &unanswered):
		return nil, err
	case err != nil:
		return nil, nil //nolint:nilerr // it is left open
	}
	s := &systems{}
	s.migration.Namespace, s.migration.GradualEpoch = st.LegacyNamespace, st.GradualEpoch
	s.migration.Mode, _ = lockcluster.ParseMode(st.Mode) // a mode of a newer version is none of ours
	base := st.ActiveSystem
	if st.GradualEpoch != 0 {
		base = st.GradualBase
	}
	s.migration.Active, _ = lockcluster.ParseSystem(base)
	return s, nil
}

// of names the system that decides about l, empty when that is not known.
func (s *systems) of(l *lockcluster.Lock) string {
	if s == nil {
		return ""
	}
	if system := s.migration.Decides(l.Key.Namespace); system != 0 {
		return system.String()
	}
	return s.migration.HomeOf(l.Home).String()
}
