package history

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/lockcluster/lockcluster"
)

// Lock returns the lock with that key text, nil if it is free.
func (m *Model) Lock(ns, text string) *lockcluster.Lock {
	if l, ok := m.locks[name{ns, text}]; ok {
		return &l
	}
	return nil
}

// CommandLock returns the global lock on a command, nil if there is none.
func (m *Model) CommandLock(ns, command string) *lockcluster.CommandLock {
	if c, ok := m.commands[name{ns, command}]; ok {
		return &c
	}
	return nil
}

// Document returns the document under key, nil if there is none.
func (m *Model) Document(ns, key string) *lockcluster.Document {
	if d, ok := m.documents[name{ns, key}]; ok {
		return &d
	}
	return nil
}

// List returns all locks of a namespace in the order of their key text.
func (m *Model) List(ns string) []lockcluster.Lock {
	var list []lockcluster.Lock
	for _, text := range keysOf(m.locks, ns, "") {
		list = append(list, m.locks[name{ns, text}])
	}
	return list
}

// ListRepo returns the locks of one repository in the order of their key text.
func (m *Model) ListRepo(ns, repoName string) []lockcluster.Lock {
	p := m.repos[name{ns, repoName}]
	if p == nil {
		return nil
	}
	texts := make([]string, 0, len(p.texts))
	for text := range p.texts {
		texts = append(texts, text)
	}
	slices.Sort(texts)
	list := make([]lockcluster.Lock, 0, len(texts))
	for _, text := range texts {
		list = append(list, m.locks[name{ns, text}])
	}
	return list
}

// CommandLocks returns the global command locks of a namespace by name.
func (m *Model) CommandLocks(ns string) []lockcluster.CommandLock {
	var list []lockcluster.CommandLock
	for _, key := range keysOf(m.commands, ns, "") {
		list = append(list, m.commands[name{ns, key}])
	}
	return list
}

// Documents returns the documents of a namespace by key.
func (m *Model) Documents(ns string) []lockcluster.Document {
	var list []lockcluster.Document
	for _, key := range keysOf(m.documents, ns, "") {
		list = append(list, m.documents[name{ns, key}])
	}
	return list
}

func keysOf[V any](records map[name]V, ns, prefix string) []string {
	var keys []string
	for n := range records {
		if n.ns == ns && strings.HasPrefix(n.key, prefix) {
			keys = append(keys, n.key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Revision returns the log index of a record's last change, 0 if it is absent.
func (m *Model) Revision(ns string, space lockcluster.Space, key string) uint64 {
	n := name{ns, key}
	switch space {
	case lockcluster.SpaceLock:
		return m.locks[n].Revision
	case lockcluster.SpaceCommand:
		return m.commands[n].Revision
	default:
		return m.documents[n].Revision
	}
}

// RangeDigest digests the keys of a space that begin with prefix and their
// revisions: SHA-256 over length, revision and text of each key, in order,
// where the text is what stands in the store.
func (m *Model) RangeDigest(ns string, space lockcluster.Space, prefix string) []byte {
	var keys []string
	table := "?lcd"[space : space+1]
	switch space {
	case lockcluster.SpaceLock:
		keys = keysOf(m.locks, ns, prefix)
	case lockcluster.SpaceCommand:
		keys = keysOf(m.commands, ns, prefix)
	default:
		keys = keysOf(m.documents, ns, prefix)
	}
	h := sha256.New()
	for _, key := range keys {
		full := table + ns + "\x00" + key
		var b []byte
		b = binary.BigEndian.AppendUint64(b, uint64(len(full)))
		b = binary.BigEndian.AppendUint64(b, m.Revision(ns, space, key))
		h.Write(append(b, full...))
	}
	return h.Sum(nil)
}

func (m *Model) conditionsHold(r lockcluster.Txn) bool {
	for _, c := range r.Conditions {
		if m.Revision(r.Namespace, c.Space, c.Key) != c.Revision {
			return false
		}
	}
	for _, c := range r.Ranges {
		if string(m.RangeDigest(r.Namespace, c.Space, c.Prefix)) != string(c.Digest) {
			return false
		}
	}
	return true
}

// note is called before a record changes; undo takes the change back.
func (m *Model) note(space lockcluster.Space, n name, undo func()) {
	if m.journal {
		m.undo = append(m.undo, undo)
	}
	if m.changed != nil && !m.rolling {
		m.changed(space, n)
	}
	m.version++
}

// setLock stores l under n, or removes what is there when l is nil.
func (m *Model) setLock(n name, l *lockcluster.Lock) {
	old := m.Lock(n.ns, n.key)
	m.note(lockcluster.SpaceLock, n, func() { m.setLock(n, old) })
	if old != nil {
		m.count(n, old, -1)
		delete(m.locks, n)
	}
	if l != nil {
		m.locks[n] = *l
		m.count(n, l, +1)
	}
}

func (m *Model) count(n name, l *lockcluster.Lock, delta int) {
	at := name{n.ns, l.Key.Repo}
	p := m.repos[at]
	if p == nil {
		p = &repo{texts: map[string]bool{}, hosts: map[string]int{}}
		m.repos[at] = p
	}
	if delta > 0 {
		p.texts[n.key] = true
	} else {
		delete(p.texts, n.key)
	}
	if host := l.Owner.Host; host != "" {
		p.hosts[host] += delta
		if p.hosts[host] == 0 {
			delete(p.hosts, host)
		}
	}
	if len(p.texts) == 0 {
		delete(m.repos, at)
	}
}

func (m *Model) setCommand(n name, c *lockcluster.CommandLock) {
	old := m.CommandLock(n.ns, n.key)
	m.note(lockcluster.SpaceCommand, n, func() { m.setCommand(n, old) })
	if c == nil {
		delete(m.commands, n)
	} else {
		m.commands[n] = *c
	}
}

func (m *Model) setDocument(n name, d *lockcluster.Document) {
	old := m.Document(n.ns, n.key)
	m.note(lockcluster.SpaceDocument, n, func() { m.setDocument(n, old) })
	if d == nil {
		delete(m.documents, n)
	} else {
		m.documents[n] = *d
	}
}
