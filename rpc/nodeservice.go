package rpc

import (
	"context"
	"fmt"

	"google.golang.org/grpc/metadata"

	"github.com/lockcluster/lockcluster"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

// nodeService is what the other nodes ask; bodies pass through unread.
type nodeService struct {
	pb.UnimplementedNodeServiceServer
	peer    Peer
	intents Intents
	caller  Caller
}

// fromHere refuses a node of another cluster, which has the address of this node
// from when it was another's. A node that is about to join says nothing.
func (n *nodeService) fromHere(ctx context.Context) error {
	if n.peer == nil {
		return nil
	}
	mine := n.peer.ClusterID()
	for _, theirs := range metadata.ValueFromIncomingContext(ctx, clusterHeader) {
		if mine != "" && theirs != mine {
			return fmt.Errorf("%w: node at this address belongs to another cluster, with the id %s", lockcluster.ErrNoLeader, mine)
		}
	}
	return nil
}

func (n *nodeService) Propose(ctx context.Context, r *pb.ProposeRequest) (*pb.ProposeResponse, error) {
	if err := n.fromHere(ctx); err != nil {
		return nil, err
	}
	if n.peer == nil {
		return nil, ErrUnimplemented
	}
	results, err := n.peer.ServePropose(ctx, r.GetCommands())
	return &pb.ProposeResponse{Results: results}, err
}

func (n *nodeService) ReadIndex(ctx context.Context, r *pb.ReadIndexRequest) (*pb.ReadIndexResponse, error) {
	if err := n.fromHere(ctx); err != nil {
		return nil, err
	}
	if n.peer == nil {
		return nil, ErrUnimplemented
	}
	index, err := n.peer.ServeReadIndex(ctx, r.GetFrom())
	return &pb.ReadIndexResponse{Index: index}, err
}

func (n *nodeService) Checkpoint(ctx context.Context, r *pb.CheckpointRequest) (*pb.CheckpointResponse, error) {
	if err := n.fromHere(ctx); err != nil {
		return nil, err
	}
	if n.peer == nil {
		return nil, ErrUnimplemented
	}
	hash, err := n.peer.ServeCheckpoint(ctx, r.GetIndex())
	return &pb.CheckpointResponse{Hash: hash}, err
}

func (n *nodeService) NodeStatus(ctx context.Context, _ *pb.NodeStatusRequest) (*pb.NodeStatusResponse, error) {
	if n.peer == nil {
		return nil, ErrUnimplemented
	}
	status, err := n.peer.ServeNodeStatus(ctx)
	return &pb.NodeStatusResponse{Status: status}, err
}

func (n *nodeService) Join(ctx context.Context, r *pb.JoinRequest) (*pb.JoinResponse, error) {
	if n.peer == nil {
		return nil, ErrUnimplemented
	}
	reply, err := n.peer.ServeJoin(ctx, r.GetRequest())
	return &pb.JoinResponse{Reply: reply}, err
}

func (n *nodeService) Intent(ctx context.Context, r *pb.IntentRequest) (*pb.IntentResponse, error) {
	if err := n.fromHere(ctx); err != nil {
		return nil, err
	}
	if n.intents == nil {
		return nil, ErrUnimplemented
	}
	return &pb.IntentResponse{Again: n.intents.Reserve(ctx, r.GetNamespace(), string(r.GetKey()))}, nil
}

func (n *nodeService) Call(ctx context.Context, r *pb.CallRequest) (*pb.CallResponse, error) {
	if err := n.fromHere(ctx); err != nil {
		return nil, err
	}
	if n.caller == nil {
		return nil, ErrUnimplemented
	}
	body, err := n.caller.ServeCall(ctx, r.GetMethod(), r.GetBody())
	return &pb.CallResponse{Body: body}, err
}
