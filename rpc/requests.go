package rpc

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockcluster/lockcluster"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

// This file translates mutations, both ways.

func metaToPB(id lockcluster.RequestID) *pb.RequestMeta {
	return &pb.RequestMeta{ClientId: id.ClientID, Sequence: id.Sequence, AckedBelow: id.AckedBelow}
}

func metaFromPB(m *pb.RequestMeta) (lockcluster.RequestID, error) {
	id := lockcluster.RequestID{ClientID: m.GetClientId(), Sequence: m.GetSequence(), AckedBelow: m.GetAckedBelow()}
	if id.ClientID == "" && id.Sequence != 0 {
		return id, fmt.Errorf("%w: a request id needs a client id", lockcluster.ErrInvalid)
	}
	return id, nil
}

func ttlFromPB(d *durationpb.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	if d.CheckValid() != nil {
		return 0, fmt.Errorf("%w: a TTL is out of range", lockcluster.ErrInvalid)
	}
	return d.AsDuration(), nil
}

func acquireToPB(r lockcluster.Acquire) *pb.AcquireRequest {
	return &pb.AcquireRequest{
		Key: keyToPB(r.Key), Owner: ownerToPB(r.Owner), User: validText(r.User), Priority: pb.Priority(r.Priority),
		Ttl: durationToPB(r.TTL), AcquiredAt: timeToPB(r.AcquiredAt), AcquiredAtOffsetSeconds: offsetOf(r.AcquiredAt), Value: r.Value,
	}
}

func acquireFromPB(r *pb.AcquireRequest) (lockcluster.Acquire, error) {
	ttl, err := ttlFromPB(r.GetTtl())
	if err != nil {
		return lockcluster.Acquire{}, err
	}
	at, err := timeFromPB(r.GetAcquiredAt(), r.GetAcquiredAtOffsetSeconds())
	if err != nil {
		return lockcluster.Acquire{}, err
	}
	return lockcluster.Acquire{
		Key: keyFromPB(r.GetKey()), Owner: ownerFromPB(r.GetOwner()), User: r.GetUser(),
		Priority: lockcluster.Priority(small(int32(r.GetPriority()))), TTL: ttl, AcquiredAt: at, Value: r.GetValue(),
	}, nil
}

func releaseToPB(r lockcluster.Release) *pb.ReleaseRequest {
	out := &pb.ReleaseRequest{Namespace: r.Namespace, Text: r.Text}
	if g := r.Guard; g != (lockcluster.Guard{}) {
		out.Guard = &pb.Guard{Pull: int64(g.Pull), Token: tokenToPB(g.Token), Revision: g.Revision}
		if g.Owner != nil {
			out.Guard.Owner = ownerToPB(*g.Owner)
		}
	}
	return out
}

func releaseFromPB(r *pb.ReleaseRequest) lockcluster.Release {
	g := r.GetGuard()
	out := lockcluster.Release{
		Namespace: namespaceOf(r.GetNamespace()), Text: r.GetText(),
		Guard: lockcluster.Guard{Pull: int(g.GetPull()), Token: tokenFromPB(g.GetToken()), Revision: g.GetRevision()},
	}
	if g.GetOwner() != nil {
		owner := ownerFromPB(g.GetOwner())
		out.Guard.Owner = &owner
	}
	return out
}

func releaseByPullToPB(r lockcluster.ReleaseByPull) *pb.ReleaseByPullRequest {
	return &pb.ReleaseByPullRequest{Namespace: r.Namespace, Repo: r.Repo, Pull: int64(r.Pull), Host: r.Host}
}

func releaseByPullFromPB(r *pb.ReleaseByPullRequest) lockcluster.ReleaseByPull {
	return lockcluster.ReleaseByPull{Namespace: namespaceOf(r.GetNamespace()), Repo: r.GetRepo(), Pull: int(r.GetPull()), Host: r.GetHost()}
}

func lockCommandToPB(r lockcluster.LockCommand) *pb.LockCommandRequest {
	return &pb.LockCommandRequest{
		Namespace: r.Namespace, Name: r.Name, LockedAt: timeToPB(r.LockedAt), LockedAtOffsetSeconds: offsetOf(r.LockedAt), Value: r.Value,
	}
}

func lockCommandFromPB(r *pb.LockCommandRequest) (lockcluster.LockCommand, error) {
	at, err := timeFromPB(r.GetLockedAt(), r.GetLockedAtOffsetSeconds())
	return lockcluster.LockCommand{Namespace: namespaceOf(r.GetNamespace()), Name: r.GetName(), LockedAt: at, Value: r.GetValue()}, err
}

func unlockCommandToPB(r lockcluster.UnlockCommand) *pb.UnlockCommandRequest {
	return &pb.UnlockCommandRequest{Namespace: r.Namespace, Name: r.Name, Revision: r.Revision, Token: tokenToPB(r.Token)}
}

func unlockCommandFromPB(r *pb.UnlockCommandRequest) lockcluster.UnlockCommand {
	return lockcluster.UnlockCommand{
		Namespace: namespaceOf(r.GetNamespace()), Name: r.GetName(), Revision: r.GetRevision(), Token: tokenFromPB(r.GetToken()),
	}
}

func putToPB(r lockcluster.PutDocument) *pb.PutDocumentRequest {
	return &pb.PutDocumentRequest{
		Namespace: r.Namespace, Key: r.Key, Value: r.Value, Condition: pb.PutCondition(r.Condition),
		Ttl: durationToPB(r.TTL), KeepTtl: r.KeepTTL,
	}
}

func putFromPB(r *pb.PutDocumentRequest) (lockcluster.PutDocument, error) {
	ttl, err := ttlFromPB(r.GetTtl())
	return lockcluster.PutDocument{
		Namespace: namespaceOf(r.GetNamespace()), Key: r.GetKey(), Value: r.GetValue(),
		Condition: lockcluster.PutCondition(small(int32(r.GetCondition()))), TTL: ttl, KeepTTL: r.GetKeepTtl(),
	}, err
}

func deleteToPB(r lockcluster.DeleteDocument) *pb.DeleteDocumentRequest {
	return &pb.DeleteDocumentRequest{Namespace: r.Namespace, Key: r.Key, Revision: r.Revision}
}

func deleteFromPB(r *pb.DeleteDocumentRequest) lockcluster.DeleteDocument {
	return lockcluster.DeleteDocument{Namespace: namespaceOf(r.GetNamespace()), Key: r.GetKey(), Revision: r.GetRevision()}
}

func setTTLToPB(r lockcluster.SetTTL) *pb.SetTTLRequest {
	return &pb.SetTTLRequest{Namespace: r.Namespace, Key: r.Key, Ttl: durationToPB(r.TTL)}
}

func setTTLFromPB(r *pb.SetTTLRequest) (lockcluster.SetTTL, error) {
	ttl, err := ttlFromPB(r.GetTtl())
	return lockcluster.SetTTL{Namespace: namespaceOf(r.GetNamespace()), Key: r.GetKey(), TTL: ttl}, err
}
