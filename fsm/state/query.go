package state

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state/statepb"
)

// GetLock returns the lock with that key text, nil if it is free. The key is
// matched exactly; see [FindLock] for keys as old Atlantis versions write them.
func GetLock(r Reader, ns, text string) *lockcluster.Lock {
	key := lockKey(ns, text)
	b, ok := r.Get(key)
	if !ok {
		return nil
	}
	var rec statepb.LockRecord
	decodeLock(key, b, &rec)
	return lockFrom(ns, text, &rec)
}

// FindLock returns the lock that a client means by text: the one with exactly
// that key text, else the first one whose key in the form of Atlantis before
// v0.40.0 (without the project name) is text.
func FindLock(r Reader, ns, text string) *lockcluster.Lock {
	if l := GetLock(r, ns, text); l != nil {
		return l
	}
	var found *lockcluster.Lock
	table := inNamespace(tableLock, ns, "")
	r.Scan(table+text+"/", "", func(key string, value []byte) bool {
		var rec statepb.LockRecord
		decodeLock(key, value, &rec)
		if l := lockFrom(ns, key[len(table):], &rec); l.Key.OldText() == text {
			found = l
		}
		return found == nil
	})
	return found
}

// LockFilter selects locks for [ListLocks]. The zero value selects all.
type LockFilter struct {
	Repo  string // exactly this repository
	Pull  int    // with Repo: only this pull request
	Text  string // key texts that begin with this
	After string // key texts greater than this, to go on with a listing
}

// ListLocks calls yield for each selected lock in the order of the key text,
// until yield returns false.
func ListLocks(r Reader, ns string, f LockFilter, yield func(*lockcluster.Lock) bool) {
	if f.Repo != "" && f.Pull != 0 {
		listPull(r, ns, f, yield)
		return
	}
	table := inNamespace(tableLock, ns, "")
	prefix := table + f.Text
	if f.Repo != "" {
		prefix = table + f.Repo + "/"
	}
	from := ""
	if f.After != "" {
		from = table + f.After + "\x00"
	}
	var rec statepb.LockRecord
	r.Scan(prefix, from, func(key string, value []byte) bool {
		rec.Reset()
		decodeLock(key, value, &rec)
		if f.Repo != "" && int(rec.GetRepoLen()) != len(f.Repo) {
			return true // a repository whose name merely begins alike
		}
		l := lockFrom(ns, key[len(table):], &rec)
		if !hasPrefix(key[len(table):], f.Text) || f.Pull != 0 && l.Owner.Pull != f.Pull {
			return true
		}
		return yield(l)
	})
}

func listPull(r Reader, ns string, f LockFilter, yield func(*lockcluster.Lock) bool) {
	prefix := pullPrefix(ns, f.Repo, f.Pull)
	from := ""
	if f.After != "" {
		from = prefix + f.After + "\x00"
	}
	r.Scan(prefix+f.Text, from, func(key string, _ []byte) bool {
		l := GetLock(r, ns, key[len(prefix):])
		if l == nil {
			panic("pull index without its lock")
		}
		return yield(l)
	})
}

// GetCommandLock returns the global lock on a command, nil if there is none.
func GetCommandLock(r Reader, ns, name string) *lockcluster.CommandLock {
	var rec statepb.CommandLockRecord
	if !get(r, commandKey(ns, name), &rec) {
		return nil
	}
	return commandLockFrom(ns, name, &rec)
}

// GetDocument returns the document under key, nil if there is none.
func GetDocument(r Reader, ns, key string) *lockcluster.Document {
	var rec statepb.DocumentRecord
	if !get(r, documentKey(ns, key), &rec) {
		return nil
	}
	return documentFrom(ns, key, &rec)
}

// Keys calls yield for each key of a space that begins with prefix, in byte
// order, until yield returns false.
func Keys(r Reader, ns string, space lockcluster.Space, prefix string, yield func(key string) bool) {
	table, ok := spaceTable(space)
	if !ok {
		return
	}
	start := inNamespace(table, ns, "")
	r.Scan(start+prefix, "", func(key string, _ []byte) bool { return yield(key[len(start):]) })
}

// Revision returns the log index of a record's last change, 0 if it is absent.
func Revision(r Reader, ns string, space lockcluster.Space, key string) uint64 {
	table, ok := spaceTable(space)
	if !ok {
		return 0
	}
	full := inNamespace(table, ns, key)
	b, ok := r.Get(full)
	if !ok {
		return 0
	}
	return revisionOf(table, full, b)
}

func revisionOf(table byte, key string, b []byte) uint64 {
	switch table {
	case tableLock:
		var rec statepb.LockRecord
		decodeLock(key, b, &rec)
		return rec.GetRevision()
	case tableCommand:
		var rec statepb.CommandLockRecord
		decode(key, b, &rec)
		return rec.GetRevision()
	default:
		var rec statepb.DocumentRecord
		decode(key, b, &rec)
		return rec.GetRevision()
	}
}

// RangeDigest digests which keys of a space begin with prefix, and their
// revisions. Two equal digests mean that a listing would be the same.
func RangeDigest(r Reader, ns string, space lockcluster.Space, prefix string) []byte {
	table, ok := spaceTable(space)
	if !ok {
		return nil
	}
	h := sha256.New()
	var size [16]byte
	r.Scan(inNamespace(table, ns, prefix), "", func(key string, value []byte) bool {
		binary.BigEndian.PutUint64(size[:8], uint64(len(key)))
		binary.BigEndian.PutUint64(size[8:], revisionOf(table, key, value))
		h.Write(size[:])
		h.Write([]byte(key))
		return true
	})
	return h.Sum(nil)
}

// Leases calls yield for every record that expires.
func Leases(r Reader, yield func(Lease) bool) {
	eachLease(r, string(rune(tableLease)), yield)
}

func eachLease(r Reader, prefix string, yield func(Lease) bool) {
	r.Scan(prefix, "", func(key string, value []byte) bool {
		var rec statepb.LeaseRecord
		decode(key, value, &rec)
		space, ns, k := splitLeaseKey(key)
		return yield(Lease{ns, space, k, time.Duration(rec.GetTtlNs()), rec.GetLeaseEpoch()})
	})
}

// Nodes calls yield for every node that has registered, by id.
func Nodes(r Reader, yield func(lockcluster.RegisterNode) bool) {
	r.Scan(string(rune(tableNode)), "", func(key string, value []byte) bool {
		return yield(nodeFrom(key, value))
	})
}

// GetNode returns what a node has registered; false if it has not.
func GetNode(r Reader, id string) (lockcluster.RegisterNode, bool) {
	b, ok := r.Get(nodeKey(id))
	if !ok {
		return lockcluster.RegisterNode{}, false
	}
	return nodeFrom(nodeKey(id), b), true
}

func nodeFrom(key string, value []byte) lockcluster.RegisterNode {
	var rec statepb.NodeRecord
	decode(key, value, &rec)
	return lockcluster.RegisterNode{
		NodeID: key[1:], RaftAddr: rec.GetRaftAddr(), GRPCAddr: rec.GetGrpcAddr(), HTTPAddr: rec.GetHttpAddr(),
		RESPAddr: rec.GetRespAddr(), Version: rec.GetVersion(), FeatureLevel: rec.GetFeatureLevel(),
	}
}

// Stats are counts of the whole state, all namespaces.
type Stats struct {
	Locks        uint64
	CommandLocks uint64
	Documents    uint64
	Answers      uint64 // remembered answers
	Clients      uint64 // clients with acknowledged answers
	LastToken    lockcluster.Token
}

// GetStats returns the counts; it costs two reads.
func GetStats(r Reader) Stats {
	var meta statepb.MetaRecord
	var books statepb.RequestMetaRecord
	get(r, keyMeta, &meta)
	get(r, keyRequestMeta, &books)
	return Stats{
		Locks: meta.GetLocks(), CommandLocks: meta.GetCommandLocks(), Documents: meta.GetDocuments(),
		Answers: books.GetCount(), Clients: books.GetClients(),
		LastToken: lockcluster.Token{Epoch: meta.GetTokenEpoch(), Counter: meta.GetTokenCounter()},
	}
}

// Namespaces returns the namespaces that hold locks or documents, in order.
func Namespaces(r Reader) []string {
	seen := map[string]bool{}
	var names []string
	for _, table := range []byte{tableLock, tableCommand, tableDocument} {
		from := ""
		for found := true; found; {
			found = false
			r.Scan(string(rune(table)), from, func(key string, _ []byte) bool {
				end := 1
				for key[end] != 0 {
					end++
				}
				if ns := key[1:end]; !seen[ns] {
					seen[ns] = true
					names = append(names, ns)
				}
				from, found = key[:end]+"\x01", true // past every key of this namespace
				return false
			})
		}
	}
	slices.Sort(names)
	return names
}
