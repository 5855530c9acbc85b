package node

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/lockcluster/lockcluster/compat/bridge"
	"github.com/lockcluster/lockcluster/compat/health"
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
		Report: func(ctx context.Context, w io.Writer) error {
			status, err := r.controller.Status(ctx)
			if err != nil {
				return err
			}
			return report.Write(w, controller.ReportOf(&status))
		},
	}.Handler()
}

// health is what a status says about the figures of both systems.
func (r *road) health() json.RawMessage {
	b, err := json.Marshal(controller.Health{Answer: r.monitor.Answer(), Series: r.monitor.Series(), Rollback: r.rollback.Status()})
	if err != nil {
		return nil
	}
	return b
}
