package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat/bridge"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// A new cluster serves nobody before it is known whether one of its nodes has a
// legacy system: a lock that the enhanced system granted meanwhile could be held
// in the legacy one. The leader asks the nodes, and that it has is kept for ever.
// Later a configuration attaches a legacy system only to a cluster that holds
// nothing and never had one; else that takes an administrator.
const (
	settingFounded = internalPrefix + "founded"
	// settingConfigured says that the founder's settings have been taken over.
	settingConfigured = internalPrefix + "configured"
	// foundPatience is how long the leader waits for all nodes of a new cluster.
	foundPatience = 3 * time.Second
)

func (c *Controller) setting(name string) (value string) {
	c.node.StaleRead(func(r state.Reader, _ uint64) { value = state.GetSetting(r, name) })
	return value
}

func (c *Controller) isFounded() bool {
	if c.founded.Load() {
		return true
	}
	if c.setting(settingFounded) == "" {
		return false
	}
	c.founded.Store(true)
	return true
}

func (c *Controller) awaitFounded(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.cfg.RequestTimeout)
		defer cancel()
	}
	for !c.isFounded() {
		if !c.sleep(ctx, retryPause) {
			return fmt.Errorf("%w: the cluster is new and not founded yet", lockcluster.ErrNoLeader)
		}
	}
	return nil
}

// foundCluster asks the nodes of a new cluster for a legacy system. The caller is
// alone. It reports whether the cluster is founded.
func (t *term) foundCluster() bool {
	if t.c.isFounded() {
		return true
	}
	view, _ := t.c.node.StaleView()
	if len(state.Namespaces(view)) > 0 || t.c.Migration().Mode != lockcluster.ModeEnhanced {
		return t.markFounded(t.ctx) == nil // it has served before
	}
	for until := time.Now().Add(foundPatience); ; {
		asked := 0
		for id, addr := range t.c.nodes() {
			a := t.c.askAttached(t.ctx, id, addr)
			if a == nil {
				continue
			}
			if asked++; a.Kind != "" {
				if err := t.attach(t.ctx, a); err != nil {
					t.warnOnce("the legacy system cannot be attached yet", err)
					return false
				}
				return true
			}
		}
		if asked >= t.c.node.Size() || time.Now().After(until) {
			break
		}
		if !t.c.sleep(t.ctx, dutyPause) {
			return false
		}
	}
	return t.markFounded(t.ctx) == nil
}

func (t *term) markFounded(ctx context.Context) error {
	return t.store(ctx, map[string]string{settingFounded: "true"})
}

// nodes returns the gRPC addresses of the nodes that have registered.
func (c *Controller) nodes() map[string]string {
	out := map[string]string{}
	c.node.StaleRead(func(r state.Reader, _ uint64) {
		state.Nodes(r, func(n lockcluster.RegisterNode) bool {
			out[n.NodeID] = n.GRPCAddr
			return true
		})
	})
	return out
}

// askAttached returns the legacy system of a node, without a kind if it has
// none; nil if the node does not answer.
func (c *Controller) askAttached(ctx context.Context, id, addr string) *attachRequest {
	var body []byte
	var err error
	if id == c.cfg.NodeID {
		body, err = c.serveAttached()
	} else {
		ctx, cancel := context.WithTimeout(ctx, foundPatience)
		defer cancel()
		body, err = c.ask(ctx, addr, methodAttached, nil)
	}
	a := &attachRequest{}
	if err != nil || len(body) > 0 && json.Unmarshal(body, a) != nil {
		return nil
	}
	return a
}

// attach begins a new cluster in ModeLegacy, and with the settings that its
// founder was given.
func (t *term) attach(ctx context.Context, a *attachRequest) error {
	m := t.c.Migration()
	if a.Kind != "" && m.Mode == lockcluster.ModeEnhanced && m.Legacy == "" {
		if !m.ChangedAt.IsZero() {
			// It had one, and was told to let it go: its locks are old.
			return fmt.Errorf("%w: the cluster was detached from a legacy system before", ErrRefused)
		}
		next := lockcluster.Migration{
			Mode: lockcluster.ModeLegacy, Active: lockcluster.SystemLegacy, Legacy: a.Kind, LegacyHost: a.Host, Namespace: a.Namespace,
			Reason: "a node was configured with a legacy system",
		}
		m, err := t.propose(ctx, lockcluster.SetMigration{ExpectedEpoch: m.Epoch, IfEmpty: true, Next: next})
		if err != nil {
			return err
		}
		t.c.log.Info("the legacy system was attached", "kind", a.Kind, "host", a.Host, "namespace", a.Namespace, "epoch", m.Epoch)
		t.ready.Store(false)
		if err := t.markFounded(ctx); err != nil {
			t.takeOverAgain()
			return err
		}
		if err := t.alignAttached(ctx, &m); err != nil {
			t.warnOnce("this node cannot decide yet", err)
			t.spawn(func() { t.realignAfter(0) })
		} else {
			t.decideAgain(0)
		}
	}
	return t.configure(ctx, a)
}

// configure stores the settings that a new cluster starts with, once.
func (t *term) configure(ctx context.Context, a *attachRequest) error {
	if t.c.setting(settingConfigured) != "" || len(a.Settings) == 0 {
		return nil
	}
	settings := maps.Clone(a.Settings)
	m := t.c.Migration()
	if m.Legacy != "" && t.ready.Load() {
		if err := t.follow(ctx, &m, settings, bridge.Site{Legacy: m.Legacy}, "the settings that the cluster was started with"); err != nil {
			return err
		}
	}
	settings[settingConfigured] = "true"
	return t.store(ctx, settings)
}
