package backends

import (
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
)

// The buckets of an atlantis.db, and ours beside them, which Atlantis never
// looks at.
const (
	bucketLocks    = "runLocks"
	bucketPulls    = "pulls"
	bucketCommands = "globalLocks"

	bucketOurs      = "lockcluster"
	bucketDocuments = "documents" // in ours: what is no pull status
	bucketSide      = "side"      // in ours
	keyFence        = "fence"     // in ours: "term epoch"
	keyTokens       = "tokens"    // in ours: "epoch counter"
	keyID           = "id"        // in ours: see storeid.go
)

// boltBucket is a bucket with records, and how to tell their places.
type boltBucket struct {
	name  string
	in    func(tx *bolt.Tx) *bolt.Bucket
	place func(key string) (p place, problem string)
}

var boltBuckets = []boltBucket{
	{bucketLocks, topBucket(bucketLocks), func(key string) (place, string) {
		return place{lockcluster.SpaceLock, key}, ""
	}},
	{bucketPulls, topBucket(bucketPulls), func(key string) (place, string) {
		if _, _, _, err := compat.ParsePullStatusKey(key); err != nil {
			return place{}, err.Error()
		}
		return place{lockcluster.SpaceDocument, key}, ""
	}},
	{bucketCommands, topBucket(bucketCommands), func(key string) (place, string) {
		name, ok := compat.ParseCommandLockBoltKey(key)
		if !ok {
			return place{}, "its key is not that of a command lock"
		}
		return place{lockcluster.SpaceCommand, name}, ""
	}},
	{bucketOurs + "/" + bucketDocuments, func(tx *bolt.Tx) *bolt.Bucket {
		return tx.Bucket([]byte(bucketOurs)).Bucket([]byte(bucketDocuments))
	}, func(key string) (place, string) {
		p, ok := placeOfSide(key)
		if !ok || p.space != lockcluster.SpaceDocument {
			return place{}, "its key is not that of a document"
		}
		return p, ""
	}},
}

func topBucket(name string) func(tx *bolt.Tx) *bolt.Bucket {
	return func(tx *bolt.Tx) *bolt.Bucket { return tx.Bucket([]byte(name)) }
}

func (b boltBucket) load(tx *bolt.Tx, c *content) error {
	return b.in(tx).ForEach(func(k, v []byte) error {
		key := string(k)
		p, problem := b.place(key)
		if v == nil { // so BoltDB marks a bucket within a bucket
			problem = "it is a nested bucket, not a record"
		}
		if problem != "" {
			c.foreign = append(c.foreign, foreign{Bad{Bucket: b.name, Key: key, Reason: problem}, p})
			return nil
		}
		c.entries[p] = entry{value: slices.Clone(v)}
		return nil
	})
}

func readFence(ours *bolt.Bucket) (Fence, error) {
	var f Fence
	err := readPair(ours, keyFence, &f.Term, &f.Epoch)
	return f, err
}

func writeFence(ours *bolt.Bucket, f Fence) error {
	return ours.Put([]byte(keyFence), fmt.Appendf(nil, "%d %d", f.Term, f.Epoch))
}

// readID returns the store's id; without a fence it has none.
func readID(ours *bolt.Bucket) string {
	if ours.Get([]byte(keyFence)) == nil {
		return NoStore
	}
	return string(ours.Get([]byte(keyID)))
}

func readTokens(ours *bolt.Bucket) (lockcluster.Token, error) {
	var t lockcluster.Token
	err := readPair(ours, keyTokens, &t.Epoch, &t.Counter)
	return t, err
}

// raiseTokens notes that tokens up to t were given out.
func raiseTokens(ours *bolt.Bucket, t lockcluster.Token) error {
	have, err := readTokens(ours)
	if err != nil || t.Epoch <= have.Epoch && t.Counter <= have.Counter {
		return err
	}
	return ours.Put([]byte(keyTokens), fmt.Appendf(nil, "%d %d", max(t.Epoch, have.Epoch), max(t.Counter, have.Counter)))
}

func readPair(b *bolt.Bucket, key string, first, second *uint64) error {
	v := b.Get([]byte(key))
	if v == nil {
		return nil
	}
	if n, err := fmt.Sscanf(string(v), "%d %d", first, second); n != 2 || err != nil {
		return fmt.Errorf("the bucket %s holds no readable %q", bucketOurs, key)
	}
	return nil
}
