package node

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/cluster"
	"github.com/lockcluster/lockcluster/cmd/lockcluster/internal/config"
	"github.com/lockcluster/lockcluster/compat/bridge"
	"github.com/lockcluster/lockcluster/compat/health"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/migration"
	"github.com/lockcluster/lockcluster/migration/controller"
	"github.com/lockcluster/lockcluster/rpc"
)

// road is the node's part of the road between two lock systems: the controller,
// and on the leader the watch over the health of both.
type road struct {
	controller *controller.Controller
	monitor    *health.Monitor
	rollback   *health.RollbackController
	legacy     legacyWatch
	logger     *slog.Logger

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func newRoad(s config.Server, peers *rpc.Peers, settle func(string, lockcluster.Space, string), reg prometheus.Registerer, logger *slog.Logger) (*road, error) {
	recorder, err := health.NewRecorder(reg)
	if err != nil {
		return nil, err
	}
	window, err := health.NewRecorder(nil) // of all nodes, while this one leads
	if err != nil {
		return nil, err
	}
	metrics, err := health.NewMigrationMetrics(reg)
	if err != nil {
		return nil, err
	}
	r := &road{logger: logger}
	r.controller = controller.Open(controller.Config{
		NodeID: s.NodeID, Calls: peers, Attached: attached(s), Settings: s.Settings.Replicated(), Observer: recorder, Window: window, Metrics: metrics,
		Settle: settle, Logger: logger, Health: func() json.RawMessage { return r.health() },
	})
	r.legacy.check, r.legacy.tell = r.controller.CheckLegacy, metrics.LegacyUnreachable
	r.monitor = health.NewMonitor(health.MonitorConfig{
		Recorder: window, Active: r.active, Divergences: func() uint64 { return r.controller.Divergences() },
	})
	r.rollback, err = health.NewRollbackController(health.RollbackConfig{
		Source: r.monitor, Switcher: switcher{r.controller}, Policy: policyOf(bridge.Decode(nil)), Metrics: metrics, OnEvent: r.tell,
	})
	return r, err
}

// attachFollow is the value of --legacy-attach for a file that an Atlantis owns.
const attachFollow = "follow"

// attached is the legacy system that the node's settings name, if any.
func attached(s config.Server) *controller.Attached {
	o := backends.Options{}
	switch {
	case s.LegacyBoltDB != "":
		o.Backend, o.Path = controller.KindBoltDB, s.LegacyBoltDB
	case s.LegacyRedis != "":
		o.Backend, o.URL = controller.KindRedis, s.LegacyRedis
	default:
		return nil
	}
	ns, err := backends.NamespaceOf(o)
	if err != nil {
		ns = lockcluster.DefaultNamespace // the settings were checked; opening tells
	}
	open := func(ctx context.Context) (backends.Backend, error) { return backends.Open(ctx, o) }
	if s.LegacyBoltDB != "" && s.LegacyAttach == attachFollow {
		open = func(ctx context.Context) (backends.Backend, error) { return migration.OpenFollowed(ctx, o.Path, ns) }
	}
	return &controller.Attached{Kind: o.Backend, Namespace: ns, Open: open}
}

// start lets the road work on the node.
func (r *road) start(node *cluster.Node) {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.controller.Start(node)
	r.wg.Go(func() { r.monitor.Run(ctx) })
	r.wg.Go(func() { r.legacy.run(ctx) })
	r.wg.Go(func() { r.rollback.MonitorAndRollback(ctx) })
	r.wg.Go(func() { r.controller.OnSettings(ctx, r.applySettings) })
}

func (r *road) close() error {
	if r.cancel != nil {
		r.cancel()
	}
	r.wg.Wait()
	return r.controller.Close()
}

func (r *road) active() lockcluster.System {
	m := r.controller.Migration()
	return m.Decides(m.Namespace)
}

// applySettings takes over replicated settings that the health watch goes by.
func (r *road) applySettings(settings map[string]string) {
	if err := r.rollback.SetPolicy(policyOf(bridge.Decode(settings))); err != nil {
		r.logger.Warn("the settings of the automatic rollback cannot be used; it keeps those before", "err", err)
	}
}

func policyOf(o bridge.Options) health.RollbackPolicy {
	return health.RollbackPolicy{
		Enabled: o.Rollback.Automatic, Threshold: o.Rollback.Threshold, Window: o.Rollback.Window,
		MinSamples: uint64(max(o.Rollback.MinSamples, 0)), CheckInterval: o.Rollback.CheckInterval,
		Cooldown: o.Rollback.Cooldown, P95Ratio: o.Rollback.P95Ratio,
	}
}

func (r *road) tell(e health.RollbackEvent) {
	if e.Failed != "" {
		r.logger.Error("the automatic rollback failed; nothing more is tried until a person has looked", "reason", e.Reason, "err", e.Failed,
			"advice", "lockcluster migration status, then lockcluster cluster switch legacy")
		return
	}
	r.logger.Warn("rolled back to the legacy system", "reason", e.Reason)
}

// switcher lets the health watch roll back.
type switcher struct{ controller *controller.Controller }

// State implements [health.Switcher].
func (s switcher) State() bool {
	m := s.controller.Migration()
	return m.Legacy != "" && s.controller.Leads() &&
		(m.Mode == lockcluster.ModeBlueGreen && m.Active == lockcluster.SystemEnhanced || m.Mode == lockcluster.ModeGradual)
}

// Rollback implements [health.Switcher].
func (s switcher) Rollback(ctx context.Context, reason string) error {
	_, err := s.controller.Switch(ctx, lockcluster.SwitchRequest{To: lockcluster.SystemLegacy.String(), Reason: reason})
	return err
}

// roadDoor is the road as the gRPC door serves it.
type roadDoor struct {
	road *road
	node *cluster.Node
}

func refusedRoad(err error) error {
	if errors.Is(err, controller.ErrRefused) {
		return &refusedError{err}
	}
	return err
}

// lockDoor is the controller as the gRPC door serves it: a refusal keeps its text.
type lockDoor struct{ *controller.Controller }

// Do implements [rpc.Node].
func (d lockDoor) Do(ctx context.Context, id lockcluster.RequestID, req lockcluster.Request) (lockcluster.Result, error) {
	res, err := d.Controller.Do(ctx, id, req)
	return res, refusedRoad(err)
}

// Read implements [rpc.Node].
func (d lockDoor) Read(ctx context.Context, f func(r state.Reader, index uint64)) error {
	return refusedRoad(d.Controller.Read(ctx, f))
}

// View implements [rpc.Node].
func (d lockDoor) View(ctx context.Context) (*state.View, error) {
	view, err := d.Controller.View(ctx)
	return view, refusedRoad(err)
}

// Switch implements [rpc.Migration].
func (d roadDoor) Switch(ctx context.Context, req lockcluster.SwitchRequest) (lockcluster.SwitchResult, error) {
	res, err := d.road.controller.Switch(ctx, req)
	return res, refusedRoad(err)
}

// SetMode implements [rpc.Migration].
func (d roadDoor) SetMode(ctx context.Context, req lockcluster.ModeRequest) (lockcluster.ModeResult, error) {
	res, err := d.road.controller.SetMode(ctx, req)
	return res, refusedRoad(err)
}

// MigrationStatus implements [rpc.Migration].
func (d roadDoor) MigrationStatus(ctx context.Context) ([]byte, error) {
	s, err := d.road.controller.Status(ctx)
	if err != nil {
		return nil, err
	}
	return json.Marshal(s)
}

// Compare implements [rpc.Migration].
func (d roadDoor) Compare(ctx context.Context) ([]byte, error) {
	out, err := d.road.controller.Compare(ctx)
	if err != nil {
		return nil, refusedRoad(err)
	}
	return json.Marshal(out)
}

// ClearMismatches implements [rpc.Migration].
func (d roadDoor) ClearMismatches(ctx context.Context) error {
	return d.road.controller.ClearMismatches(ctx)
}
