package state_test

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/fsm/state/statepb"
)

// update rewrites the golden file. A change of its bytes makes the nodes of two
// versions differ in their hashes and snapshots unreadable.
var update = flag.Bool("update", false, "rewrite the golden files")

// TestGoldenRecords: the rules write each kind of record, and the digest of
// their whole, as they always did.
func TestGoldenRecords(t *testing.T) {
	golden(t, "records.txt", everyRecord())
	golden(t, "records-road.txt", roadRecords())
}

func golden(t *testing.T, name string, mem *state.Mem) {
	t.Helper()
	var got strings.Builder
	mem.View().Scan("", "", func(key string, value []byte) bool {
		fmt.Fprintf(&got, "%s = %s\n", hex.EncodeToString([]byte(key)), hex.EncodeToString(value))
		return true
	})
	hashes, _ := mem.Hashes()
	fmt.Fprintf(&got, "data %s\nbooks %s\n", hashes.Data, hashes.Books)
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the form of the records has changed; nodes of two versions would differ.\n got\n%swant\n%s", got.String(), want)
	}
}

// TestGoldenRecordsSetEveryField: no record of the schema has a field that the
// golden file does not cover.
func TestGoldenRecordsSetEveryField(t *testing.T) {
	messages := map[byte]proto.Message{
		'l': &statepb.LockRecord{}, 'h': &statepb.RepoRecord{}, 'c': &statepb.CommandLockRecord{}, 'd': &statepb.DocumentRecord{},
		'x': &statepb.LeaseRecord{}, 'm': &statepb.MetaRecord{}, 'n': &statepb.NodeRecord{}, 'a': &statepb.AnswerRecord{},
		'k': &statepb.ClientRecord{}, 'r': &statepb.RequestMetaRecord{}, 'g': &statepb.MigrationRecord{}, 's': &statepb.SettingRecord{},
	}
	seen := map[protoreflect.FullName]bool{}
	tables := map[byte]bool{}
	see := func(key string, value []byte) bool {
		tables[key[0]] = true
		m := messages[key[0]]
		if m == nil {
			return true // index records: their value is a key or nothing
		}
		if err := proto.Unmarshal(value, m); err != nil {
			t.Fatalf("table %q: %v", key[0], err)
		}
		m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			seen[f.FullName()] = true
			if f.IsList() && f.Message() != nil && v.List().Len() > 0 {
				v.List().Get(0).Message().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
					seen[f.FullName()] = true
					return true
				})
			}
			return true
		})
		return true
	}
	everyRecord().View().Scan("", "", see)
	roadRecords().View().Scan("", "", see)
	if got := len(tables); got != 15 {
		t.Errorf("records of %d tables, keys.go has 15", got)
	}
	all := statepb.File_fsm_state_record_proto.Messages()
	for i := range all.Len() {
		fields := all.Get(i).Fields()
		for j := range fields.Len() {
			if name := fields.Get(j).FullName(); !seen[name] {
				t.Errorf("field %s is in no golden record", name)
			}
		}
	}
}

// everyRecord is a state with records of every table and every field.
func everyRecord() *state.Mem {
	mem := state.NewMem()
	now := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	mem.Update(9, 2, func(tx state.Tx) {
		a := state.Begin(tx, state.Env{Index: 9, Term: 2, Now: now})
		key := lockcluster.Key{Namespace: "default", Repo: "group/sub/repo", Path: "env/prod", Workspace: "default", Project: "web"}
		pull := lockcluster.Acquire{
			Key: key, Owner: lockcluster.Owner{Host: "gitlab.example", Repo: key.Repo, Pull: 7}, User: "jane",
			Priority: lockcluster.PriorityHigh, AcquiredAt: now.In(time.FixedZone("", -5400)), Value: []byte("value \x00\xff"),
		}
		leased := pull
		leased.Key.Project, leased.Owner, leased.TTL = "", lockcluster.Owner{ID: "runner", Host: "gitlab.example", Repo: "other/repo"}, time.Minute
		a.Do(command.Command{Request: pull})
		a.Do(command.Command{
			ID: lockcluster.RequestID{ClientID: "client", Sequence: 40, AckedBelow: 39}, Request: leased, Digest: 0x0102030405060708,
		})
		a.Do(command.Command{Request: lockcluster.LockCommand{Namespace: "default", Name: "apply", LockedAt: now, Value: []byte("c")}})
		a.Do(command.Command{Request: lockcluster.PutDocument{Namespace: "db1", Key: "k\x00", Value: []byte("d"), TTL: time.Hour}})
		a.Do(command.Command{Request: lockcluster.RegisterNode{
			NodeID: "n1", RaftAddr: "a:1", GRPCAddr: "a:2", HTTPAddr: "a:3", RESPAddr: "a:4", Version: "v1", FeatureLevel: 3,
		}})
		a.Do(command.Command{Request: lockcluster.BumpEpoch{Reason: "test"}})
		a.End()
	})
	return mem
}

// roadRecords is a state with the records of a migration, and with homes.
func roadRecords() *state.Mem {
	mem := state.NewMem()
	now := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	home := lockcluster.Home{System: lockcluster.SystemEnhanced, Epoch: 2}
	key := lockcluster.Key{Namespace: "default", Repo: "org/app", Path: ".", Workspace: "default"}
	mem.Update(9, 2, func(tx state.Tx) {
		a := state.Begin(tx, state.Env{Index: 9, Term: 2, Now: now})
		next := lockcluster.Migration{
			Mode: lockcluster.ModeGradual, Active: lockcluster.SystemEnhanced, Legacy: "redis", LegacyHost: "n1", Namespace: "default",
			Percentage: 25, Reason: "try", GateClosed: true, Canary: []lockcluster.CanaryRule{{ProjectName: "p", Workspace: "w", UserGroup: "g"}},
		}
		for _, req := range []lockcluster.Request{
			lockcluster.SetMigration{ExpectedEpoch: 1, Next: next},
			lockcluster.SetConfig{Settings: []lockcluster.Setting{{Name: "name", Value: "value"}, {Name: "empty"}}},
			lockcluster.Mirror{
				Namespace: "default", Epoch: 2,
				Locks: []lockcluster.Lock{{
					Key: key, Kind: lockcluster.KindPull, Owner: lockcluster.Owner{Repo: "org/app", Pull: 3}, Priority: lockcluster.PriorityNormal,
					Token: lockcluster.Token{Epoch: 1, Counter: 5}, AcquiredAt: now, Revision: 1 << 52, Home: home,
				}},
				CommandLocks: []lockcluster.CommandLock{{
					Namespace: "default", Name: "apply", LockedAt: now, Token: lockcluster.Token{Epoch: 2, Counter: 7}, Revision: 8, Home: home, Value: []byte("c"),
				}},
				Documents: []lockcluster.Document{{Namespace: "default", Key: "k", Value: []byte("d"), Revision: 7, Home: home}},
			},
		} {
			if res := a.Do(command.Command{Request: req}); res.Status != lockcluster.StatusApplied {
				panic(res.Text)
			}
		}
		a.End()
	})
	return mem
}
