package rpc

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// healthPeriod is how often a watched health is looked at.
const healthPeriod = time.Second

// health is grpc.health.v1: serving means ready. It looks at the checks when
// it is asked, so it never lags.
type health struct {
	healthpb.UnimplementedHealthServer
	server *Server
}

func (h *health) status(ctx context.Context) healthpb.HealthCheckResponse_ServingStatus {
	if h.server.checks(ctx, nil) {
		return healthpb.HealthCheckResponse_SERVING
	}
	return healthpb.HealthCheckResponse_NOT_SERVING
}

func (h *health) known(service string) bool {
	if service == "" {
		return true
	}
	_, ok := h.server.grpc.GetServiceInfo()[service]
	return ok
}

func (h *health) Check(ctx context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if !h.known(r.GetService()) {
		return nil, status.Error(codes.NotFound, "unknown service")
	}
	return &healthpb.HealthCheckResponse{Status: h.status(ctx)}, nil
}

func (h *health) Watch(r *healthpb.HealthCheckRequest, stream grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	last := healthpb.HealthCheckResponse_UNKNOWN
	tick := time.NewTicker(healthPeriod)
	defer tick.Stop()
	for {
		now := healthpb.HealthCheckResponse_SERVICE_UNKNOWN
		if h.known(r.GetService()) {
			now = h.status(stream.Context())
		}
		if now != last {
			if err := stream.Send(&healthpb.HealthCheckResponse{Status: now}); err != nil {
				return err
			}
			last = now
		}
		select {
		case <-tick.C:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		case <-h.server.stop:
			return status.Error(codes.Unavailable, "the node is stopping")
		}
	}
}
