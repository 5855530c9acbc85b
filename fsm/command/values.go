package command

import (
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command/logpb"
)

func keyToPB(k lockcluster.Key) *logpb.Key {
	return &logpb.Key{
		Namespace: k.Namespace, Repo: []byte(k.Repo), Path: []byte(k.Path), Workspace: []byte(k.Workspace), Project: []byte(k.Project),
	}
}

func keyFromPB(p *logpb.Key) lockcluster.Key {
	return lockcluster.Key{
		Namespace: p.GetNamespace(), Repo: string(p.GetRepo()), Path: string(p.GetPath()),
		Workspace: string(p.GetWorkspace()), Project: string(p.GetProject()),
	}
}

func ownerToPB(o lockcluster.Owner) *logpb.Owner {
	return &logpb.Owner{Host: []byte(o.Host), Repo: []byte(o.Repo), Pull: int64(o.Pull), Id: []byte(o.ID)}
}

func ownerFromPB(p *logpb.Owner) lockcluster.Owner {
	return lockcluster.Owner{Host: string(p.GetHost()), Repo: string(p.GetRepo()), Pull: int(p.GetPull()), ID: string(p.GetId())}
}

func tokenToPB(t lockcluster.Token) *logpb.Token {
	if t.IsZero() {
		return nil
	}
	return &logpb.Token{Epoch: t.Epoch, Counter: t.Counter}
}

func tokenFromPB(p *logpb.Token) lockcluster.Token {
	return lockcluster.Token{Epoch: p.GetEpoch(), Counter: p.GetCounter()}
}

func homeToPB(h lockcluster.Home) *logpb.Home {
	if h == (lockcluster.Home{}) {
		return nil
	}
	return &logpb.Home{System: uint32(h.System), Epoch: h.Epoch}
}

func homeFromPB(p *logpb.Home) lockcluster.Home {
	return lockcluster.Home{System: lockcluster.System(p.GetSystem()), Epoch: p.GetEpoch()}
}

// instantToPB keeps the instant and the zone offset, and nothing else of the
// zone: names and rules differ between machines.
func instantToPB(t time.Time) *logpb.Instant {
	if t.IsZero() {
		return nil
	}
	_, offset := t.Zone()
	return &logpb.Instant{UnixNs: t.UnixNano(), OffsetSeconds: int32(offset)}
}

func instantFromPB(p *logpb.Instant) time.Time {
	if p == nil {
		return time.Time{}
	}
	return Instant(p.GetUnixNs(), p.GetOffsetSeconds())
}

// Instant builds the time of a stored instant and zone offset.
func Instant(unixNs int64, offsetSeconds int32) time.Time {
	t := time.Unix(0, unixNs)
	if offsetSeconds == 0 {
		return t.UTC()
	}
	return t.In(time.FixedZone("", int(offsetSeconds)))
}

func lockToPB(l *lockcluster.Lock) *logpb.Lock {
	if l == nil {
		return nil
	}
	return &logpb.Lock{
		Key: keyToPB(l.Key), Kind: uint32(l.Kind), Owner: ownerToPB(l.Owner), User: []byte(l.User), Priority: uint32(l.Priority),
		Token: tokenToPB(l.Token), AcquiredAt: instantToPB(l.AcquiredAt), RenewedAt: instantToPB(l.RenewedAt),
		TtlNs: int64(l.TTL), LeaseEpoch: l.LeaseEpoch, Revision: l.Revision, Value: l.Value, Home: homeToPB(l.Home),
	}
}

func lockFromPB(p *logpb.Lock) *lockcluster.Lock {
	if p == nil {
		return nil
	}
	return &lockcluster.Lock{
		Key: keyFromPB(p.GetKey()), Kind: lockcluster.Kind(p.GetKind()), Owner: ownerFromPB(p.GetOwner()), User: string(p.GetUser()),
		Priority: lockcluster.Priority(p.GetPriority()), Token: tokenFromPB(p.GetToken()),
		AcquiredAt: instantFromPB(p.GetAcquiredAt()), RenewedAt: instantFromPB(p.GetRenewedAt()),
		TTL: time.Duration(p.GetTtlNs()), LeaseEpoch: p.GetLeaseEpoch(), Revision: p.GetRevision(), Value: p.GetValue(),
		Home: homeFromPB(p.GetHome()),
	}
}

func commandLockToPB(c *lockcluster.CommandLock) *logpb.CommandLock {
	if c == nil {
		return nil
	}
	return &logpb.CommandLock{
		Namespace: c.Namespace, Name: []byte(c.Name), LockedAt: instantToPB(c.LockedAt),
		Token: tokenToPB(c.Token), Revision: c.Revision, Value: c.Value, Home: homeToPB(c.Home),
	}
}

func commandLockFromPB(p *logpb.CommandLock) *lockcluster.CommandLock {
	if p == nil {
		return nil
	}
	return &lockcluster.CommandLock{
		Namespace: p.GetNamespace(), Name: string(p.GetName()), LockedAt: instantFromPB(p.GetLockedAt()),
		Token: tokenFromPB(p.GetToken()), Revision: p.GetRevision(), Value: p.GetValue(), Home: homeFromPB(p.GetHome()),
	}
}

func documentToPB(d *lockcluster.Document) *logpb.Document {
	if d == nil {
		return nil
	}
	return &logpb.Document{
		Namespace: d.Namespace, Key: []byte(d.Key), Value: d.Value, TtlNs: int64(d.TTL),
		LeaseEpoch: d.LeaseEpoch, ArmedAt: instantToPB(d.ArmedAt), Revision: d.Revision, Home: homeToPB(d.Home),
	}
}

func documentFromPB(p *logpb.Document) *lockcluster.Document {
	if p == nil {
		return nil
	}
	return &lockcluster.Document{
		Namespace: p.GetNamespace(), Key: string(p.GetKey()), Value: p.GetValue(), TTL: time.Duration(p.GetTtlNs()),
		LeaseEpoch: p.GetLeaseEpoch(), ArmedAt: instantFromPB(p.GetArmedAt()), Revision: p.GetRevision(), Home: homeFromPB(p.GetHome()),
	}
}

func resultToPB(r lockcluster.Result) *logpb.Result {
	pb := &logpb.Result{
		Status: uint32(r.Status), Index: r.Index, Lock: lockToPB(r.Lock), CommandLock: commandLockToPB(r.CommandLock),
		Document: documentToPB(r.Document), Token: tokenToPB(r.Token), Text: []byte(r.Text),
	}
	for i := range r.Locks {
		pb.Locks = append(pb.Locks, lockToPB(&r.Locks[i]))
	}
	for i := range r.Results {
		pb.Results = append(pb.Results, resultToPB(r.Results[i]))
	}
	return pb
}

func resultFromPB(p *logpb.Result) lockcluster.Result {
	r := lockcluster.Result{
		Status: lockcluster.Status(p.GetStatus()), Index: p.GetIndex(), Lock: lockFromPB(p.GetLock()),
		CommandLock: commandLockFromPB(p.GetCommandLock()), Document: documentFromPB(p.GetDocument()),
		Token: tokenFromPB(p.GetToken()), Text: string(p.GetText()),
	}
	for _, l := range p.GetLocks() {
		r.Locks = append(r.Locks, *lockFromPB(l))
	}
	for _, s := range p.GetResults() {
		r.Results = append(r.Results, resultFromPB(s))
	}
	return r
}
