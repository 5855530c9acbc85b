package controller

import (
	"strings"

	"github.com/lockcluster/lockcluster"
)

// target is something that a request is about.
type target struct {
	ref  lockcluster.RecordRef // Key is empty for all locks of a pull request
	repo string                // of a lock; a guess where the request has only the text
}

// targets lists what a request names. whole means that it may touch anything.
func targets(req lockcluster.Request) (list []target, whole bool) {
	switch r := req.(type) {
	case lockcluster.Acquire:
		return []target{lockTarget(r.Key.Namespace, r.Key.Text())}, false
	case lockcluster.Release:
		return []target{lockTarget(r.Namespace, r.Text)}, false
	case lockcluster.ReleaseByPull:
		t := lockTarget(r.Namespace, r.Repo+"/")
		t.ref.Key = ""
		// The locks of a repository without an owner are in many stripes.
		return []target{t}, !strings.Contains(r.Repo, "/")
	case lockcluster.LockCommand:
		return []target{plainTarget(r.Namespace, lockcluster.SpaceCommand, r.Name)}, false
	case lockcluster.UnlockCommand:
		return []target{plainTarget(r.Namespace, lockcluster.SpaceCommand, r.Name)}, false
	case lockcluster.PutDocument:
		return []target{plainTarget(r.Namespace, lockcluster.SpaceDocument, r.Key)}, false
	case lockcluster.DeleteDocument:
		return []target{plainTarget(r.Namespace, lockcluster.SpaceDocument, r.Key)}, false
	case lockcluster.SetTTL:
		return []target{plainTarget(r.Namespace, lockcluster.SpaceDocument, r.Key)}, false
	case lockcluster.Txn:
		for _, sub := range r.Requests {
			more, _ := targets(sub)
			list = append(list, more...)
		}
		return list, true
	}
	return nil, true
}

func plainTarget(ns string, space lockcluster.Space, key string) target {
	return target{ref: lockcluster.RecordRef{Namespace: ns, Space: space, Key: key}}
}

// lockTarget finds a stripe that all locks of one repository share, whether a
// request has the key's parts or only its text: the text up to the second
// slash. Repositories with more slashes (GitLab sub-groups) share theirs with
// their neighbours, which costs nothing but a little waiting.
func lockTarget(ns, text string) target {
	group := text
	if i := strings.IndexByte(text, '/'); i >= 0 {
		if j := strings.IndexByte(text[i+1:], '/'); j >= 0 {
			group = text[:i+1+j]
		}
	}
	return target{ref: lockcluster.RecordRef{Namespace: ns, Space: lockcluster.SpaceLock, Key: text}, repo: group}
}

// changedBy lists the records that a decided request may have changed.
func changedBy(req lockcluster.Request, res *lockcluster.Result) []lockcluster.RecordRef {
	var out []lockcluster.RecordRef
	ns := lockcluster.NamespaceOf(req)
	switch r := req.(type) {
	case lockcluster.Txn:
		if res.Status != lockcluster.StatusApplied {
			return nil
		}
		for i := range r.Requests {
			if i < len(res.Results) {
				out = append(out, changedBy(r.Requests[i], &res.Results[i])...)
			}
		}
		return out
	case lockcluster.Import:
		for _, l := range r.Locks {
			out = append(out, lockcluster.RecordRef{Namespace: ns, Space: lockcluster.SpaceLock, Key: l.Key.Text()})
		}
		for _, c := range r.CommandLocks {
			out = append(out, lockcluster.RecordRef{Namespace: ns, Space: lockcluster.SpaceCommand, Key: c.Name})
		}
		for _, d := range r.Documents {
			out = append(out, lockcluster.RecordRef{Namespace: ns, Space: lockcluster.SpaceDocument, Key: d.Key})
		}
		return out
	case lockcluster.ReleaseByPull:
		for i := range res.Locks {
			out = append(out, lockcluster.RecordRef{Namespace: ns, Space: lockcluster.SpaceLock, Key: res.Locks[i].Key.Text()})
		}
		return out
	}
	switch res.Status {
	case lockcluster.StatusGranted, lockcluster.StatusAlreadyHeld, lockcluster.StatusReleased,
		lockcluster.StatusStored, lockcluster.StatusDeleted:
	default:
		return nil
	}
	list, _ := targets(req)
	for _, t := range list {
		ref := t.ref
		if res.Lock != nil { // an old key form finds the lock under its present one
			ref.Key = res.Lock.Key.Text()
		}
		out = append(out, ref)
	}
	return out
}
