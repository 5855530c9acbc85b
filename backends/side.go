package backends

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// A side record is sideVersion, flags, the SHA-256 of the stored value, and
// the record as [state.EncodeSide] makes it. Persisted.
const (
	sideVersion = 1
	// flagMade: the record has no value; the stored one was made for Atlantis.
	flagMade   = 1 << 0
	sideHeader = 2 + sha256.Size
)

func makeSide(flags byte, value, record []byte) []byte {
	sum := sha256.Sum256(value)
	b := make([]byte, 0, sideHeader+len(record))
	b = append(b, sideVersion, flags)
	b = append(b, sum[:]...)
	return append(b, record...)
}

// openSide returns the record in a side record; nil if it is not about e's
// value: then somebody else has stored that.
func openSide(e entry) (flags byte, record []byte) {
	if len(e.side) < sideHeader || e.side[0] != sideVersion {
		return 0, nil
	}
	sum := sha256.Sum256(e.value)
	if !bytes.Equal(e.side[2:sideHeader], sum[:]) {
		return 0, nil
	}
	return e.side[1], e.side[sideHeader:]
}

// lockEntry is what a store keeps for a lock.
func lockEntry(l *lockcluster.Lock) entry {
	value, flags := l.Value, byte(0)
	if len(value) == 0 {
		value, flags = compat.NewLockValue(*l), flagMade
	}
	return entry{value: value, side: makeSide(flags, value, state.EncodeSide(*l))}
}

func commandEntry(c *lockcluster.CommandLock) entry {
	return entry{value: c.Value, side: makeSide(0, c.Value, state.EncodeSide(*c))}
}

func documentEntry(d *lockcluster.Document) entry {
	value := d.Value
	if value == nil {
		value = []byte{}
	}
	return entry{value: value, side: makeSide(0, value, state.EncodeSide(*d))}
}

// found is a lock as it stands at one place of the store.
type found struct {
	at   place
	lock lockcluster.Lock
	form compat.KeyForm
	new  bool // without a valid side record: it has no token yet
}

// readLock reads the lock in e. Its identity is that of its value; without a
// valid side record, so is everything else.
func readLock(ns string, at place, e entry) (found, error) {
	rec, err := compat.ParseLock(e.value)
	if err != nil {
		return found{}, err
	}
	f := found{at: at, form: compat.CheckKey(at.key, rec.Key)}
	if flags, side := openSide(e); side != nil {
		value := e.value
		if flags&flagMade != 0 {
			value = nil
		}
		texts := []string{rec.Key.Text()}
		if f.form == compat.KeyPresent && at.key != texts[0] {
			// The name of a directory that is not UTF-8: only the key has it.
			texts = append(texts, at.key)
		}
		for _, text := range texts {
			if l, err := state.DecodeSideLock(ns, text, side, value); err == nil {
				f.lock = *l
				return f, nil
			}
		}
	}
	req, err := rec.Acquire(ns, e.value)
	if err != nil {
		return found{}, err
	}
	f.new = true
	f.lock = lockcluster.Lock{
		Key: req.Key, Kind: lockcluster.KindPull, Owner: req.Owner, User: req.User, Priority: lockcluster.PriorityNormal,
		AcquiredAt: req.AcquiredAt, Value: e.value,
	}
	return f, nil
}

// readCommand reads the command lock in e; new as in found.
func readCommand(ns, name string, e entry) (c lockcluster.CommandLock, isNew bool, err error) {
	rec, err := compat.ParseCommandLock(e.value)
	switch {
	case err != nil:
		return c, false, err
	case rec.Command.String() != name:
		return c, false, errors.New("its key and its value name different commands")
	}
	if _, side := openSide(e); side != nil {
		if c, err := state.DecodeSideCommandLock(ns, name, side, e.value); err == nil {
			return *c, false, nil
		}
	}
	return lockcluster.CommandLock{Namespace: ns, Name: name, LockedAt: rec.LockedAt, Value: e.value}, true, nil
}

func readDocument(ns, key string, e entry) (d lockcluster.Document, isNew bool) {
	if _, side := openSide(e); side != nil {
		if d, err := state.DecodeSideDocument(ns, key, side, e.value); err == nil {
			return *d, false
		}
	}
	return lockcluster.Document{Namespace: ns, Key: key, Value: e.value}, true
}

// readsBack reports whether what is stored for a record would be read as that
// record again.
func readsBack(r state.Reader, ref lockcluster.RecordRef) bool {
	p := place{ref.Space, ref.Key}
	switch ref.Space {
	case lockcluster.SpaceLock:
		l := state.GetLock(r, ref.Namespace, ref.Key)
		if l == nil {
			return true
		}
		f, err := readLock(ref.Namespace, p, lockEntry(l))
		return err == nil && !f.new && f.lock.Key == l.Key
	case lockcluster.SpaceCommand:
		c := state.GetCommandLock(r, ref.Namespace, ref.Key)
		if c == nil {
			return true
		}
		_, isNew, err := readCommand(ref.Namespace, ref.Key, commandEntry(c))
		return err == nil && !isNew
	}
	return true
}

// timeOr returns t, or now where t is not known.
func timeOr(t, now time.Time) time.Time {
	if t.IsZero() {
		return now
	}
	return t
}
