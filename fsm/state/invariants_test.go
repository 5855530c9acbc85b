package state

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state/statepb"
)

// full is a small state with records of all tables.
func full() *Mem {
	mem := NewMem()
	mem.Update(5, 1, func(tx Tx) {
		a := Begin(tx, Env{Index: 5, Term: 1, Now: time.UnixMilli(1_700_000_000_000)})
		key := lockcluster.Key{Namespace: "default", Repo: "org/app", Path: ".", Workspace: "default"}
		pull := lockcluster.Acquire{Key: key, Owner: lockcluster.Owner{Host: "github.com", Repo: "org/app", Pull: 1}, Value: []byte("secret")}
		leased := lockcluster.Acquire{Key: key, Owner: lockcluster.Owner{ID: "x"}, TTL: time.Minute}
		leased.Key.Project = "p"
		for i, req := range []lockcluster.Request{
			pull, leased,
			lockcluster.LockCommand{Namespace: "default", Name: "apply", Value: []byte("c")},
			lockcluster.LockCommand{Namespace: "default", Name: "plan", Value: []byte("secret")},
			lockcluster.PutDocument{Namespace: "default", Key: "k", Value: []byte("secret"), TTL: time.Minute},
		} {
			id := lockcluster.RequestID{ClientID: "c", Sequence: uint64(i + 40), AckedBelow: 40}
			a.Do(command.Command{ID: id, Request: req})
		}
		a.End()
	})
	return mem
}

// TestCheckInvariantsSeesDamage: every kind of damage to an index, a counter, a
// token or a lease is reported, and stored values are not in the report.
func TestCheckInvariantsSeesDamage(t *testing.T) {
	if err := CheckInvariants(full().View()); err != nil {
		t.Fatalf("a good state: %v", err)
	}
	const text, leasedText = "org/app/./default/", "org/app/./default/p"
	edit := func(key string, m proto.Message, change func()) func(Tx) {
		return func(tx Tx) {
			get(tx, key, m)
			change()
			tx.Put(key, encode(m))
		}
	}
	var lock statepb.LockRecord
	var meta statepb.MetaRecord
	var books statepb.RequestMetaRecord
	var command statepb.CommandLockRecord
	var lease statepb.LeaseRecord
	var repo statepb.RepoRecord
	var answer statepb.AnswerRecord
	pull := pullPrefix("default", "org/app", 1) + text
	cases := map[string]func(Tx){
		"lock gone":                func(tx Tx) { tx.Delete(lockKey("default", text)) },
		"pull index gone":          func(tx Tx) { tx.Delete(pull) },
		"pull index too much":      func(tx Tx) { tx.Put(pull+"x", nil) },
		"pull index of another":    func(tx Tx) { tx.Delete(pull); tx.Put(pull+"x", nil) },
		"lease gone":               func(tx Tx) { tx.Delete(leaseKey(lockcluster.SpaceLock, "default", leasedText)) },
		"lease too much":           func(tx Tx) { tx.Put(leaseKey(lockcluster.SpaceLock, "default", text), nil) },
		"lease of nothing":         func(tx Tx) { tx.Put(leaseKey(lockcluster.SpaceLock, "default", "none"), nil) },
		"lease of a document gone": func(tx Tx) { tx.Delete(leaseKey(lockcluster.SpaceDocument, "default", "k")) },
		"host binding gone":        func(tx Tx) { tx.Delete(repoKey("default", "org/app")) },
		"command lock gone":        func(tx Tx) { tx.Delete(commandKey("default", "apply")) },
		"document gone":            func(tx Tx) { tx.Delete(documentKey("default", "k")) },
		"answer gone":              func(tx Tx) { tx.Delete(answerKey("c", 41)) },
		"answer's order gone":      func(tx Tx) { tx.Delete(answerOrderKey(1)) },
		"client gone":              func(tx Tx) { tx.Delete(clientKey("c")) },
		"counters gone":            func(tx Tx) { tx.Delete(keyMeta) },
		"answer counters gone":     func(tx Tx) { tx.Delete(keyRequestMeta) },
		"lock unreadable":          func(tx Tx) { tx.Put(lockKey("default", text), []byte{0xff}) },
		"lock that fits no key":    func(tx Tx) { tx.Put(lockKey("default", "x"), encode(&statepb.LockRecord{RepoLen: 100})) },
		"key without namespace":    func(tx Tx) { tx.Put("d", nil) },
		"unknown table":            func(tx Tx) { tx.Put("?", nil) },
		"order of another answer":  func(tx Tx) { tx.Put(answerOrderKey(1), []byte(answerKey("c", 41))) },
		"order of another client":  func(tx Tx) { tx.Put(clientOrderKey(2), []byte("d")) },
		"migration unreadable":     func(tx Tx) { tx.Put(keyMigration, []byte{0xff}) },
		"migration of no mode":     func(tx Tx) { tx.Put(keyMigration, nil) },
		"gradual without epoch": func(tx Tx) {
			tx.Put(keyMigration, encode(&statepb.MigrationRecord{Mode: 4, Active: 1, Legacy: []byte("redis"), Namespace: []byte("n")}))
		},
		"gradual of a later epoch": func(tx Tx) {
			tx.Put(keyMigration, encode(&statepb.MigrationRecord{Mode: 4, Active: 1, Legacy: []byte("redis"), Namespace: []byte("n"), GradualEpoch: 9}))
		},
		"gradual epoch too much": func(tx Tx) {
			tx.Put(keyMigration, encode(&statepb.MigrationRecord{Mode: 1, Active: 1, GradualEpoch: 1}))
		},
		"setting without value":     func(tx Tx) { tx.Put(settingKey("n"), nil) },
		"setting without name":      func(tx Tx) { tx.Put(settingKey(""), encode(&statepb.SettingRecord{Value: []byte("v")})) },
		"token above the last":      edit(keyMeta, &meta, func() { meta.TokenCounter = 1 }),
		"epoch above the last":      edit(lockKey("default", text), &lock, func() { lock.TokenEpoch = 2 }),
		"no token":                  edit(lockKey("default", text), &lock, func() { lock.TokenEpoch, lock.TokenCounter = 0, 0 }),
		"token used twice":          edit(lockKey("default", text), &lock, func() { lock.TokenCounter = 2 }),
		"token of a command lock":   edit(commandKey("default", "apply"), &command, func() { command.TokenCounter = 1 }),
		"command lock's token":      edit(commandKey("default", "apply"), &command, func() { command.TokenCounter = 9 }),
		"command lock of no value":  edit(commandKey("default", "apply"), &command, func() { command.Value = nil }),
		"leased pull lock":          edit(lockKey("default", text), &lock, func() { lock.TtlNs = 1 }),
		"pull lock of no kind":      edit(lockKey("default", text), &lock, func() { lock.Kind = 0 }),
		"lock of nobody":            edit(lockKey("default", text), &lock, func() { lock.Pull = 0 }),
		"lock of another pull":      edit(lockKey("default", text), &lock, func() { lock.Pull = 2 }),
		"lock of another repo":      edit(lockKey("default", text), &lock, func() { lock.OwnerRepo = []byte("org/other") }),
		"lock of another host":      edit(lockKey("default", text), &lock, func() { lock.Host = []byte("gitlab.com") }),
		"lock of another length":    edit(lockKey("default", text), &lock, func() { lock.RepoLen = 3 }),
		"lease of another epoch":    edit(leaseKey(lockcluster.SpaceLock, "default", leasedText), &lease, func() { lease.LeaseEpoch++ }),
		"lease of another length":   edit(leaseKey(lockcluster.SpaceLock, "default", leasedText), &lease, func() { lease.TtlNs++ }),
		"lease epoch above last":    edit(keyMeta, &meta, func() { meta.LeaseCounter = 1 }),
		"host counted wrongly":      edit(repoKey("default", "org/app"), &repo, func() { repo.Hosted++ }),
		"locks counted wrongly":     edit(keyMeta, &meta, func() { meta.Locks++ }),
		"documents counted wrongly": edit(keyMeta, &meta, func() { meta.Documents++ }),
		"commands counted wrongly":  edit(keyMeta, &meta, func() { meta.CommandLocks++ }),
		"answers counted wrongly":   edit(keyRequestMeta, &books, func() { books.Count++ }),
		"clients counted wrongly":   edit(keyRequestMeta, &books, func() { books.Clients++ }),
		"size counted wrongly":      edit(keyRequestMeta, &books, func() { books.SizeBytes++ }),
		"answer's order above last": edit(keyRequestMeta, &books, func() { books.NextOrder = 1 }),
		"answer of another order":   edit(answerKey("c", 41), &answer, func() { answer.Order = 1 }),
	}
	for name, damage := range cases {
		mem := full()
		mem.Update(6, 1, damage)
		err := CheckInvariants(mem.View())
		if err == nil {
			t.Errorf("%s: not seen", name)
			continue
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: a stored value is in the report: %v", name, err)
		}
	}
}
