package rpc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"github.com/lockcluster/lockcluster"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

// clusterService shows and changes the cluster.
type clusterService struct {
	pb.UnimplementedClusterServiceServer
	cluster Cluster
	backup  Backup
}

func (c *clusterService) Status(ctx context.Context, r *pb.StatusRequest) (*pb.StatusResponse, error) {
	if c.cluster == nil {
		return nil, ErrUnimplemented
	}
	st, err := c.cluster.Status(ctx, r.GetLocal())
	if err != nil {
		return nil, err
	}
	return statusToPB(&st), nil
}

func (c *clusterService) AddMember(ctx context.Context, r *pb.AddMemberRequest) (*pb.AddMemberResponse, error) {
	switch {
	case c.cluster == nil:
		return nil, ErrUnimplemented
	case r.GetId() == "" || r.GetAddress() == "":
		return nil, fmt.Errorf("%w: a member needs an id and the host:port of its Raft listener", lockcluster.ErrInvalid)
	}
	index, err := c.cluster.AddMember(ctx, r.GetId(), r.GetAddress())
	return &pb.AddMemberResponse{Index: index}, err
}

func (c *clusterService) RemoveMember(ctx context.Context, r *pb.RemoveMemberRequest) (*pb.RemoveMemberResponse, error) {
	switch {
	case c.cluster == nil:
		return nil, ErrUnimplemented
	case r.GetId() == "":
		return nil, fmt.Errorf("%w: which member? Give its id", lockcluster.ErrInvalid)
	}
	index, err := c.cluster.RemoveMember(ctx, r.GetId())
	return &pb.RemoveMemberResponse{Index: index}, err
}

func (c *clusterService) TransferLeader(ctx context.Context, r *pb.TransferLeaderRequest) (*pb.TransferLeaderResponse, error) {
	if c.cluster == nil {
		return nil, ErrUnimplemented
	}
	leader, err := c.cluster.TransferLeader(ctx, r.GetTo())
	return &pb.TransferLeaderResponse{Leader: leader}, err
}

func (c *clusterService) SnapshotSave(r *pb.SnapshotSaveRequest, stream grpc.ServerStreamingServer[pb.SnapshotSaveResponse]) error {
	if c.backup == nil {
		return ErrUnimplemented
	}
	w := bufio.NewWriterSize(writerFunc(func(b []byte) error {
		return stream.Send(&pb.SnapshotSaveResponse{Chunk: b})
	}), chunkBytes)
	save := c.backup.SnapshotSave
	if r.GetDeciding() {
		save = c.backup.SaveDeciding
	}
	if err := save(stream.Context(), w); err != nil {
		return err
	}
	return w.Flush()
}

func (c *clusterService) SnapshotRestore(stream grpc.ClientStreamingServer[pb.SnapshotRestoreRequest, pb.SnapshotRestoreResponse]) error {
	if c.backup == nil {
		return ErrUnimplemented
	}
	info, err := c.backup.SnapshotRestore(stream.Context(), &chunkReader{next: func() ([]byte, error) {
		r, err := stream.Recv()
		return r.GetChunk(), err
	}})
	if err != nil {
		return err
	}
	return stream.SendAndClose(&pb.SnapshotRestoreResponse{Index: info.Index, Epoch: info.Epoch})
}

// writerFunc sends each write as one message; a bufio.Writer before it makes
// the chunks.
type writerFunc func(b []byte) error

func (f writerFunc) Write(b []byte) (int, error) {
	for from := 0; from < len(b); from += chunkBytes {
		if err := f(b[from:min(from+chunkBytes, len(b))]); err != nil {
			return from, err
		}
	}
	return len(b), nil
}

// chunkReader reads a stream of chunks. Only the sender's orderly end is
// io.EOF: a stream that breaks is an error, never a short backup.
type chunkReader struct {
	next func() ([]byte, error)
	rest []byte
	err  error
}

func (r *chunkReader) Read(b []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.rest, r.err = r.next()
		if r.err != nil && !errors.Is(r.err, io.EOF) {
			r.err = fmt.Errorf("receive backup: %w", r.err)
		}
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func statusToPB(s *ClusterStatus) *pb.StatusResponse {
	out := &pb.StatusResponse{
		NodeId: s.NodeID, ClusterId: s.ClusterID, Leader: s.Leader, LeaderGrpcAddress: s.LeaderGRPCAddr, Term: s.Term,
		CommitIndex: s.CommitIndex, Mode: s.Mode, ActiveSystem: s.ActiveSystem, Epoch: s.Epoch, Version: s.Version,
		Locks: s.Locks, CommandLocks: s.CommandLocks, Documents: s.Documents,
		LegacyNamespace: s.LegacyNamespace, GradualEpoch: s.GradualEpoch, GradualBase: s.GradualBase,
	}
	for _, m := range s.Members {
		out.Members = append(out.Members, &pb.Member{
			Id: m.ID, Address: m.Address, Role: m.Role, Suffrage: m.Suffrage, Reachable: m.Reachable,
			AppliedIndex: m.AppliedIndex, StateHash: m.StateHash, GrpcAddress: m.GRPCAddr, HttpAddress: m.HTTPAddr,
			RespAddress: m.RESPAddr, Version: m.Version, Uptime: durationToPB(m.Uptime), Problem: validText(m.Problem),
		})
	}
	return out
}

func statusFromPB(s *pb.StatusResponse) ClusterStatus {
	out := ClusterStatus{
		NodeID: s.GetNodeId(), ClusterID: s.GetClusterId(), Leader: s.GetLeader(), LeaderGRPCAddr: s.GetLeaderGrpcAddress(),
		Term: s.GetTerm(), CommitIndex: s.GetCommitIndex(), Mode: s.GetMode(), ActiveSystem: s.GetActiveSystem(),
		Epoch: s.GetEpoch(), Version: s.GetVersion(), Locks: s.GetLocks(), CommandLocks: s.GetCommandLocks(),
		Documents: s.GetDocuments(), Members: []MemberStatus{},
		LegacyNamespace: s.GetLegacyNamespace(), GradualEpoch: s.GetGradualEpoch(), GradualBase: s.GetGradualBase(),
	}
	for _, m := range s.GetMembers() {
		out.Members = append(out.Members, MemberStatus{
			ID: m.GetId(), Address: m.GetAddress(), Role: m.GetRole(), Suffrage: m.GetSuffrage(), Reachable: m.GetReachable(),
			AppliedIndex: m.GetAppliedIndex(), StateHash: m.GetStateHash(), GRPCAddr: m.GetGrpcAddress(), HTTPAddr: m.GetHttpAddress(),
			RESPAddr: m.GetRespAddress(), Version: m.GetVersion(), Uptime: m.GetUptime().AsDuration(), Problem: m.GetProblem(),
		})
	}
	return out
}
