package rpc

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

// Limits of a server, and of the clients and peers that talk to it.
const (
	// MessageSizeMax bounds one request: a value of the largest size, its key
	// and what stands around them. Imports are split to fit.
	MessageSizeMax = 9 << 20
	// requestSizeMax is the same between nodes: a command that one node has taken
	// through another door must reach the leader.
	requestSizeMax = 17 << 20
	// answerSizeMax bounds one answer: a ReleaseByPull may give back many locks.
	answerSizeMax = 64 << 20
	// streamsMax bounds the calls in flight on one connection.
	streamsMax = 1024
	// streamWindow and connectionWindow are how much may be on its way, unread.
	// Fixed windows make grpc leave out the ping with which it measures the
	// network at every message: a third of all system calls of a unary call.
	streamWindow     = 1 << 20
	connectionWindow = 2 << 20
	// workers is how many calls are served by goroutines that stay, whose stacks
	// have grown already; more calls get goroutines of their own.
	workers = 256
	// connectionsMax bounds the connections of the gRPC listener, httpConnectionsMax
	// those of the HTTP listener; more wait to be accepted.
	connectionsMax     = 10_000
	httpConnectionsMax = 256
	// keepaliveMin is how often a client may ask whether the server is there.
	keepaliveMin = 5 * time.Second
	// streamTimeout bounds a stream whose caller set no deadline.
	streamTimeout = 10 * time.Minute
)

// Config is what a [Server] needs to know beside its [System].
type Config struct {
	GRPCAddr string // host:port to listen on
	HTTPAddr string // host:port to listen on; empty: no HTTP listener
	TLS      *tls.Config
	// RequestTimeout is the deadline of a call that comes without one (10 s).
	RequestTimeout time.Duration
	Logger         *slog.Logger          // default: discards
	Registerer     prometheus.Registerer // nil: no metrics of this package
	Gatherer       prometheus.Gatherer   // what /metrics shows; nil: /metrics is not found
	// API answers what is below /api/enhanced-locks/ on the HTTP listener; nil:
	// nothing is found there.
	API http.Handler
}

// Server is an open gRPC listener and, if configured, an HTTP listener. Use
// [Open] and [Server.Close].
type Server struct {
	cfg     Config
	sys     System
	log     *slog.Logger
	metrics *metrics

	grpc         *grpc.Server
	http         *http.Server
	grpcListener net.Listener
	httpListener net.Listener

	draining atomic.Bool
	stop     chan struct{} // closed when Close begins
	stopOnce sync.Once
	wg       sync.WaitGroup
}

// Open listens and serves until [Server.Close]. The listeners are bound when it
// returns; whether the node is ready is for its checks to say.
func Open(cfg Config, sys System) (*Server, error) {
	if sys.Node == nil || sys.NodeID == "" {
		return nil, errors.New("open server: no node to serve")
	}
	cfg.RequestTimeout = cmp.Or(cfg.RequestTimeout, 10*time.Second)
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	s := &Server{cfg: cfg, sys: sys, log: cfg.Logger, metrics: newMetrics(), stop: make(chan struct{})}
	if err := s.listen(); err != nil {
		return nil, err
	}
	s.grpc = s.newGRPC()
	s.metrics.prepare(s.grpc.GetServiceInfo())
	if cfg.Registerer != nil {
		if err := s.metrics.register(cfg.Registerer); err != nil {
			s.closeListeners()
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	s.wg.Go(func() { s.served("gRPC", s.grpc.Serve(s.grpcListener)) })
	if s.httpListener != nil {
		s.http = s.newHTTP()
		s.wg.Go(func() { s.served("HTTP", s.http.Serve(s.httpListener)) })
	}
	return s, nil
}

func (s *Server) listen() error {
	l, err := listen("gRPC", s.cfg.GRPCAddr, connectionsMax)
	if err != nil {
		return err
	}
	s.grpcListener = l
	if s.cfg.HTTPAddr == "" {
		return nil
	}
	l, err = listen("HTTP", s.cfg.HTTPAddr, httpConnectionsMax)
	if err != nil {
		s.closeListeners()
		return err
	}
	if s.cfg.TLS != nil {
		l = tls.NewListener(l, s.cfg.TLS)
	}
	s.httpListener = l
	return nil
}

func listen(what, addr string, connections int) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for %s on %q: %w; is another process using the port? Give a free host:port", what, addr, err)
	}
	return netutil.LimitListener(l, connections), nil
}

func (s *Server) closeListeners() {
	for _, l := range []net.Listener{s.grpcListener, s.httpListener} {
		if l != nil {
			_ = l.Close() // nothing was served
		}
	}
}

func (s *Server) newGRPC() *grpc.Server {
	opts := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(requestSizeMax),
		grpc.MaxConcurrentStreams(streamsMax),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveMin, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.ConnectionTimeout(5 * time.Second),
		grpc.NumStreamWorkers(workers),
		grpc.ForceServerCodecV2(theCodec),
		grpc.UnaryInterceptor(s.interceptUnary),
		grpc.StreamInterceptor(s.interceptStream),
	}
	if s.cfg.TLS != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(s.cfg.TLS)))
	}
	g := grpc.NewServer(opts...)
	pb.RegisterLockServiceServer(g, &lockService{node: s.sys.Node, nodeID: s.sys.NodeID})
	pb.RegisterClusterServiceServer(g, &clusterService{cluster: s.sys.Cluster, backup: s.sys.Backup})
	pb.RegisterNodeServiceServer(g, &nodeService{peer: s.sys.Peer, intents: s.sys.Intents, caller: s.sys.Caller})
	pb.RegisterMigrationServiceServer(g, &migrationService{migration: s.sys.Migration})
	healthpb.RegisterHealthServer(g, &health{server: s})
	reflection.Register(g)
	return g
}

func (s *Server) served(what string, err error) {
	select {
	case <-s.stop:
	default:
		if err != nil {
			s.log.Error("listener failed", "listener", what, "err", err)
		}
	}
}

// GRPCAddr returns the address of the gRPC listener.
func (s *Server) GRPCAddr() string { return s.grpcListener.Addr().String() }

// HTTPAddr returns the address of the HTTP listener, empty if there is none.
func (s *Server) HTTPAddr() string {
	if s.httpListener == nil {
		return ""
	}
	return s.httpListener.Addr().String()
}

// Drain makes the node not ready, for good: load balancers stop sending, while
// calls are still served.
func (s *Server) Drain() { s.draining.Store(true) }

// Close drains, refuses new calls, lets those in flight end until ctx does, and
// closes the listeners. It returns ctx's error if it had to cut calls off.
func (s *Server) Close(ctx context.Context) error {
	s.Drain()
	s.stopOnce.Do(func() { close(s.stop) })
	var err error
	graceful := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(graceful)
	}()
	select {
	case <-graceful:
	case <-ctx.Done():
		err = ctx.Err()
		s.grpc.Stop()
		<-graceful
	}
	if s.http != nil {
		if herr := s.http.Shutdown(ctx); herr != nil {
			_ = s.http.Close() // what is cut off is a scrape or a probe
		}
	}
	s.wg.Wait()
	return err
}

// checks runs all checks of the node and calls each with the outcome. It
// returns whether the node is ready.
func (s *Server) checks(ctx context.Context, each func(c Check, err error)) bool {
	ready := true
	report := func(c Check, err error) {
		ready = ready && (err == nil || c.Advisory)
		if each != nil {
			each(c, err)
		}
	}
	var err error
	if s.draining.Load() {
		err = errors.New("the node is stopping")
	}
	report(Check{Name: "accepting"}, err)
	for _, c := range s.sys.Checks {
		report(c, c.Run(ctx))
	}
	return ready
}
