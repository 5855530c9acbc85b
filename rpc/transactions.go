package rpc

import (
	"fmt"

	"github.com/lockcluster/lockcluster"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

// This file translates the mutations that hold others.

func operationToPB(req lockcluster.Request) (*pb.Operation, error) {
	op := &pb.Operation{}
	switch r := req.(type) {
	case lockcluster.Acquire:
		op.Request = &pb.Operation_Acquire{Acquire: acquireToPB(r)}
	case lockcluster.Release:
		op.Request = &pb.Operation_Release{Release: releaseToPB(r)}
	case lockcluster.ReleaseByPull:
		op.Request = &pb.Operation_ReleaseByPull{ReleaseByPull: releaseByPullToPB(r)}
	case lockcluster.LockCommand:
		op.Request = &pb.Operation_LockCommand{LockCommand: lockCommandToPB(r)}
	case lockcluster.UnlockCommand:
		op.Request = &pb.Operation_UnlockCommand{UnlockCommand: unlockCommandToPB(r)}
	case lockcluster.PutDocument:
		op.Request = &pb.Operation_PutDocument{PutDocument: putToPB(r)}
	case lockcluster.DeleteDocument:
		op.Request = &pb.Operation_DeleteDocument{DeleteDocument: deleteToPB(r)}
	case lockcluster.SetTTL:
		op.Request = &pb.Operation_SetTtl{SetTtl: setTTLToPB(r)}
	default:
		return nil, fmt.Errorf("%w: a transaction cannot hold %T", lockcluster.ErrInvalid, req)
	}
	return op, nil
}

// operationFromPB gives the operation the transaction's namespace.
func operationFromPB(op *pb.Operation, ns string) (lockcluster.Request, error) {
	switch r := op.GetRequest().(type) {
	case *pb.Operation_Acquire:
		req, err := acquireFromPB(r.Acquire)
		req.Key.Namespace = ns
		return req, err
	case *pb.Operation_Release:
		req := releaseFromPB(r.Release)
		req.Namespace = ns
		return req, nil
	case *pb.Operation_ReleaseByPull:
		req := releaseByPullFromPB(r.ReleaseByPull)
		req.Namespace = ns
		return req, nil
	case *pb.Operation_LockCommand:
		req, err := lockCommandFromPB(r.LockCommand)
		req.Namespace = ns
		return req, err
	case *pb.Operation_UnlockCommand:
		req := unlockCommandFromPB(r.UnlockCommand)
		req.Namespace = ns
		return req, nil
	case *pb.Operation_PutDocument:
		req, err := putFromPB(r.PutDocument)
		req.Namespace = ns
		return req, err
	case *pb.Operation_DeleteDocument:
		req := deleteFromPB(r.DeleteDocument)
		req.Namespace = ns
		return req, nil
	case *pb.Operation_SetTtl:
		req, err := setTTLFromPB(r.SetTtl)
		req.Namespace = ns
		return req, err
	}
	return nil, fmt.Errorf("%w: an operation of the transaction is empty, or newer than this node", lockcluster.ErrInvalid)
}

func txnToPB(r lockcluster.Txn) (*pb.TxnRequest, error) {
	out := &pb.TxnRequest{Namespace: r.Namespace}
	for _, c := range r.Conditions {
		out.Conditions = append(out.Conditions, &pb.Condition{Space: pb.Space(c.Space), Key: c.Key, Revision: c.Revision})
	}
	for _, c := range r.Ranges {
		out.Ranges = append(out.Ranges, &pb.RangeCondition{Space: pb.Space(c.Space), Prefix: c.Prefix, Digest: c.Digest})
	}
	for _, req := range r.Requests {
		if ns := lockcluster.NamespaceOf(req); ns != r.Namespace && ns != "" {
			return nil, fmt.Errorf("%w: a transaction in namespace %s holds a request for %s", lockcluster.ErrInvalid, r.Namespace, ns)
		}
		op, err := operationToPB(req)
		if err != nil {
			return nil, err
		}
		out.Operations = append(out.Operations, op)
	}
	return out, nil
}

func txnFromPB(r *pb.TxnRequest) (lockcluster.Txn, error) {
	out := lockcluster.Txn{Namespace: namespaceOf(r.GetNamespace())}
	for _, c := range r.GetConditions() {
		out.Conditions = append(out.Conditions, lockcluster.Condition{
			Space: lockcluster.Space(small(int32(c.GetSpace()))), Key: c.GetKey(), Revision: c.GetRevision(),
		})
	}
	for _, c := range r.GetRanges() {
		out.Ranges = append(out.Ranges, lockcluster.RangeCondition{
			Space: lockcluster.Space(small(int32(c.GetSpace()))), Prefix: c.GetPrefix(), Digest: c.GetDigest(),
		})
	}
	for _, op := range r.GetOperations() {
		req, err := operationFromPB(op, out.Namespace)
		if err != nil {
			return out, err
		}
		out.Requests = append(out.Requests, req)
	}
	return out, nil
}

func importToPB(r lockcluster.Import) *pb.ImportRequest {
	out := &pb.ImportRequest{Namespace: r.Namespace}
	for _, l := range r.Locks {
		out.Locks = append(out.Locks, acquireToPB(l))
	}
	for _, c := range r.CommandLocks {
		out.CommandLocks = append(out.CommandLocks, lockCommandToPB(c))
	}
	for _, d := range r.Documents {
		out.Documents = append(out.Documents, putToPB(d))
	}
	return out
}

func importFromPB(r *pb.ImportRequest) (lockcluster.Import, error) {
	out := lockcluster.Import{Namespace: namespaceOf(r.GetNamespace())}
	for _, l := range r.GetLocks() {
		req, err := acquireFromPB(l)
		if err != nil {
			return out, err
		}
		req.Key.Namespace = out.Namespace
		out.Locks = append(out.Locks, req)
	}
	for _, c := range r.GetCommandLocks() {
		req, err := lockCommandFromPB(c)
		if err != nil {
			return out, err
		}
		req.Namespace = out.Namespace
		out.CommandLocks = append(out.CommandLocks, req)
	}
	for _, d := range r.GetDocuments() {
		req, err := putFromPB(d)
		if err != nil {
			return out, err
		}
		req.Namespace = out.Namespace
		out.Documents = append(out.Documents, req)
	}
	return out, nil
}
