package node

import (
	"context"
	"net/http"

	"github.com/lockcluster/lockcluster/compat/bridge"
	"github.com/lockcluster/lockcluster/compat/health"
)

// api is what the HTTP door shows of the road.
func (r *road) api() http.Handler {
	return health.API{
		Metrics:    func(context.Context) (any, error) { return r.monitor.Answer(), nil },
		Comparison: func(context.Context) (any, error) {
			m := r.monitor.Metrics()
			return m.ComparePerformance(), nil
		},
		Migration:  func(ctx context.Context) (any, error) { return r.controller.Status(ctx) },
		Mapping: func(ctx context.Context) (any, error) {
			settings, err := r.controller.Settings(ctx)
			if err != nil {
				return nil, err
			}
			values, _ := bridge.FromSettings(settings)
			return bridge.Mapping(values), nil
		},
	}.Handler()
}
