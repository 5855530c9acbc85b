package rpc

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lockcluster/lockcluster"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

// This file translates values. "ToPB" functions make API messages of root
// types, "FromPB" functions the reverse.

// validText keeps a string fit for a protobuf string field. Keys are UTF-8
// where locks are made; this is for the rest of the world.
func validText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func timeToPB(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func offsetOf(t time.Time) int32 {
	_, offset := t.Zone()
	return int32(offset) //nolint:gosec // an offset is less than a day
}

// The wall times a record can keep: nanoseconds since 1970 in 64 bits.
var (
	timeMin = time.Unix(0, math.MinInt64)
	timeMax = time.Unix(0, math.MaxInt64)
)

func timeFromPB(ts *timestamppb.Timestamp, offsetSeconds int32) (time.Time, error) {
	if ts == nil {
		return time.Time{}, nil
	}
	t := ts.AsTime()
	const day = 24 * 60 * 60
	if ts.CheckValid() != nil || t.Before(timeMin) || t.After(timeMax) || offsetSeconds <= -day || offsetSeconds >= day {
		return time.Time{}, fmt.Errorf("%w: a time is out of range", lockcluster.ErrInvalid)
	}
	if offsetSeconds != 0 {
		t = t.In(time.FixedZone("", int(offsetSeconds)))
	}
	return t, nil
}

// timeOfPB is timeFromPB for a client, which has no use for an error.
func timeOfPB(ts *timestamppb.Timestamp, offsetSeconds int32) time.Time {
	t, _ := timeFromPB(ts, offsetSeconds)
	return t
}

func durationToPB(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

func keyToPB(k lockcluster.Key) *pb.Key {
	out := &pb.Key{}
	fillKey(out, &k)
	return out
}

func fillKey(out *pb.Key, k *lockcluster.Key) {
	out.Namespace, out.Repo, out.Path = k.Namespace, validText(k.Repo), validText(k.Path)
	out.Workspace, out.Project = validText(k.Workspace), validText(k.Project)
}

func keyFromPB(k *pb.Key) lockcluster.Key {
	return lockcluster.Key{
		Namespace: namespaceOf(k.GetNamespace()), Repo: k.GetRepo(), Path: k.GetPath(),
		Workspace: k.GetWorkspace(), Project: k.GetProject(),
	}
}

// namespaceOf gives a request without a namespace the default one.
func namespaceOf(ns string) string {
	if ns == "" {
		return lockcluster.DefaultNamespace
	}
	return ns
}

func ownerToPB(o lockcluster.Owner) *pb.Owner {
	out := &pb.Owner{}
	fillOwner(out, &o)
	return out
}

func fillOwner(out *pb.Owner, o *lockcluster.Owner) {
	out.Host, out.Repo, out.Pull, out.Id = validText(o.Host), validText(o.Repo), int64(o.Pull), validText(o.ID)
}

func ownerFromPB(o *pb.Owner) lockcluster.Owner {
	return lockcluster.Owner{Host: o.GetHost(), Repo: o.GetRepo(), Pull: int(o.GetPull()), ID: o.GetId()}
}

func tokenToPB(t lockcluster.Token) *pb.Token {
	if t.IsZero() {
		return nil
	}
	return &pb.Token{Epoch: t.Epoch, Counter: t.Counter}
}

func tokenFromPB(t *pb.Token) lockcluster.Token {
	return lockcluster.Token{Epoch: t.GetEpoch(), Counter: t.GetCounter()}
}

// sanitized is what an answer may show of a stored value.
func sanitized(value []byte, include bool) []byte {
	if !include || len(value) == 0 {
		return nil
	}
	return clean.sanitize(value)
}

// lockParts is a lock and what hangs on it, in one piece: a listing makes many.
type lockParts struct {
	lock       pb.Lock
	key        pb.Key
	owner      pb.Owner
	token      pb.Token
	acquiredAt timestamppb.Timestamp
}

func lockToPB(l *lockcluster.Lock, includeValue bool) *pb.Lock {
	if l == nil {
		return nil
	}
	p := &lockParts{}
	out := &p.lock
	out.Key, out.Owner = &p.key, &p.owner
	fillKey(out.Key, &l.Key)
	fillOwner(out.Owner, &l.Owner)
	if !l.Token.IsZero() {
		out.Token = &p.token
		out.Token.Epoch, out.Token.Counter = l.Token.Epoch, l.Token.Counter
	}
	if !l.AcquiredAt.IsZero() {
		out.AcquiredAt = &p.acquiredAt
		out.AcquiredAt.Seconds, out.AcquiredAt.Nanos = l.AcquiredAt.Unix(), int32(l.AcquiredAt.Nanosecond()) //nolint:gosec // below 10^9
	}
	out.Text, out.User = validText(l.Key.Text()), validText(l.User)
	out.Kind, out.Priority = pb.Kind(l.Kind), pb.Priority(l.Priority)
	out.AcquiredAtOffsetSeconds = offsetOf(l.AcquiredAt)
	out.RenewedAt, out.Ttl, out.ExpiresAt = timeToPB(l.RenewedAt), durationToPB(l.TTL), timeToPB(l.ExpiresAt())
	out.LeaseEpoch, out.Revision = l.LeaseEpoch, l.Revision
	out.Value = sanitized(l.Value, includeValue)
	out.HomeSystem, out.HomeEpoch = uint32(l.Home.System), l.Home.Epoch
	return out
}

func lockFromPB(l *pb.Lock) *lockcluster.Lock {
	if l == nil {
		return nil
	}
	return &lockcluster.Lock{
		Key: keyFromPB(l.GetKey()), Kind: lockcluster.Kind(small(int32(l.GetKind()))), Owner: ownerFromPB(l.GetOwner()),
		User: l.GetUser(), Priority: lockcluster.Priority(small(int32(l.GetPriority()))), Token: tokenFromPB(l.GetToken()),
		AcquiredAt: timeOfPB(l.GetAcquiredAt(), l.GetAcquiredAtOffsetSeconds()), RenewedAt: timeOfPB(l.GetRenewedAt(), 0),
		TTL: l.GetTtl().AsDuration(), LeaseEpoch: l.GetLeaseEpoch(), Revision: l.GetRevision(), Value: l.GetValue(),
		Home: lockcluster.Home{System: lockcluster.System(small(int32(l.GetHomeSystem()))), Epoch: l.GetHomeEpoch()}, //nolint:gosec // cut off alike everywhere
	}
}

func commandLockToPB(c *lockcluster.CommandLock, includeValue bool) *pb.CommandLock {
	if c == nil {
		return nil
	}
	return &pb.CommandLock{
		Namespace: c.Namespace, Name: validText(c.Name), LockedAt: timeToPB(c.LockedAt),
		LockedAtOffsetSeconds: offsetOf(c.LockedAt), Token: tokenToPB(c.Token), Revision: c.Revision,
		Value: sanitized(c.Value, includeValue),
	}
}

func commandLockFromPB(c *pb.CommandLock) *lockcluster.CommandLock {
	if c == nil {
		return nil
	}
	return &lockcluster.CommandLock{
		Namespace: c.GetNamespace(), Name: c.GetName(), LockedAt: timeOfPB(c.GetLockedAt(), c.GetLockedAtOffsetSeconds()),
		Token: tokenFromPB(c.GetToken()), Revision: c.GetRevision(), Value: c.GetValue(),
	}
}

func documentToPB(d *lockcluster.Document, includeValue bool) *pb.Document {
	if d == nil {
		return nil
	}
	return &pb.Document{
		Namespace: d.Namespace, Key: validText(d.Key), Value: sanitized(d.Value, includeValue), Ttl: durationToPB(d.TTL),
		LeaseEpoch: d.LeaseEpoch, ArmedAt: timeToPB(d.ArmedAt), Revision: d.Revision,
	}
}

func documentFromPB(d *pb.Document) *lockcluster.Document {
	if d == nil {
		return nil
	}
	return &lockcluster.Document{
		Namespace: d.GetNamespace(), Key: d.GetKey(), Value: d.GetValue(), TTL: d.GetTtl().AsDuration(),
		LeaseEpoch: d.GetLeaseEpoch(), ArmedAt: timeOfPB(d.GetArmedAt(), 0), Revision: d.GetRevision(),
	}
}

func resultToPB(r *lockcluster.Result, includeValue bool) *pb.Result {
	out := &pb.Result{
		Status: pb.Status(r.Status), Index: r.Index, Lock: lockToPB(r.Lock, includeValue),
		CommandLock: commandLockToPB(r.CommandLock, includeValue), Document: documentToPB(r.Document, includeValue),
		Token: tokenToPB(r.Token), Text: validText(r.Text),
	}
	if len(r.Locks) > 0 {
		out.Locks = make([]*pb.Lock, len(r.Locks))
		for i := range r.Locks {
			out.Locks[i] = lockToPB(&r.Locks[i], includeValue)
		}
	}
	if len(r.Results) > 0 {
		out.Results = make([]*pb.Result, len(r.Results))
		for i := range r.Results {
			out.Results[i] = resultToPB(&r.Results[i], includeValue)
		}
	}
	return out
}

func resultFromPB(r *pb.Result) lockcluster.Result {
	out := lockcluster.Result{
		Status: lockcluster.Status(small(int32(r.GetStatus()))), Index: r.GetIndex(), Lock: lockFromPB(r.GetLock()),
		CommandLock: commandLockFromPB(r.GetCommandLock()), Document: documentFromPB(r.GetDocument()),
		Token: tokenFromPB(r.GetToken()), Text: r.GetText(),
	}
	for _, l := range r.GetLocks() {
		out.Locks = append(out.Locks, *lockFromPB(l))
	}
	for _, x := range r.GetResults() {
		out.Results = append(out.Results, resultFromPB(x))
	}
	return out
}

// small keeps an enum value that one byte cannot hold from becoming another.
func small(n int32) uint8 {
	if n < 0 || n > math.MaxUint8 {
		return math.MaxUint8
	}
	return uint8(n)
}
