package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lockcluster/lockcluster"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

// This file is the one place that maps errors to gRPC and back. Business
// refusals never come here: they are results.

// ErrRefused marks a change of the cluster that its present state forbids, for
// example removing the last voter. Nothing was changed; the text says what to
// do. A [Cluster] or [Node] returns an error that wraps it.
var ErrRefused = errors.New("refused")

// ErrUnimplemented means that the node does not serve that call.
var ErrUnimplemented = errors.New("not served by this node")

// errorKinds orders the sentinels: the first that matches an error is its kind.
// An error that says "unknown" must win over what it wraps beside that.
var errorKinds = []struct {
	is   error
	kind pb.ErrorKind
	code codes.Code
}{
	{lockcluster.ErrOutcomeUnknown, pb.ErrorKind_ERROR_KIND_OUTCOME_UNKNOWN, codes.Unknown},
	{lockcluster.ErrInvalid, pb.ErrorKind_ERROR_KIND_INVALID, codes.InvalidArgument},
	{lockcluster.ErrOverloaded, pb.ErrorKind_ERROR_KIND_OVERLOADED, codes.ResourceExhausted},
	{lockcluster.ErrClosed, pb.ErrorKind_ERROR_KIND_CLOSED, codes.Unavailable},
	{lockcluster.ErrNoLeader, pb.ErrorKind_ERROR_KIND_NO_LEADER, codes.Unavailable},
	{ErrRefused, pb.ErrorKind_ERROR_KIND_REFUSED, codes.FailedPrecondition},
	{ErrUnimplemented, pb.ErrorKind_ERROR_KIND_UNIMPLEMENTED, codes.Unimplemented},
	{context.DeadlineExceeded, pb.ErrorKind_ERROR_KIND_TIMEOUT, codes.DeadlineExceeded},
	{context.Canceled, pb.ErrorKind_ERROR_KIND_TIMEOUT, codes.Canceled},
}

// errorToStatus turns an error of a [Node] into the gRPC error a handler
// returns. id is the request's identity, zero for reads. An error that is
// already a gRPC status stays as it is.
func errorToStatus(err error, id lockcluster.RequestID) error {
	if err == nil {
		return nil
	}
	if statusOf(err) != nil {
		return err
	}
	detail := &pb.ErrorDetail{Kind: pb.ErrorKind_ERROR_KIND_INTERNAL}
	code := codes.Internal
	for _, k := range errorKinds {
		if errors.Is(err, k.is) {
			detail.Kind, code = k.kind, k.code
			break
		}
	}
	var notLeader *lockcluster.NotLeaderError
	if detail.Kind == pb.ErrorKind_ERROR_KIND_NO_LEADER && errors.As(err, &notLeader) {
		detail.Kind = pb.ErrorKind_ERROR_KIND_NOT_LEADER
		detail.LeaderId, detail.LeaderAddress = notLeader.LeaderID, notLeader.LeaderAddr
	}
	if detail.Kind == pb.ErrorKind_ERROR_KIND_OUTCOME_UNKNOWN {
		detail.ClientId, detail.Sequence = id.ClientID, id.Sequence
	}
	st, derr := status.New(code, validText(err.Error())).WithDetails(detail)
	if derr != nil {
		return status.Error(code, validText(err.Error()))
	}
	return st.Err()
}

// remoteError is an error of a node as the client sees it: the node's text,
// and the sentinel that the detail names.
type remoteError struct {
	text string
	is   error // nil: none fits
	kind pb.ErrorKind
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.is }

// errorFromStatus is the twin of errorToStatus: the error a client returns for
// one try. errors.Is and errors.As answer as on the node.
func errorFromStatus(err error) error {
	if err == nil {
		return nil
	}
	st := statusOf(err)
	if st == nil {
		return err
	}
	detail := detailOf(st)
	switch detail.GetKind() {
	case pb.ErrorKind_ERROR_KIND_UNSPECIFIED:
		return transportError(st)
	case pb.ErrorKind_ERROR_KIND_NOT_LEADER:
		return &lockcluster.NotLeaderError{LeaderID: detail.GetLeaderId(), LeaderAddr: detail.GetLeaderAddress()}
	default:
	}
	e := &remoteError{text: st.Message(), kind: detail.GetKind()}
	for _, k := range errorKinds {
		if k.kind == detail.GetKind() && k.code == st.Code() {
			e.is = k.is
		}
	}
	return e
}

// transportError is for what no node said: the connection broke, the deadline
// passed here, or another kind of server answered.
func transportError(st *status.Status) error {
	for _, refusal := range sendRefusals {
		if strings.Contains(st.Message(), refusal) {
			return &remoteError{text: st.Message(), is: lockcluster.ErrInvalid, kind: pb.ErrorKind_ERROR_KIND_INVALID}
		}
	}
	switch st.Code() {
	case codes.DeadlineExceeded:
		return &remoteError{text: "deadline exceeded while waiting for the node", is: context.DeadlineExceeded}
	case codes.Canceled:
		return &remoteError{text: "call cancelled", is: context.Canceled}
	case codes.Unimplemented:
		return &remoteError{text: st.Message(), is: ErrUnimplemented, kind: pb.ErrorKind_ERROR_KIND_UNIMPLEMENTED}
	default:
		return &remoteError{text: fmt.Sprintf("connection to the node: %s", st.Message())}
	}
}

// sendRefusals are the texts by which grpc-go refuses to send a message: it is
// too large, or holds a string that is not UTF-8. There is no code for them; a
// test keeps them true.
var sendRefusals = []string{"trying to send message larger than max", "error while marshaling"}

// statusOf returns the status that err is, not one that it wraps.
func statusOf(err error) *status.Status {
	s, ok := err.(interface{ GRPCStatus() *status.Status })
	if !ok {
		return nil
	}
	return s.GRPCStatus()
}

func detailOf(st *status.Status) *pb.ErrorDetail {
	for _, d := range st.Details() {
		if detail, ok := d.(*pb.ErrorDetail); ok {
			return detail
		}
	}
	return nil
}

// verdict says what a client may do after a failed try.
type verdict uint8

const (
	// verdictFinal: the answer would be the same again.
	verdictFinal verdict = iota
	// verdictNotProposed: nothing was proposed; try again, elsewhere.
	verdictNotProposed
	// verdictUnknown: it may have been proposed; try again under the same id.
	verdictUnknown
)

// judge says what a failed try means. err comes from errorFromStatus.
func judge(err error) verdict {
	var remote *remoteError
	var final *finalError
	switch {
	case errors.As(err, &final):
		return verdictFinal
	case errors.Is(err, lockcluster.ErrOutcomeUnknown):
		return verdictUnknown
	case errors.Is(err, lockcluster.ErrNoLeader), errors.Is(err, lockcluster.ErrOverloaded), errors.Is(err, lockcluster.ErrClosed):
		return verdictNotProposed
	case errors.Is(err, lockcluster.ErrInvalid), errors.Is(err, ErrRefused), errors.Is(err, ErrUnimplemented):
		return verdictFinal
	case errors.As(err, &remote):
		return verdictUnknown
	}
	return verdictFinal
}

// finalError is an error that no other try would mend.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }
func (e *finalError) Unwrap() error { return e.err }

// OutcomeUnknownError says that a client gave up on a mutation that may or may
// not have been applied. It matches [lockcluster.ErrOutcomeUnknown]; calling
// [Client.Do] again with ID and the same request finds out.
type OutcomeUnknownError struct {
	ID  lockcluster.RequestID
	Err error // what the last try said
}

// Error says what is known, and the last try's error.
func (e *OutcomeUnknownError) Error() string {
	return fmt.Sprintf("%v (client %s, sequence %d): %v", lockcluster.ErrOutcomeUnknown, e.ID.ClientID, e.ID.Sequence, e.Err)
}

// Unwrap returns the sentinel and the last try's error.
func (e *OutcomeUnknownError) Unwrap() []error { return []error{lockcluster.ErrOutcomeUnknown, e.Err} }

// changeUnknownError says that a change of the cluster may or may not have
// happened. It has no request id to ask again with.
type changeUnknownError struct{ err error }

func (e *changeUnknownError) Error() string {
	return fmt.Sprintf("the change may or may not have happened, look at the cluster's status: %v", e.err)
}

func (e *changeUnknownError) Unwrap() []error { return []error{lockcluster.ErrOutcomeUnknown, e.err} }

// UnansweredError says that a client gave up on a call after several tries. It
// matches what the last try said, and [context.DeadlineExceeded] or
// [context.Canceled].
type UnansweredError struct {
	Endpoints []string // as configured
	Reached   bool     // at least one node could be connected to
	NoLeader  bool     // at least one node said that there is no leader
	Tries     int
	Err       error // what the last try said

	why error
}

// Error says why, and the last try's error.
func (e *UnansweredError) Error() string {
	return fmt.Sprintf("%v (after %d tries: %v)", e.why, e.Tries, e.Err)
}

// Unwrap returns why the client gave up, and the last try's error.
func (e *UnansweredError) Unwrap() []error { return []error{e.why, e.Err} }
