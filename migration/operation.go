package migration

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/lockcluster/lockcluster"
)

// OperationOf names a request for counters: "acquire", "release",
// "release-by-pull", "lock-command", "unlock-command", "put-document",
// "delete-document", "set-ttl", "transaction" or "import"; of a [lockcluster.Routed]
// what it carries; "other" for what no client asks for.
func OperationOf(req lockcluster.Request) string {
	switch q := req.(type) {
	case lockcluster.Acquire:
		return "acquire"
	case lockcluster.Release:
		return "release"
	case lockcluster.ReleaseByPull:
		return "release-by-pull"
	case lockcluster.LockCommand:
		return "lock-command"
	case lockcluster.UnlockCommand:
		return "unlock-command"
	case lockcluster.PutDocument:
		return "put-document"
	case lockcluster.DeleteDocument:
		return "delete-document"
	case lockcluster.SetTTL:
		return "set-ttl"
	case lockcluster.Txn:
		return "transaction"
	case lockcluster.Import:
		return "import"
	case lockcluster.Routed:
		return OperationOf(q.Request)
	}
	return "other"
}

// keyOf returns what a request is about, for people.
func keyOf(req lockcluster.Request) (namespace, key string) {
	switch q := req.(type) {
	case lockcluster.Acquire:
		return q.Key.Namespace, q.Key.Text()
	case lockcluster.Release:
		return q.Namespace, q.Text
	case lockcluster.ReleaseByPull:
		return q.Namespace, lockcluster.Owner{Repo: q.Repo, Pull: q.Pull}.String()
	case lockcluster.LockCommand:
		return q.Namespace, q.Name
	case lockcluster.UnlockCommand:
		return q.Namespace, q.Name
	case lockcluster.PutDocument:
		return q.Namespace, q.Key
	case lockcluster.DeleteDocument:
		return q.Namespace, q.Key
	case lockcluster.SetTTL:
		return q.Namespace, q.Key
	case lockcluster.Txn:
		if len(q.Requests) > 0 {
			_, key = keyOf(q.Requests[0])
		}
		return q.Namespace, key
	case lockcluster.Import:
		return q.Namespace, ""
	case lockcluster.Routed:
		return keyOf(q.Request)
	}
	return "", ""
}

// partsOf returns the requests whose results are in Result.Results, in that
// order.
func partsOf(req lockcluster.Request) []lockcluster.Request {
	switch q := req.(type) {
	case lockcluster.Txn:
		return q.Requests
	case lockcluster.Routed:
		return partsOf(q.Request)
	case lockcluster.Import:
		var parts []lockcluster.Request
		for _, l := range q.Locks {
			parts = append(parts, l)
		}
		for _, l := range q.CommandLocks {
			parts = append(parts, l)
		}
		for _, d := range q.Documents {
			parts = append(parts, d)
		}
		return parts
	}
	return nil
}

const digestPrefix = "sha256:"

// digestValue returns a digest of a value; of a digest, that digest.
func digestValue(v []byte) string {
	if rest, ok := bytes.CutPrefix(v, []byte(digestPrefix)); ok && len(rest) == hex.EncodedLen(sha256.Size) {
		return string(v)
	}
	h := sha256.Sum256(v)
	return digestPrefix + hex.EncodeToString(h[:])
}

// DigestValues returns r with every stored value replaced by its digest, which
// [Compare] takes for the value. r itself stays as it is.
func DigestValues(r lockcluster.Result) lockcluster.Result {
	digest := func(v []byte) []byte {
		if v == nil {
			return nil
		}
		return []byte(digestValue(v))
	}
	if r.Lock != nil {
		l := *r.Lock
		l.Value = digest(l.Value)
		r.Lock = &l
	}
	if r.CommandLock != nil {
		l := *r.CommandLock
		l.Value = digest(l.Value)
		r.CommandLock = &l
	}
	if r.Document != nil {
		d := *r.Document
		d.Value = digest(d.Value)
		r.Document = &d
	}
	r.Locks = slices.Clone(r.Locks)
	for i := range r.Locks {
		r.Locks[i].Value = digest(r.Locks[i].Value)
	}
	r.Results = slices.Clone(r.Results)
	for i := range r.Results {
		r.Results[i] = DigestValues(r.Results[i])
	}
	return r
}
