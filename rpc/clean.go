package rpc

import (
	"hash/maphash"
	"sync"

	"github.com/lockcluster/lockcluster/compat"
)

// cleanMax bounds each half of [cleanValues]: about 3 MB together.
const cleanMax = 1 << 16

// cleanValues remembers which stored values hold nothing to hide. To look
// through a value costs several times as much as to find it here, and a lock's
// value is read again and again: by every listing, and by everyone who is told
// who holds the lock.
//
// Values are known by 128 bits of hashes whose seeds no one can learn, so one
// that has something to hide is not taken for another. It is safe for concurrent use.
type cleanValues struct {
	seeds [2]maphash.Seed

	mu            sync.Mutex // guards what follows
	recent, older map[[2]uint64]struct{}
}

func newCleanValues() *cleanValues {
	return &cleanValues{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, recent: map[[2]uint64]struct{}{}}
}

// sanitize is [compat.SanitizeValue]. The result shares raw's memory if there is
// nothing to hide.
func (c *cleanValues) sanitize(raw []byte) []byte {
	id := [2]uint64{maphash.Bytes(c.seeds[0], raw), maphash.Bytes(c.seeds[1], raw)}
	if c.known(id) {
		return raw
	}
	out := compat.SanitizeValue(raw)
	if len(out) == len(raw) && &out[0] == &raw[0] {
		c.add(id)
	}
	return out
}

func (c *cleanValues) known(id [2]uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.recent[id]; ok {
		return true
	}
	if _, ok := c.older[id]; !ok {
		return false
	}
	c.addLocked(id)
	return true
}

func (c *cleanValues) add(id [2]uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addLocked(id)
}

// addLocked forgets the older half when the recent one is full.
func (c *cleanValues) addLocked(id [2]uint64) {
	if len(c.recent) >= cleanMax {
		c.recent, c.older = make(map[[2]uint64]struct{}, cleanMax), c.recent
	}
	c.recent[id] = struct{}{}
}

// clean is for all of the process: what is in a value decides, not whose it is.
var clean = newCleanValues()
