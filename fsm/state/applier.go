package state

import (
	"fmt"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state/statepb"
)

// Env is what the rules may know about the log entry they decide.
type Env struct {
	Index uint64    // log index of the entry
	Term  uint64    // term of the entry
	Now   time.Time // the leader's wall time, for display and for the age of remembered answers
	// System is the one that decides; zero means the enhanced system. The legacy
	// system has no state of the road and keeps neither leases nor TTLs.
	System lockcluster.System
	Track  bool // collect what [Applier.Touched] returns
}

// LeaseChange tells the leader's timers that a lease was set or is gone.
type LeaseChange struct {
	Lease
	Armed bool // false: the record no longer expires
}

// Lease is a record that expires.
type Lease struct {
	Namespace string
	Space     lockcluster.Space
	Key       string
	TTL       time.Duration
	Epoch     uint64
}

// Applier decides the commands of one log entry, in order, in one store
// transaction. It is for one goroutine and one entry: [Begin], any number of
// [Applier.Do], [Applier.End].
type Applier struct {
	tx      Tx
	env     Env
	meta    *statepb.MetaRecord
	books   *statepb.RequestMetaRecord
	limits  limits
	changes []LeaseChange
	// clientsAreNew: the oldest client is not old enough to be dropped. It stays
	// so within an entry, where the clock stands still and clients only get newer.
	clientsAreNew bool

	road    *lockcluster.Migration // nil: the enhanced system decides everything
	moved   bool                   // the entry changed the road or its epoch
	routed  *lockcluster.Routed    // what is decided now stands in it
	touched *tracker               // nil: not asked for
}

// Begin opens an entry. The first epoch of fencing tokens is 1.
func Begin(tx Tx, env Env) *Applier {
	a := &Applier{tx: tx, env: env, limits: standardLimits(), meta: &statepb.MetaRecord{}, books: &statepb.RequestMetaRecord{}}
	b, ok := tx.Get(keyMeta)
	switch {
	case !ok:
		a.meta.TokenEpoch = 1
	case !scanMeta(b, a.meta):
		a.meta.Reset()
		decode(keyMeta, b, a.meta)
	}
	if b, ok := tx.Get(keyRequestMeta); ok && !scanBooks(b, a.books) {
		a.books.Reset()
		decode(keyRequestMeta, b, a.books)
	}
	if env.System != lockcluster.SystemLegacy {
		a.road = roadFrom(tx)
	}
	if env.Track {
		a.touched = &tracker{Tx: tx}
		a.tx = a.touched
	}
	return a
}

// End writes the counters and returns the leases that the entry changed.
func (a *Applier) End() []LeaseChange {
	var scratch [128]byte
	putIfChanged(a.tx, keyMeta, appendMeta(scratch[:0], a.meta))
	putIfChanged(a.tx, keyRequestMeta, appendBooks(scratch[:0], a.books))
	return a.changes
}

// putIfChanged stores a copy of b.
func putIfChanged(tx Tx, key string, b []byte) {
	if old, ok := tx.Get(key); !ok && len(b) == 0 || ok && string(old) == string(b) {
		return
	}
	tx.Put(key, exactly(b))
}

// Do decides one command. The answer carries the entry's log index.
func (a *Applier) Do(c command.Command) lockcluster.Result {
	if c.ID.IsZero() {
		return a.decide(c.Request)
	}
	if err := validateRequestID(c.ID); err != nil {
		return a.invalid(err)
	}
	return a.once(c)
}

// Apply decides one request without a request id; it is what the legacy
// systems call.
func (a *Applier) Apply(req lockcluster.Request) lockcluster.Result { return a.decide(req) }

func (a *Applier) decide(req lockcluster.Request) lockcluster.Result {
	if err := Validate(req); err != nil {
		return a.invalid(err)
	}
	if err := refusedByLegacy(a.env.System, req); err != nil {
		return a.invalid(err)
	}
	var res lockcluster.Result
	switch r := req.(type) {
	case lockcluster.Expire:
		res = a.expire(r)
	case lockcluster.SetMigration:
		res = a.setMigration(r)
	case lockcluster.SetConfig:
		res = a.setConfig(r)
	case lockcluster.Mirror:
		res = a.mirror(r)
	case lockcluster.Shadow:
		res = a.shadow(r)
	case lockcluster.Routed:
		res = a.route(r)
	case lockcluster.Pin:
		res = r.Found
		res.Status = lockcluster.StatusPinned
	case lockcluster.RegisterNode:
		res = a.registerNode(r)
	case lockcluster.Checkpoint:
		res = lockcluster.Result{Status: lockcluster.StatusApplied}
	case lockcluster.BumpEpoch:
		res = a.bumpEpoch()
	default:
		if reason := a.inactive(req); reason != "" {
			res = notActive(reason)
			break
		}
		res = a.ordinary(req)
	}
	res.Index = a.env.Index
	return res
}

func (a *Applier) bumpEpoch() lockcluster.Result {
	a.meta.TokenEpoch++
	a.moved = true
	return lockcluster.Result{Status: lockcluster.StatusApplied, Token: lockcluster.Token{Epoch: a.meta.TokenEpoch, Counter: a.meta.TokenCounter}}
}

// ordinary decides what a client may ask for, whichever system decides now.
func (a *Applier) ordinary(req lockcluster.Request) lockcluster.Result {
	switch r := req.(type) {
	case lockcluster.Txn:
		return a.txn(r)
	case lockcluster.Import:
		return a.importRecords(r)
	}
	return a.mutate(req)
}

// mutate decides the requests that may also stand in a transaction.
func (a *Applier) mutate(req lockcluster.Request) lockcluster.Result {
	switch r := req.(type) {
	case lockcluster.Acquire:
		return a.acquire(r, true)
	case lockcluster.Release:
		return a.release(r)
	case lockcluster.ReleaseByPull:
		return a.releaseByPull(r)
	case lockcluster.LockCommand:
		return a.lockCommand(r)
	case lockcluster.UnlockCommand:
		return a.unlockCommand(r)
	case lockcluster.PutDocument:
		return a.putDocument(r)
	case lockcluster.DeleteDocument:
		return a.deleteDocument(r)
	case lockcluster.SetTTL:
		return a.setTTL(r)
	}
	panic(fmt.Sprintf("request type %T reached the rules", req))
}

func (a *Applier) invalid(err error) lockcluster.Result {
	return lockcluster.Result{Status: lockcluster.StatusInvalid, Index: a.env.Index, Text: err.Error()}
}

// RaiseEpoch makes a restored state follow the one that it replaces: every
// token that it grants is newer than all that either has granted, and it gives
// out no lease epoch again. It returns the greatest token so far.
func RaiseEpoch(tx Tx, before Reader) lockcluster.Token {
	var old statepb.MetaRecord
	get(before, keyMeta, &old)
	a := Begin(tx, Env{})
	a.meta.TokenEpoch = max(a.meta.TokenEpoch, old.GetTokenEpoch()) + 1
	a.meta.LeaseCounter = max(a.meta.LeaseCounter, old.GetLeaseCounter())
	keepRoad(tx, before)
	a.End()
	return lockcluster.Token{Epoch: a.meta.TokenEpoch, Counter: a.meta.TokenCounter}
}

// keepRoad leaves a restored state where the one before stood on the road between
// two lock systems, with its settings. A backup is of the enhanced system's
// records: what it says about who decides is old, and the legacy system was not
// restored with it.
func keepRoad(tx Tx, before Reader) {
	var gone []string
	for _, table := range []string{keyMigration, string(rune(tableSetting))} {
		tx.Scan(table, "", func(key string, _ []byte) bool {
			gone = append(gone, key)
			return true
		})
	}
	for _, key := range gone {
		tx.Delete(key)
	}
	for _, table := range []string{keyMigration, string(rune(tableSetting))} {
		before.Scan(table, "", func(key string, value []byte) bool {
			tx.Put(key, value)
			return true
		})
	}
}

func (a *Applier) nextToken() lockcluster.Token {
	a.meta.TokenCounter++
	return lockcluster.Token{Epoch: a.meta.TokenEpoch, Counter: a.meta.TokenCounter}
}

// arm notes that a record expires ttl after now, and returns its lease epoch.
// Lease epochs are never used twice, so that a late Expire cannot hit a
// successor.
func (a *Applier) arm(space lockcluster.Space, ns, key string, ttl time.Duration) uint64 {
	a.meta.LeaseCounter++
	epoch := a.meta.LeaseCounter
	a.tx.Put(leaseKey(space, ns, key), encode(&statepb.LeaseRecord{TtlNs: int64(ttl), LeaseEpoch: epoch}))
	a.changes = append(a.changes, LeaseChange{Lease: Lease{ns, space, key, ttl, epoch}, Armed: true})
	return epoch
}

func (a *Applier) disarm(space lockcluster.Space, ns, key string) {
	if a.env.System == lockcluster.SystemLegacy {
		return // it arms nothing
	}
	a.tx.Delete(leaseKey(space, ns, key))
	a.changes = append(a.changes, LeaseChange{Lease: Lease{Namespace: ns, Space: space, Key: key}})
}
