package rpc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/lockcluster/lockcluster"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

// Status describes the cluster as the node sees it that answers; with local
// set, that node asks no other. A node that knows no leader, for example
// because it has just started, is heard only if the others know none either.
func (c *Client) Status(ctx context.Context, local bool) (ClusterStatus, error) {
	out, asked := &pb.StatusResponse{}, 0
	l := limits{total: c.cfg.Timeout, try: c.cfg.TryTimeout}
	err := c.retry(ctx, kindAnyNode, l, func(ctx context.Context, _ *endpoint, cc *grpc.ClientConn) error {
		proto.Reset(out)
		if err := cc.Invoke(ctx, pb.ClusterService_Status_FullMethodName, &pb.StatusRequest{Local: local}, out); err != nil {
			return err
		}
		if asked++; out.GetLeader() == "" && !local && asked < len(c.cfg.Endpoints) {
			return &lockcluster.NotLeaderError{}
		}
		return nil
	})
	if err != nil {
		return ClusterStatus{}, err
	}
	return statusFromPB(out), nil
}

// leaderStatusTimeout bounds the question to a leader whom another node names.
const leaderStatusTimeout = 3 * time.Second

// LeaderStatus is [Client.Status] as the leader sees it. If no node leads, or
// the leader cannot be asked, it is what another node sees: NodeID then differs
// from Leader. Of the endpoints the one that knows most is chosen: a node that
// was removed, or has an empty disk, may answer too.
func (c *Client) LeaderStatus(ctx context.Context) (ClusterStatus, error) {
	s, err := c.Status(ctx, false)
	if err != nil || s.NodeID == s.Leader {
		return s, err
	}
	ctx, cancel := context.WithTimeout(ctx, leaderStatusTimeout)
	defer cancel()
	if of, ok := c.askLeader(ctx, s); ok {
		return of, nil
	}
	// The address by which nodes know the leader may mean nothing here, beside a
	// network of containers for one; one of those that were given may be its.
	best := s
	for _, e := range c.pool.endpoints {
		of, err := c.statusOf(ctx, e, false)
		switch {
		case err != nil || of.ClusterID != s.ClusterID:
		case of.NodeID == of.Leader:
			return of, nil
		case of.knowsMoreThan(best):
			best = of
		}
	}
	if s.Leader == "" {
		if of, ok := c.askLeader(ctx, best); ok {
			return of, nil
		}
	}
	return best, nil
}

// askLeader asks the leader that s names, where s says that it is.
func (c *Client) askLeader(ctx context.Context, s ClusterStatus) (ClusterStatus, bool) {
	addr := s.leaderAddr()
	if addr == "" || c.pool.learn(addr) == nil {
		return s, false
	}
	of, err := c.Status(ctx, false)
	return of, err == nil && of.NodeID == of.Leader && of.ClusterID == s.ClusterID
}

// knowsMoreThan compares two nodes of which neither leads.
func (s ClusterStatus) knowsMoreThan(other ClusterStatus) bool {
	if (s.Leader == "") != (other.Leader == "") {
		return s.Leader != ""
	}
	return s.CommitIndex > other.CommitIndex
}

// leaderAddr is where nodes reach the leader for gRPC, empty if that is not known.
func (s ClusterStatus) leaderAddr() string {
	addr := s.LeaderGRPCAddr
	for _, m := range s.Members {
		if m.ID == s.Leader {
			addr = cmp.Or(addr, m.GRPCAddr)
		}
	}
	return addr
}

// statusOf asks one node, once.
func (c *Client) statusOf(ctx context.Context, e *endpoint, local bool) (ClusterStatus, error) {
	out := &pb.StatusResponse{}
	err := c.once(ctx, e, c.cfg.TryTimeout, func(ctx context.Context, _ *endpoint, cc *grpc.ClientConn) error {
		return cc.Invoke(ctx, pb.ClusterService_Status_FullMethodName, &pb.StatusRequest{Local: local}, out)
	})
	return statusFromPB(out), err
}

// Strangers returns those of the client's endpoints where a node of another
// cluster than clusterID answers, as happens when a new cluster has the address
// of a node that is gone: calls may go to either.
func (c *Client) Strangers(ctx context.Context, clusterID string) []string {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	foreign := make([]bool, len(c.pool.endpoints))
	var wg sync.WaitGroup
	for i, e := range c.pool.endpoints {
		wg.Go(func() {
			s, err := c.statusOf(ctx, e, true)
			foreign[i] = err == nil && s.ClusterID != "" && s.ClusterID != clusterID
		})
	}
	wg.Wait()
	var addrs []string
	for i, e := range c.pool.endpoints {
		if foreign[i] {
			addrs = append(addrs, e.addr)
		}
	}
	return addrs
}

// AddMember adds a node as a non-voter; it becomes a voter when it has caught
// up. raftAddr is its Raft listener. It returns the log index of the change. A
// change that the cluster's state forbids is an [ErrRefused].
func (c *Client) AddMember(ctx context.Context, id, raftAddr string) (uint64, error) {
	out := &pb.AddMemberResponse{}
	err := c.call(ctx, kindChange, pb.ClusterService_AddMember_FullMethodName, &pb.AddMemberRequest{Id: id, Address: raftAddr}, out)
	return out.GetIndex(), err
}

// RemoveMember removes a node for good. Errors as [Client.AddMember].
func (c *Client) RemoveMember(ctx context.Context, id string) (uint64, error) {
	out := &pb.RemoveMemberResponse{}
	err := c.call(ctx, kindChange, pb.ClusterService_RemoveMember_FullMethodName, &pb.RemoveMemberRequest{Id: id}, out)
	return out.GetIndex(), err
}

// TransferLeader hands leadership to the voter with that id, or to the most
// up-to-date one if to is empty, and returns who leads then.
func (c *Client) TransferLeader(ctx context.Context, to string) (string, error) {
	out := &pb.TransferLeaderResponse{}
	err := c.call(ctx, kindChange, pb.ClusterService_TransferLeader_FullMethodName, &pb.TransferLeaderRequest{To: to}, out)
	return out.GetLeader(), err
}

// SnapshotSave writes a backup of the cluster's state to w. It holds stored
// values with their secrets. After an error w holds a part that no restore
// accepts.
func (c *Client) SnapshotSave(ctx context.Context, w io.Writer) error {
	return c.save(ctx, &pb.SnapshotSaveRequest{}, w)
}

// SaveDeciding writes, in the form of a backup, what the lock system holds that
// decides now. It holds stored values as a backup does.
func (c *Client) SaveDeciding(ctx context.Context, w io.Writer) error {
	return c.save(ctx, &pb.SnapshotSaveRequest{Deciding: true}, w)
}

func (c *Client) save(ctx context.Context, req *pb.SnapshotSaveRequest, w io.Writer) error {
	begun := false
	return c.stream(ctx, kindRead, func() bool { return !begun }, func(ctx context.Context, cc *grpc.ClientConn, watch *watch) error {
		stream, err := pb.NewClusterServiceClient(cc).SnapshotSave(ctx, req)
		if err != nil {
			return err
		}
		for {
			watch.begin()
			r, err := stream.Recv()
			watch.end()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			begun = true
			if _, err := w.Write(r.GetChunk()); err != nil {
				return &finalError{fmt.Errorf("write backup: %w", err)}
			}
		}
	})
}

// SnapshotRestore replaces the state of the cluster by the backup in r, which
// the leader verifies first. It is not repeated when its outcome is unknown.
func (c *Client) SnapshotRestore(ctx context.Context, r io.ReadSeeker) (RestoreInfo, error) {
	var info RestoreInfo
	err := c.stream(ctx, kindChange, func() bool { return true }, func(ctx context.Context, cc *grpc.ClientConn, watch *watch) error {
		if _, err := r.Seek(0, io.SeekStart); err != nil {
			return &finalError{fmt.Errorf("read backup: %w", err)}
		}
		stream, err := pb.NewClusterServiceClient(cc).SnapshotRestore(ctx)
		if err != nil {
			return err
		}
		if err := sendChunks(r, watch, func(chunk []byte) error {
			return stream.Send(&pb.SnapshotRestoreRequest{Chunk: chunk})
		}); err != nil {
			return err
		}
		// From here on the node verifies and restores, which takes as long as it
		// takes: only ctx ends it.
		out, err := stream.CloseAndRecv()
		if err != nil {
			return err
		}
		info = RestoreInfo{Index: out.GetIndex(), Epoch: out.GetEpoch()}
		return nil
	})
	return info, err
}

// sendChunks sends all of r. That the other end has hung up is no error: it
// says why in its answer.
func sendChunks(r io.Reader, watch *watch, send func([]byte) error) error {
	buf := make([]byte, chunkBytes)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			watch.begin()
			serr := send(buf[:n])
			watch.end()
			if errors.Is(serr, io.EOF) {
				return nil
			}
			if serr != nil {
				return serr
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return &finalError{fmt.Errorf("read backup: %w", err)}
		}
	}
}

var _ interface {
	Do(context.Context, lockcluster.RequestID, lockcluster.Request) (lockcluster.Result, error)
} = (*Client)(nil)
