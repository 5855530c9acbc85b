package state

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state/statepb"
)

// marshal makes equal records equal bytes, which the state hash relies on.
var marshal = proto.MarshalOptions{Deterministic: true}

func encode(m proto.Message) []byte {
	b, err := marshal.Marshal(m)
	if err != nil { // only strings that are not UTF-8 can fail; keys.go and validate.go exclude them
		panic(fmt.Sprintf("encode %T: %v", m, err))
	}
	return b
}

// decode reads a record of the store. A record that cannot be read is a broken
// invariant: snapshots and log entries are verified before they get here.
func decode(key string, b []byte, m proto.Message) {
	if err := proto.Unmarshal(b, m); err != nil {
		panic(fmt.Sprintf("record of table %q: decode %T: %v", key[0], m, err))
	}
}

func get(r Reader, key string, m proto.Message) bool {
	b, ok := r.Get(key)
	if ok {
		decode(key, b, m)
	}
	return ok
}

// lockRecord is what [encodeLock] writes, as a message: the tests compare them.
func lockRecord(l *lockcluster.Lock) *statepb.LockRecord {
	rec := &statepb.LockRecord{
		RepoLen: uint32(len(l.Key.Repo)), PathLen: uint32(len(l.Key.Path)), WorkspaceLen: uint32(len(l.Key.Workspace)),
		Kind: uint32(l.Kind), Host: []byte(l.Owner.Host), Pull: int64(l.Owner.Pull), OwnerId: []byte(l.Owner.ID),
		User: []byte(l.User), Priority: uint32(l.Priority), TokenEpoch: l.Token.Epoch, TokenCounter: l.Token.Counter,
		AcquiredUnixNs: l.AcquiredAt.UnixNano(), AcquiredOffsetSeconds: int32(zoneOffset(l.AcquiredAt)),
		TtlNs: int64(l.TTL), LeaseEpoch: l.LeaseEpoch, Revision: l.Revision, Value: l.Value,
		HomeSystem: uint32(l.Home.System), HomeEpoch: l.Home.Epoch,
	}
	if l.Owner.Repo != l.Key.Repo {
		rec.OwnerRepo = []byte(l.Owner.Repo)
	}
	if !l.RenewedAt.IsZero() {
		rec.RenewedUnixMs = l.RenewedAt.UnixMilli()
	}
	return rec
}

func zoneOffset(t time.Time) int {
	_, offset := t.Zone()
	return offset
}

func instant(unixNs int64, offsetSeconds int32) time.Time {
	t := time.Unix(0, unixNs)
	if offsetSeconds == 0 {
		return t.UTC()
	}
	return t.In(time.FixedZone("", int(offsetSeconds)))
}

func millis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// lockFrom builds the lock of record rec under key text.
func lockFrom(ns, text string, rec *statepb.LockRecord) *lockcluster.Lock {
	repoEnd := int(rec.GetRepoLen())
	pathEnd := repoEnd + 1 + int(rec.GetPathLen())
	workspaceEnd := pathEnd + 1 + int(rec.GetWorkspaceLen())
	if workspaceEnd+1 > len(text) {
		panic("lock record does not fit its key")
	}
	l := &lockcluster.Lock{
		Key: lockcluster.Key{
			Namespace: ns, Repo: text[:repoEnd], Path: text[repoEnd+1 : pathEnd],
			Workspace: text[pathEnd+1 : workspaceEnd], Project: text[workspaceEnd+1:],
		},
		Kind:       lockcluster.Kind(rec.GetKind()),
		Owner:      lockcluster.Owner{Host: string(rec.GetHost()), Repo: string(rec.GetOwnerRepo()), Pull: int(rec.GetPull()), ID: string(rec.GetOwnerId())},
		User:       string(rec.GetUser()),
		Priority:   lockcluster.Priority(rec.GetPriority()),
		Token:      lockcluster.Token{Epoch: rec.GetTokenEpoch(), Counter: rec.GetTokenCounter()},
		AcquiredAt: instant(rec.GetAcquiredUnixNs(), rec.GetAcquiredOffsetSeconds()),
		RenewedAt:  millis(rec.GetRenewedUnixMs()),
		TTL:        time.Duration(rec.GetTtlNs()),
		LeaseEpoch: rec.GetLeaseEpoch(),
		Revision:   rec.GetRevision(),
		Home:       homeFrom(rec),
		Value:      rec.GetValue(),
	}
	if l.Owner.Repo == "" && l.Owner.ID == "" {
		l.Owner.Repo = l.Key.Repo
	}
	return l
}

func commandLockFrom(ns, name string, rec *statepb.CommandLockRecord) *lockcluster.CommandLock {
	return &lockcluster.CommandLock{
		Namespace: ns, Name: name, LockedAt: time.Unix(rec.GetLockedUnix(), 0).UTC(),
		Token:    lockcluster.Token{Epoch: rec.GetTokenEpoch(), Counter: rec.GetTokenCounter()},
		Revision: rec.GetRevision(), Value: rec.GetValue(), Home: homeFrom(rec),
	}
}

func documentFrom(ns, key string, rec *statepb.DocumentRecord) *lockcluster.Document {
	return &lockcluster.Document{
		Namespace: ns, Key: key, Value: rec.GetValue(), TTL: time.Duration(rec.GetTtlNs()),
		LeaseEpoch: rec.GetLeaseEpoch(), ArmedAt: millis(rec.GetArmedUnixMs()), Revision: rec.GetRevision(),
		Home: homeFrom(rec),
	}
}

// homed is what the records of locks, command locks and documents share.
type homed interface {
	GetHomeSystem() uint32
	GetHomeEpoch() uint64
}

// homedRecord is such a record with its bytes.
type homedRecord interface {
	homed
	proto.Message
}

func homeFrom(rec homed) lockcluster.Home {
	return lockcluster.Home{System: lockcluster.System(rec.GetHomeSystem()), Epoch: rec.GetHomeEpoch()}
}

func commandLockRecord(c *lockcluster.CommandLock) *statepb.CommandLockRecord {
	return &statepb.CommandLockRecord{
		LockedUnix: c.LockedAt.Unix(), TokenEpoch: c.Token.Epoch, TokenCounter: c.Token.Counter, Revision: c.Revision, Value: c.Value,
		HomeSystem: uint32(c.Home.System), HomeEpoch: c.Home.Epoch,
	}
}

func documentRecord(d *lockcluster.Document) *statepb.DocumentRecord {
	rec := &statepb.DocumentRecord{
		Value: d.Value, TtlNs: int64(d.TTL), LeaseEpoch: d.LeaseEpoch, Revision: d.Revision,
		HomeSystem: uint32(d.Home.System), HomeEpoch: d.Home.Epoch,
	}
	if !d.ArmedAt.IsZero() {
		rec.ArmedUnixMs = d.ArmedAt.UnixMilli()
	}
	return rec
}
