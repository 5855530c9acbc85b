package state

import (
	"encoding/binary"
	"fmt"

	"github.com/lockcluster/lockcluster"
)

// The tables of the store: the first byte of a record's key. Persisted in
// snapshots, never reuse.
//
//	l ns 0 text            lock
//	p ns 0 repo 0 pull text  pull index: no value
//	h ns 0 repo            VCS host of a repository that holds locks
//	c ns 0 name            command lock
//	d ns 0 key             document
//	x space ns 0 key       lease: a lock or document that expires
//	m                      counters of the data
//	g                      the road between two systems
//	s name                 setting
//	n id                   node
//	a client 0 seq         remembered answer
//	k client               what a client has acknowledged
//	o order                answers in the order they were remembered
//	y order                clients in the order they were last seen
//	r                      counters of the remembered answers
//
// ns and repo hold no NUL byte; what stands last may hold any byte.
const (
	tableLock        = 'l'
	tablePull        = 'p'
	tableRepo        = 'h'
	tableCommand     = 'c'
	tableDocument    = 'd'
	tableLease       = 'x'
	tableMeta        = 'm'
	tableMigration   = 'g'
	tableSetting     = 's'
	tableNode        = 'n'
	tableAnswer      = 'a'
	tableClient      = 'k'
	tableAnswerOrder = 'o'
	tableClientOrder = 'y'
	tableRequestMeta = 'r'
)

func isBooks(key string) bool {
	switch key[0] {
	case tableNode, tableAnswer, tableClient, tableAnswerOrder, tableClientOrder, tableRequestMeta:
		return true
	}
	return false
}

const (
	keyMeta        = string(tableMeta)
	keyMigration   = string(tableMigration)
	keyRequestMeta = string(tableRequestMeta)
)

func inNamespace(table byte, ns, rest string) string {
	return string(rune(table)) + ns + "\x00" + rest // tables are ASCII; one allocation
}

func lockKey(ns, text string) string    { return inNamespace(tableLock, ns, text) }
func repoKey(ns, repo string) string    { return inNamespace(tableRepo, ns, repo) }
func commandKey(ns, name string) string { return inNamespace(tableCommand, ns, name) }
func documentKey(ns, key string) string { return inNamespace(tableDocument, ns, key) }
func nodeKey(id string) string          { return string(tableNode) + id }
func settingKey(name string) string     { return string(tableSetting) + name }
func clientKey(client string) string    { return string(tableClient) + client }
func answerOrderKey(order uint64) string {
	return string(appendUint64([]byte{tableAnswerOrder}, order))
}

func clientOrderKey(order uint64) string {
	return string(appendUint64([]byte{tableClientOrder}, order))
}

func answerPrefix(client string) string { return string(tableAnswer) + client + "\x00" }

func answerKey(client string, seq uint64) string {
	var number [8]byte
	binary.BigEndian.PutUint64(number[:], seq)
	return string(tableAnswer) + client + "\x00" + string(number[:])
}

func pullPrefix(ns, repo string, pull int) string {
	var number [8]byte
	binary.BigEndian.PutUint64(number[:], uint64(pull))
	return string(tablePull) + ns + "\x00" + repo + "\x00" + string(number[:])
}

func leaseKey(space lockcluster.Space, ns, key string) string {
	return string(tableLease) + string(rune(space)) + ns + "\x00" + key
}

// splitLeaseKey undoes leaseKey.
func splitLeaseKey(k string) (space lockcluster.Space, ns, key string) {
	space = lockcluster.Space(k[1])
	for i := 2; i < len(k); i++ {
		if k[i] == 0 {
			return space, k[2:i], k[i+1:]
		}
	}
	panic(fmt.Sprintf("lease record without namespace: %d bytes", len(k)))
}

func appendUint64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }
