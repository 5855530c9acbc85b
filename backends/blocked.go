package backends

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lockcluster/lockcluster"
)

// needs is what a request must see as it is in the store now.
type needs struct {
	all    bool
	places []place
}

func (n *needs) add(space lockcluster.Space, key string) {
	n.places = append(n.places, place{space, key})
}

// lock adds a lock by its text, with the forms of the key that an old Atlantis
// may have stored it under.
func (n *needs) lock(text string) {
	n.add(lockcluster.SpaceLock, text)
	if i := strings.LastIndexByte(text, '/'); i > 0 {
		n.add(lockcluster.SpaceLock, text[:i])
	}
}

// needsOf returns what req needs.
func needsOf(req lockcluster.Request) needs {
	var n needs
	n.request(req)
	return n
}

func (n *needs) request(req lockcluster.Request) {
	switch r := req.(type) {
	case lockcluster.Acquire:
		n.add(lockcluster.SpaceLock, r.Key.Text())
		n.add(lockcluster.SpaceLock, r.Key.OldText())
	case lockcluster.Release:
		n.lock(r.Text)
	case lockcluster.LockCommand:
		n.add(lockcluster.SpaceCommand, r.Name)
	case lockcluster.UnlockCommand:
		n.add(lockcluster.SpaceCommand, r.Name)
	case lockcluster.PutDocument:
		n.add(lockcluster.SpaceDocument, r.Key)
	case lockcluster.DeleteDocument:
		n.add(lockcluster.SpaceDocument, r.Key)
	case lockcluster.SetTTL:
		n.add(lockcluster.SpaceDocument, r.Key)
	case lockcluster.Routed:
		n.request(r.Request)
	case lockcluster.Txn:
		n.all = n.all || len(r.Ranges) > 0
		for _, c := range r.Conditions {
			n.record(c.Space, c.Key)
		}
		for _, inner := range r.Requests {
			n.request(inner)
		}
	case lockcluster.Import:
		n.all = true
		for _, l := range r.Locks {
			n.request(l)
		}
		for _, c := range r.CommandLocks {
			n.request(c)
		}
		for _, d := range r.Documents {
			n.request(d)
		}
	case lockcluster.Mirror:
		n.all = true
		n.mirror(r)
	default: // ReleaseByPull
		n.all = true
	}
}

func (n *needs) mirror(r lockcluster.Mirror) {
	for _, d := range r.Deletes {
		n.record(d.Space, d.Key)
	}
	for i := range r.Locks {
		n.add(lockcluster.SpaceLock, r.Locks[i].Key.Text())
		n.add(lockcluster.SpaceLock, r.Locks[i].Key.OldText())
	}
	for _, c := range r.CommandLocks {
		n.add(lockcluster.SpaceCommand, c.Name)
	}
	for _, d := range r.Documents {
		n.add(lockcluster.SpaceDocument, d.Key)
	}
}

func (n *needs) record(space lockcluster.Space, key string) {
	if space == lockcluster.SpaceLock {
		n.lock(key)
		return
	}
	n.add(space, key)
}

// blocked returns why a request that needs these places cannot be decided; ""
// if it can.
func (m *image) blocked(places []place) string {
	for _, p := range places {
		if m.usable != nil && !m.usable(p) {
			return fmt.Sprintf("%q is no key of a document in a %s store: it means something else there", p.key, m.kind)
		}
		reason := m.bad[p]
		if p.space == lockcluster.SpaceLock && reason == "" {
			reason = m.refused[p.key]
			if f, ok := m.locks[p]; ok && f.form == 0 && f.lock.Key.Text() != p.key {
				reason = "the stored key has the value of another lock"
			}
		}
		if reason != "" {
			return fmt.Sprintf("the %s store holds a record of %q that lockcluster leaves alone: %s; run `lockcluster locks validate`, "+
				"and repair or remove it there", m.kind, p.key, reason)
		}
	}
	return ""
}

// unreadable lists what is left alone.
func (m *image) unreadable() []Bad {
	var all []Bad
	for _, f := range m.foreign {
		all = append(all, f.bad)
	}
	for p, reason := range m.bad {
		if !slices.ContainsFunc(m.foreign, func(f foreign) bool { return f.place == p }) {
			all = append(all, Bad{Bucket: bucketOf(m.kind, p), Key: p.key, Reason: reason})
		}
	}
	for text, reason := range m.refused {
		for _, p := range m.claims[text] {
			all = append(all, Bad{Bucket: bucketOf(m.kind, p), Key: p.key, Reason: reason})
		}
	}
	slices.SortFunc(all, func(a, b Bad) int { return strings.Compare(a.Bucket+"\x00"+a.Key, b.Bucket+"\x00"+b.Key) })
	return all
}

// namespaceOf returns the namespace of a request, of those that the road adds too.
func namespaceOf(req lockcluster.Request) string {
	switch r := req.(type) {
	case lockcluster.Mirror:
		return r.Namespace
	case lockcluster.Routed:
		return lockcluster.NamespaceOf(r.Request)
	}
	return lockcluster.NamespaceOf(req)
}
