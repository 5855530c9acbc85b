package command

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command/logpb"
)

// commandToPB encodes req without its identity.
func commandToPB(req lockcluster.Request) (*logpb.Command, error) {
	pb := &logpb.Command{}
	switch r := req.(type) {
	case lockcluster.Acquire:
		pb.Request = &logpb.Command_Acquire{Acquire: acquireToPB(r)}
	case lockcluster.Release:
		pb.Request = &logpb.Command_Release{Release: releaseToPB(r)}
	case lockcluster.ReleaseByPull:
		pb.Request = &logpb.Command_ReleaseByPull{ReleaseByPull: &logpb.ReleaseByPull{
			Namespace: r.Namespace, Repo: []byte(r.Repo), Pull: int64(r.Pull), Host: []byte(r.Host), Upto: tokenToPB(r.Upto),
		}}
	case lockcluster.LockCommand:
		pb.Request = &logpb.Command_LockCommand{LockCommand: lockCommandToPB(r)}
	case lockcluster.UnlockCommand:
		pb.Request = &logpb.Command_UnlockCommand{UnlockCommand: &logpb.UnlockCommand{
			Namespace: r.Namespace, Name: []byte(r.Name), Revision: r.Revision, Token: tokenToPB(r.Token),
		}}
	case lockcluster.PutDocument:
		pb.Request = &logpb.Command_PutDocument{PutDocument: putToPB(r)}
	case lockcluster.DeleteDocument:
		pb.Request = &logpb.Command_DeleteDocument{DeleteDocument: &logpb.DeleteDocument{
			Namespace: r.Namespace, Key: []byte(r.Key), Revision: r.Revision,
		}}
	case lockcluster.SetTTL:
		pb.Request = &logpb.Command_SetTtl{SetTtl: &logpb.SetTTL{Namespace: r.Namespace, Key: []byte(r.Key), TtlNs: int64(r.TTL)}}
	case lockcluster.Txn:
		txn, err := txnToPB(r)
		if err != nil {
			return nil, err
		}
		pb.Request = &logpb.Command_Txn{Txn: txn}
	case lockcluster.Expire:
		pb.Request = &logpb.Command_Expire{Expire: &logpb.Expire{
			Namespace: r.Namespace, Space: uint32(r.Space), Key: []byte(r.Key), LeaseEpoch: r.LeaseEpoch, Term: r.Term,
		}}
	case lockcluster.Import:
		pb.Request = &logpb.Command_Import{Import: importToPB(r)}
	case lockcluster.RegisterNode:
		pb.Request = &logpb.Command_RegisterNode{RegisterNode: &logpb.RegisterNode{
			NodeId: r.NodeID, RaftAddr: r.RaftAddr, GrpcAddr: r.GRPCAddr, HttpAddr: r.HTTPAddr, RespAddr: r.RESPAddr,
			Version: r.Version, FeatureLevel: r.FeatureLevel,
		}}
	case lockcluster.Checkpoint:
		pb.Request = &logpb.Command_Checkpoint{Checkpoint: &logpb.Checkpoint{}}
	case lockcluster.BumpEpoch:
		pb.Request = &logpb.Command_BumpEpoch{BumpEpoch: &logpb.BumpEpoch{Reason: r.Reason}}
	default:
		return roadToPB(req)
	}
	return pb, nil
}

// commandFromPB decodes pb. A type or field it does not know, at any depth, is
// an error: to apply the rest of a command would be to apply another command.
func commandFromPB(pb *logpb.Command) (Command, error) {
	if hasUnknown(pb.ProtoReflect()) {
		return Command{}, fmt.Errorf("unknown command type or field")
	}
	return knownFromPB(pb)
}

func hasUnknown(m protoreflect.Message) bool {
	if len(m.GetUnknown()) > 0 {
		return true
	}
	found := false
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.Message() == nil:
		case field.IsList():
			for list, i := value.List(), 0; i < list.Len() && !found; i++ {
				found = hasUnknown(list.Get(i).Message())
			}
		default:
			found = hasUnknown(value.Message())
		}
		return !found
	})
	return found
}

func knownFromPB(pb *logpb.Command) (Command, error) {
	req, err := requestFromPB(pb)
	if err != nil {
		return Command{}, err
	}
	id := lockcluster.RequestID{ClientID: pb.GetClientId(), Sequence: pb.GetSequence(), AckedBelow: pb.GetAckedBelow()}
	return Command{ID: id, Request: req}, nil
}

func requestFromPB(pb *logpb.Command) (lockcluster.Request, error) {
	switch r := pb.GetRequest().(type) {
	case *logpb.Command_Acquire:
		return acquireFromPB(r.Acquire), nil
	case *logpb.Command_Release:
		return releaseFromPB(r.Release), nil
	case *logpb.Command_ReleaseByPull:
		p := r.ReleaseByPull
		return lockcluster.ReleaseByPull{
			Namespace: p.GetNamespace(), Repo: string(p.GetRepo()), Pull: int(p.GetPull()), Host: string(p.GetHost()), Upto: tokenFromPB(p.GetUpto()),
		}, nil
	case *logpb.Command_LockCommand:
		return lockCommandFromPB(r.LockCommand), nil
	case *logpb.Command_UnlockCommand:
		p := r.UnlockCommand
		return lockcluster.UnlockCommand{
			Namespace: p.GetNamespace(), Name: string(p.GetName()), Revision: p.GetRevision(), Token: tokenFromPB(p.GetToken()),
		}, nil
	case *logpb.Command_PutDocument:
		return putFromPB(r.PutDocument), nil
	case *logpb.Command_DeleteDocument:
		p := r.DeleteDocument
		return lockcluster.DeleteDocument{Namespace: p.GetNamespace(), Key: string(p.GetKey()), Revision: p.GetRevision()}, nil
	case *logpb.Command_SetTtl:
		p := r.SetTtl
		return lockcluster.SetTTL{Namespace: p.GetNamespace(), Key: string(p.GetKey()), TTL: time.Duration(p.GetTtlNs())}, nil
	case *logpb.Command_Txn:
		return txnFromPB(r.Txn)
	case *logpb.Command_Expire:
		p := r.Expire
		return lockcluster.Expire{
			Namespace: p.GetNamespace(), Space: lockcluster.Space(p.GetSpace()), Key: string(p.GetKey()),
			LeaseEpoch: p.GetLeaseEpoch(), Term: p.GetTerm(),
		}, nil
	case *logpb.Command_Import:
		return importFromPB(r.Import), nil
	case *logpb.Command_RegisterNode:
		p := r.RegisterNode
		return lockcluster.RegisterNode{
			NodeID: p.GetNodeId(), RaftAddr: p.GetRaftAddr(), GRPCAddr: p.GetGrpcAddr(), HTTPAddr: p.GetHttpAddr(),
			RESPAddr: p.GetRespAddr(), Version: p.GetVersion(), FeatureLevel: p.GetFeatureLevel(),
		}, nil
	case *logpb.Command_Checkpoint:
		return lockcluster.Checkpoint{}, nil
	case *logpb.Command_BumpEpoch:
		return lockcluster.BumpEpoch{Reason: r.BumpEpoch.GetReason()}, nil
	}
	return roadFromPB(pb)
}

func acquireToPB(r lockcluster.Acquire) *logpb.Acquire {
	return &logpb.Acquire{
		Key: keyToPB(r.Key), Owner: ownerToPB(r.Owner), User: []byte(r.User), Priority: uint32(r.Priority),
		TtlNs: int64(r.TTL), AcquiredAt: instantToPB(r.AcquiredAt), Value: r.Value,
	}
}

func acquireFromPB(p *logpb.Acquire) lockcluster.Acquire {
	return lockcluster.Acquire{
		Key: keyFromPB(p.GetKey()), Owner: ownerFromPB(p.GetOwner()), User: string(p.GetUser()),
		Priority: lockcluster.Priority(p.GetPriority()), TTL: time.Duration(p.GetTtlNs()),
		AcquiredAt: instantFromPB(p.GetAcquiredAt()), Value: p.GetValue(),
	}
}

func releaseToPB(r lockcluster.Release) *logpb.Release {
	pb := &logpb.Release{
		Namespace: r.Namespace, Text: []byte(r.Text), Pull: int64(r.Guard.Pull),
		Token: tokenToPB(r.Guard.Token), Revision: r.Guard.Revision,
	}
	if r.Guard.Owner != nil {
		pb.Owner = ownerToPB(*r.Guard.Owner)
	}
	return pb
}

func releaseFromPB(p *logpb.Release) lockcluster.Release {
	r := lockcluster.Release{Namespace: p.GetNamespace(), Text: string(p.GetText())}
	r.Guard = lockcluster.Guard{Pull: int(p.GetPull()), Token: tokenFromPB(p.GetToken()), Revision: p.GetRevision()}
	if p.GetOwner() != nil {
		owner := ownerFromPB(p.GetOwner())
		r.Guard.Owner = &owner
	}
	return r
}

func lockCommandToPB(r lockcluster.LockCommand) *logpb.LockCommand {
	return &logpb.LockCommand{Namespace: r.Namespace, Name: []byte(r.Name), LockedAt: instantToPB(r.LockedAt), Value: r.Value}
}

func lockCommandFromPB(p *logpb.LockCommand) lockcluster.LockCommand {
	return lockcluster.LockCommand{
		Namespace: p.GetNamespace(), Name: string(p.GetName()), LockedAt: instantFromPB(p.GetLockedAt()), Value: p.GetValue(),
	}
}

func putToPB(r lockcluster.PutDocument) *logpb.PutDocument {
	return &logpb.PutDocument{
		Namespace: r.Namespace, Key: []byte(r.Key), Value: r.Value, Condition: uint32(r.Condition),
		TtlNs: int64(r.TTL), KeepTtl: r.KeepTTL, Revision: r.Revision,
	}
}

func putFromPB(p *logpb.PutDocument) lockcluster.PutDocument {
	return lockcluster.PutDocument{
		Namespace: p.GetNamespace(), Key: string(p.GetKey()), Value: p.GetValue(),
		Condition: lockcluster.PutCondition(p.GetCondition()), TTL: time.Duration(p.GetTtlNs()), KeepTTL: p.GetKeepTtl(),
		Revision: p.GetRevision(),
	}
}

func txnToPB(r lockcluster.Txn) (*logpb.Txn, error) {
	pb := &logpb.Txn{Namespace: r.Namespace}
	for _, c := range r.Conditions {
		pb.Conditions = append(pb.Conditions, &logpb.Condition{Space: uint32(c.Space), Key: []byte(c.Key), Revision: c.Revision})
	}
	for _, c := range r.Ranges {
		pb.Ranges = append(pb.Ranges, &logpb.RangeCondition{Space: uint32(c.Space), Prefix: []byte(c.Prefix), Digest: c.Digest})
	}
	for _, req := range r.Requests {
		if !txnMayHold(req) {
			return nil, fmt.Errorf("%w: a transaction cannot hold %T", lockcluster.ErrInvalid, req)
		}
		c, err := commandToPB(req)
		if err != nil {
			return nil, err
		}
		pb.Requests = append(pb.Requests, c)
	}
	return pb, nil
}

// txnMayHold keeps transactions flat: only the plain mutations, no nesting.
func txnMayHold(req lockcluster.Request) bool {
	switch req.(type) {
	case lockcluster.Acquire, lockcluster.Release, lockcluster.ReleaseByPull, lockcluster.LockCommand,
		lockcluster.UnlockCommand, lockcluster.PutDocument, lockcluster.DeleteDocument, lockcluster.SetTTL:
		return true
	}
	return false
}

func txnFromPB(p *logpb.Txn) (lockcluster.Request, error) {
	r := lockcluster.Txn{Namespace: p.GetNamespace()}
	for _, c := range p.GetConditions() {
		r.Conditions = append(r.Conditions, lockcluster.Condition{
			Space: lockcluster.Space(c.GetSpace()), Key: string(c.GetKey()), Revision: c.GetRevision(),
		})
	}
	for _, c := range p.GetRanges() {
		r.Ranges = append(r.Ranges, lockcluster.RangeCondition{
			Space: lockcluster.Space(c.GetSpace()), Prefix: string(c.GetPrefix()), Digest: c.GetDigest(),
		})
	}
	for _, c := range p.GetRequests() {
		cmd, err := knownFromPB(c)
		if err != nil {
			return nil, err
		}
		if !txnMayHold(cmd.Request) || cmd.ID != (lockcluster.RequestID{}) {
			return nil, fmt.Errorf("a transaction holds %T or a request id", cmd.Request)
		}
		r.Requests = append(r.Requests, cmd.Request)
	}
	return r, nil
}

func importToPB(r lockcluster.Import) *logpb.Import {
	pb := &logpb.Import{Namespace: r.Namespace}
	for _, l := range r.Locks {
		pb.Locks = append(pb.Locks, acquireToPB(l))
	}
	for _, c := range r.CommandLocks {
		pb.CommandLocks = append(pb.CommandLocks, lockCommandToPB(c))
	}
	for _, d := range r.Documents {
		pb.Documents = append(pb.Documents, putToPB(d))
	}
	return pb
}

func importFromPB(p *logpb.Import) lockcluster.Import {
	r := lockcluster.Import{Namespace: p.GetNamespace()}
	for _, l := range p.GetLocks() {
		r.Locks = append(r.Locks, acquireFromPB(l))
	}
	for _, c := range p.GetCommandLocks() {
		r.CommandLocks = append(r.CommandLocks, lockCommandFromPB(c))
	}
	for _, d := range p.GetDocuments() {
		r.Documents = append(r.Documents, putFromPB(d))
	}
	return r
}
