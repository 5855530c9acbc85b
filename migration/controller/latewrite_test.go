package controller

import (
	"errors"
	"strings"
	"testing"

	"github.com/lockcluster/lockcluster"
)

// A write whose outcome is not known may still be on its way to the legacy
// host. When it gets there others have been decided since: it is refused.
func TestLateWriteOfTheSameLeader(t *testing.T) {
	for _, mode := range []lockcluster.Mode{lockcluster.ModeLegacy, lockcluster.ModeBlueGreen, lockcluster.ModeShadow, lockcluster.ModeGradual} {
		t.Run(mode.String(), func(t *testing.T) {
			s := newSite(t, nil)
			s.inMode(lockcluster.ModeLegacy)
			if mode != lockcluster.ModeLegacy {
				s.mustMode(mode, nil)
			}
			s.lead("n2")
			var late func() ([]byte, error)
			s.setHooks(nil, func(from, _, method string, next func() ([]byte, error)) ([]byte, error) {
				s.mu.Lock()
				first := late == nil && strings.HasPrefix(method, methodDo)
				if first {
					late = next
				}
				s.mu.Unlock()
				if first {
					return nil, errors.New("i/o timeout")
				}
				return next()
			}, nil)
			s.want("n2", acquire("acme/app", 7), lockcluster.StatusGranted)
			s.want("n2", release("acme/app", 7), lockcluster.StatusReleased)
			if out, err := late(); err != nil || len(out) == 0 || out[0] != endFenced {
				t.Errorf("the late write: %v %v", out, err)
			}
			s.want("n3", acquire("acme/app", 8), lockcluster.StatusGranted)
		})
	}
}
