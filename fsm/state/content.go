package state

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state/statepb"
)

// ContentDigest digests the locks, command locks and documents of a namespace
// and counts them. What each system keeps for itself is left out (homes, lease
// epochs, when leases were armed), so two systems that hold the same records
// have the same digest.
func ContentDigest(r Reader, ns string) (digest []byte, count int) {
	h := sha256.New()
	add := func(key string, m proto.Message) {
		b := encode(m)
		var size [8]byte
		binary.BigEndian.PutUint32(size[:4], uint32(len(key)))
		binary.BigEndian.PutUint32(size[4:], uint32(len(b)))
		h.Write(size[:])
		h.Write([]byte(key))
		h.Write(b)
		count++
	}
	r.Scan(inNamespace(tableLock, ns, ""), "", func(key string, value []byte) bool {
		var rec statepb.LockRecord
		decodeLock(key, value, &rec)
		rec.HomeSystem, rec.HomeEpoch, rec.LeaseEpoch, rec.RenewedUnixMs = 0, 0, 0, 0
		add(key, &rec)
		return true
	})
	r.Scan(inNamespace(tableCommand, ns, ""), "", func(key string, value []byte) bool {
		var rec statepb.CommandLockRecord
		decode(key, value, &rec)
		rec.HomeSystem, rec.HomeEpoch = 0, 0
		add(key, &rec)
		return true
	})
	r.Scan(inNamespace(tableDocument, ns, ""), "", func(key string, value []byte) bool {
		var rec statepb.DocumentRecord
		decode(key, value, &rec)
		rec.HomeSystem, rec.HomeEpoch, rec.LeaseEpoch, rec.ArmedUnixMs = 0, 0, 0, 0
		add(key, &rec)
		return true
	})
	return h.Sum(nil), count
}

// EncodeSide returns a record in its form in the store, but without the value
// that a client stored: what a legacy store keeps beside its own format.
func EncodeSide[R lockcluster.Lock | lockcluster.CommandLock | lockcluster.Document](x R) []byte {
	switch x := any(x).(type) {
	case lockcluster.Lock:
		x.Value = nil
		return encode(lockRecord(&x))
	case lockcluster.CommandLock:
		x.Value = nil
		return encode(commandLockRecord(&x))
	case lockcluster.Document:
		x.Value = nil
		return encode(documentRecord(&x))
	}
	panic("not a record")
}

// DecodeSideLock builds the lock with that key text from what [EncodeSide]
// made, and its value.
func DecodeSideLock(ns, text string, side, value []byte) (*lockcluster.Lock, error) {
	var rec statepb.LockRecord
	if err := proto.Unmarshal(side, &rec); err != nil {
		return nil, fmt.Errorf("side record of a lock: %w", err)
	}
	parts := uint64(rec.GetRepoLen()) + uint64(rec.GetPathLen()) + uint64(rec.GetWorkspaceLen()) + 3
	if parts > uint64(len(text)) {
		return nil, fmt.Errorf("side record of a lock does not fit its key")
	}
	l := lockFrom(ns, text, &rec)
	l.Value = value
	if l.Key.Text() != text {
		return nil, fmt.Errorf("side record of a lock does not fit its key")
	}
	return l, validateMirrorLock(ns, l)
}

// DecodeSideCommandLock is [DecodeSideLock] for a command lock.
func DecodeSideCommandLock(ns, name string, side, value []byte) (*lockcluster.CommandLock, error) {
	var rec statepb.CommandLockRecord
	if err := proto.Unmarshal(side, &rec); err != nil {
		return nil, fmt.Errorf("side record of a command lock: %w", err)
	}
	c := commandLockFrom(ns, name, &rec)
	c.Value = value
	return c, validateMirrorCommand(ns, c)
}

// DecodeSideDocument is [DecodeSideLock] for a document.
func DecodeSideDocument(ns, key string, side, value []byte) (*lockcluster.Document, error) {
	var rec statepb.DocumentRecord
	if err := proto.Unmarshal(side, &rec); err != nil {
		return nil, fmt.Errorf("side record of a document: %w", err)
	}
	d := documentFrom(ns, key, &rec)
	d.Value = value
	return d, validateMirrorDocument(ns, d)
}
