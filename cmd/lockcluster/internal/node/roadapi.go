package node

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/compat/bridge"
	"github.com/lockcluster/lockcluster/compat/health"
	"github.com/lockcluster/lockcluster/migration"
	"github.com/lockcluster/lockcluster/migration/controller"
	"github.com/lockcluster/lockcluster/migration/report"
)

// api is what the HTTP door shows of the road.
func (r *road) api() http.Handler {
	return health.API{
		Metrics: func(context.Context) (any, error) { return r.monitor.Answer(), nil },
		Comparison: func(context.Context) (any, error) {
			m := r.monitor.Metrics()
			return m.ComparePerformance(), nil
		},
		Migration: func(ctx context.Context) (any, error) { return r.controller.Status(ctx) },
		Mapping: func(ctx context.Context) (any, error) {
			settings, err := r.controller.Settings(ctx)
			if err != nil {
				return nil, err
			}
			values, _ := bridge.FromSettings(settings)
			return bridge.Mapping(values), nil
		},
		DataValidate: r.validate,
		Report: func(ctx context.Context, w io.Writer) error {
			status, err := r.controller.Status(ctx)
			if err != nil {
				return err
			}
			return report.Write(w, controller.ReportOf(&status))
		},
	}.Handler()
}

// validate checks every record that the system holds that decides now.
func (r *road) validate(ctx context.Context) (any, error) {
	view, err := r.controller.View(ctx)
	if err != nil {
		return nil, err
	}
	ns := lockcluster.DefaultNamespace
	if m := r.controller.Migration(); m.Legacy != "" {
		ns = m.Namespace
	}
	report, err := migration.ValidateView(view, ns, migration.ValidateOptions{CheckCompatibility: true})
	if err != nil {
		return nil, err
	}
	unreadable, err := r.controller.Unreadable(ctx)
	if err != nil {
		return nil, err
	}
	return struct {
		*migration.ValidationReport
		Unreadable []backends.Bad `json:"unreadable"` // of the legacy system: left alone
	}{report, unreadable}, nil
}

// health is what a status says about the figures of both systems.
func (r *road) health() json.RawMessage {
	b, err := json.Marshal(controller.Health{Answer: r.monitor.Answer(), Series: r.monitor.Series(), Rollback: r.rollback.Status()})
	if err != nil {
		return nil
	}
	return b
}
