package rpc

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/lockcluster/lockcluster"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

// Every error a node can return reaches the client with its code, its text and
// what errors.Is says of it, and with what may be done about it; wrapping
// changes nothing.
func TestErrorsBothWays(t *testing.T) {
	id := lockcluster.RequestID{ClientID: "c", Sequence: 7}
	sentinels := []error{
		lockcluster.ErrInvalid, lockcluster.ErrNoLeader, lockcluster.ErrOverloaded, lockcluster.ErrOutcomeUnknown,
		lockcluster.ErrClosed, ErrRefused, ErrUnimplemented, context.DeadlineExceeded, context.Canceled,
	}
	for _, tc := range []struct {
		err     error
		code    codes.Code
		kind    pb.ErrorKind
		verdict verdict
	}{
		{lockcluster.ErrInvalid, codes.InvalidArgument, pb.ErrorKind_ERROR_KIND_INVALID, verdictFinal},
		{lockcluster.ErrNoLeader, codes.Unavailable, pb.ErrorKind_ERROR_KIND_NO_LEADER, verdictNotProposed},
		{&lockcluster.NotLeaderError{LeaderID: "n2", LeaderAddr: "h:1"}, codes.Unavailable, pb.ErrorKind_ERROR_KIND_NOT_LEADER, verdictNotProposed},
		{&lockcluster.NotLeaderError{}, codes.Unavailable, pb.ErrorKind_ERROR_KIND_NOT_LEADER, verdictNotProposed},
		{lockcluster.ErrOverloaded, codes.ResourceExhausted, pb.ErrorKind_ERROR_KIND_OVERLOADED, verdictNotProposed},
		{lockcluster.ErrOutcomeUnknown, codes.Unknown, pb.ErrorKind_ERROR_KIND_OUTCOME_UNKNOWN, verdictUnknown},
		{lockcluster.ErrClosed, codes.Unavailable, pb.ErrorKind_ERROR_KIND_CLOSED, verdictNotProposed},
		{ErrRefused, codes.FailedPrecondition, pb.ErrorKind_ERROR_KIND_REFUSED, verdictFinal},
		{ErrUnimplemented, codes.Unimplemented, pb.ErrorKind_ERROR_KIND_UNIMPLEMENTED, verdictFinal},
		{context.DeadlineExceeded, codes.DeadlineExceeded, pb.ErrorKind_ERROR_KIND_TIMEOUT, verdictUnknown},
		{context.Canceled, codes.Canceled, pb.ErrorKind_ERROR_KIND_TIMEOUT, verdictUnknown},
		{errors.New("disk on fire"), codes.Internal, pb.ErrorKind_ERROR_KIND_INTERNAL, verdictUnknown},
	} {
		for _, err := range []error{tc.err, fmt.Errorf("while deciding: %w", tc.err)} {
			st, ok := status.FromError(errorToStatus(err, id))
			if !ok || st.Code() != tc.code || st.Message() != err.Error() {
				t.Errorf("%v: status %v", err, st)
			}
			detail := detailOf(st)
			if detail.GetKind() != tc.kind {
				t.Errorf("%v: kind %v", err, detail.GetKind())
			}
			if tc.kind == pb.ErrorKind_ERROR_KIND_OUTCOME_UNKNOWN && (detail.GetClientId() != "c" || detail.GetSequence() != 7) {
				t.Errorf("%v: request id %v", err, detail)
			}
			// Over the wire, as grpc does it.
			b, merr := proto.Marshal(st.Proto())
			wire := st.Proto()
			if uerr := proto.Unmarshal(b, wire); merr != nil || uerr != nil {
				t.Fatal(merr, uerr)
			}
			back := errorFromStatus(status.ErrorProto(wire))
			for _, s := range sentinels {
				if errors.Is(back, s) != errors.Is(tc.err, s) {
					t.Errorf("%v: the client's error %v: errors.Is(%v) = %v", err, back, s, errors.Is(back, s))
				}
			}
			var was, is *lockcluster.NotLeaderError
			if errors.As(tc.err, &was) && (!errors.As(back, &is) || *is != *was) {
				t.Errorf("%v: the client's error %v does not name the leader", err, back)
			}
			if was == nil && back.Error() != err.Error() {
				t.Errorf("%v: the client's error says %v", err, back)
			}
			if got := judge(back); got != tc.verdict {
				t.Errorf("%v: verdict %v, want %v", err, got, tc.verdict)
			}
		}
	}
}

// An error with two meanings has the one that is safe: unknown wins over
// everything, a known refusal over the deadline that caused it.
func TestErrorsWithTwoMeanings(t *testing.T) {
	for _, tc := range []struct {
		err  error
		kind pb.ErrorKind
	}{
		{fmt.Errorf("%w: %w", lockcluster.ErrNoLeader, context.DeadlineExceeded), pb.ErrorKind_ERROR_KIND_NO_LEADER},
		{fmt.Errorf("%w: %w", lockcluster.ErrOutcomeUnknown, context.DeadlineExceeded), pb.ErrorKind_ERROR_KIND_OUTCOME_UNKNOWN},
		{errors.Join(lockcluster.ErrNoLeader, lockcluster.ErrOutcomeUnknown), pb.ErrorKind_ERROR_KIND_OUTCOME_UNKNOWN},
		{errors.Join(lockcluster.ErrInvalid, lockcluster.ErrOutcomeUnknown), pb.ErrorKind_ERROR_KIND_OUTCOME_UNKNOWN},
		{fmt.Errorf("%w: %w", lockcluster.ErrNoLeader, &lockcluster.NotLeaderError{LeaderID: "n1"}), pb.ErrorKind_ERROR_KIND_NOT_LEADER},
	} {
		st, _ := status.FromError(errorToStatus(tc.err, lockcluster.RequestID{}))
		if got := detailOf(st).GetKind(); got != tc.kind {
			t.Errorf("%v: kind %v, want %v", tc.err, got, tc.kind)
		}
	}
}

// Every kind of error is mapped, none twice with one code.
func TestErrorKindsComplete(t *testing.T) {
	seen := map[string]bool{}
	kinds := map[pb.ErrorKind]bool{ // those with no sentinel of their own
		pb.ErrorKind_ERROR_KIND_UNSPECIFIED: true, pb.ErrorKind_ERROR_KIND_NOT_LEADER: true, pb.ErrorKind_ERROR_KIND_INTERNAL: true,
	}
	for _, k := range errorKinds {
		id := fmt.Sprint(k.kind, k.code)
		if seen[id] {
			t.Errorf("%v with %v is mapped twice: the way back is not clear", k.kind, k.code)
		}
		seen[id], kinds[k.kind] = true, true
	}
	for n, name := range pb.ErrorKind_name {
		if !kinds[pb.ErrorKind(n)] {
			t.Errorf("%s is not mapped", name)
		}
	}
}

// Errors that no node made keep a mutation's outcome open.
func TestTransportErrors(t *testing.T) {
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		err := errorFromStatus(status.Error(code, "transport"))
		want := verdictUnknown
		if code == codes.Unimplemented {
			want = verdictFinal
		}
		if got := judge(err); got != want {
			t.Errorf("%v: verdict %v, want %v", code, got, want)
		}
	}
	if errorFromStatus(nil) != nil || errorToStatus(nil, lockcluster.RequestID{}) != nil {
		t.Error("no error became one")
	}
}

// Statuses, kinds, priorities, spaces and put conditions have the same numbers
// and names in the API as in the vocabulary.
func TestEnumsAgree(t *testing.T) {
	for s := lockcluster.StatusGranted; s <= lockcluster.StatusNotActive; s++ {
		if got, want := pb.Status(s).String(), "STATUS_"+upper(s.String()); got != want {
			t.Errorf("status %d: %s, want %s", s, got, want)
		}
	}
	if next := lockcluster.StatusNotActive + 1; len(pb.Status_name) != int(next) {
		t.Errorf("the API has %d statuses, want %d", len(pb.Status_name), next)
	}
	for p := lockcluster.PriorityLow; p <= lockcluster.PriorityCritical; p++ {
		if got, want := pb.Priority(p).String(), "PRIORITY_"+upper(p.String()); got != want {
			t.Errorf("priority %d: %s, want %s", p, got, want)
		}
	}
	for got, want := range map[int32]int32{
		int32(pb.Kind_KIND_PULL): int32(lockcluster.KindPull), int32(pb.Kind_KIND_LEASED): int32(lockcluster.KindLeased),
		int32(pb.Kind_KIND_HELD):                             int32(lockcluster.KindHeld),
		10 + int32(pb.Space_SPACE_LOCK):                      10 + int32(lockcluster.SpaceLock),
		10 + int32(pb.Space_SPACE_COMMAND):                   10 + int32(lockcluster.SpaceCommand),
		10 + int32(pb.Space_SPACE_DOCUMENT):                  10 + int32(lockcluster.SpaceDocument),
		20 + int32(pb.PutCondition_PUT_CONDITION_IF_ABSENT):  20 + int32(lockcluster.PutIfAbsent),
		20 + int32(pb.PutCondition_PUT_CONDITION_IF_PRESENT): 20 + int32(lockcluster.PutIfPresent),
	} {
		if got != want {
			t.Errorf("number %d, want %d", got, want)
		}
	}
}

func upper(s string) string {
	b := []byte(s)
	for i, c := range b {
		switch {
		case c == ' ':
			b[i] = '_'
		case c >= 'a' && c <= 'z':
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}
