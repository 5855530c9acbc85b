package command_test

import (
	"maps"
	"time"

	"github.com/lockcluster/lockcluster"
)

// The samples have every field of every log message set; TestSamplesSetEveryField
// finds one that is forgotten.

var (
	sampleTime = time.Date(2026, 3, 4, 5, 6, 7, 891234567, time.FixedZone("", 2*3600+30*60))
	sampleID   = lockcluster.RequestID{ClientID: "0123456789abcdef0123456789abcdef", Sequence: 42, AckedBelow: 40}
)

func sampleAcquire() lockcluster.Acquire {
	return lockcluster.Acquire{
		Key:   lockcluster.Key{Namespace: "db1", Repo: "group/sub/repo", Path: "env/prod", Workspace: "default", Project: "web"},
		Owner: lockcluster.Owner{Host: "gitlab.example", Repo: "group/sub/repo", Pull: 7, ID: "runner-1"},
		User:  "jane \xff", Priority: lockcluster.PriorityHigh, TTL: 90 * time.Second, AcquiredAt: sampleTime,
		Value: []byte("{\"raw\":\"\x00\xff\"}"),
	}
}

func samplePut() lockcluster.PutDocument {
	return lockcluster.PutDocument{
		Namespace: "default", Key: "group/sub/repo::7", Value: []byte("status"), Condition: lockcluster.PutIfPresent, TTL: time.Hour, KeepTTL: true,
	}
}

func sampleLockCommand() lockcluster.LockCommand {
	return lockcluster.LockCommand{Namespace: "default", Name: "apply", LockedAt: sampleTime, Value: []byte("locked")}
}

// sampleRequests has one request of each type under the name of its golden file.
func sampleRequests() map[string]lockcluster.Request {
	owner := lockcluster.Owner{Host: "github.com", Repo: "org/app", Pull: 3}
	return map[string]lockcluster.Request{
		"acquire": sampleAcquire(),
		"release": lockcluster.Release{
			Namespace: "default", Text: "org/app/./default/",
			Guard: lockcluster.Guard{Owner: &owner, Pull: 3, Token: lockcluster.Token{Epoch: 2, Counter: 9}, Revision: 77},
		},
		"release-by-pull": lockcluster.ReleaseByPull{Namespace: "default", Repo: "org/app", Pull: 3, Host: "github.com"},
		"lock-command":    sampleLockCommand(),
		"unlock-command":  lockcluster.UnlockCommand{Namespace: "default", Name: "apply", Revision: 12, Token: lockcluster.Token{Epoch: 3, Counter: 4}},
		"put-document":    samplePut(),
		"delete-document": lockcluster.DeleteDocument{Namespace: "default", Key: "k\x00", Revision: 13},
		"set-ttl":         lockcluster.SetTTL{Namespace: "default", Key: "k", TTL: time.Minute},
		"txn": lockcluster.Txn{
			Namespace:  "default",
			Conditions: []lockcluster.Condition{{Space: lockcluster.SpaceDocument, Key: "k", Revision: 5}},
			Ranges:     []lockcluster.RangeCondition{{Space: lockcluster.SpaceLock, Prefix: "org/", Digest: []byte("0123456789abcdef")}},
			Requests:   []lockcluster.Request{sampleAcquire(), samplePut(), lockcluster.UnlockCommand{Namespace: "default", Name: "plan"}},
		},
		"expire": lockcluster.Expire{Namespace: "default", Space: lockcluster.SpaceLock, Key: "org/app/./default/", LeaseEpoch: 4, Term: 6},
		"import": lockcluster.Import{
			Namespace: "default", Locks: []lockcluster.Acquire{sampleAcquire()},
			CommandLocks: []lockcluster.LockCommand{sampleLockCommand()}, Documents: []lockcluster.PutDocument{samplePut()},
		},
		"register-node": lockcluster.RegisterNode{
			NodeID: "n1", RaftAddr: "10.0.0.1:7001", GRPCAddr: "10.0.0.1:7101", HTTPAddr: "10.0.0.1:7201", RESPAddr: "10.0.0.1:7301",
			Version: "v1.2.3", FeatureLevel: 2,
		},
		"checkpoint": lockcluster.Checkpoint{},
		"bump-epoch": lockcluster.BumpEpoch{Reason: "restored"},
	}
}

// allSamples has the requests of the road between two systems too; they came
// after the golden entry.
func allSamples() map[string]lockcluster.Request {
	all := sampleRequests()
	maps.Copy(all, roadRequests())
	return all
}

var sampleHome = lockcluster.Home{System: lockcluster.SystemLegacy, Epoch: 31}

func sampleLock() *lockcluster.Lock {
	lock := *sampleResult().Lock
	lock.Home = sampleHome
	return &lock
}

func roadRequests() map[string]lockcluster.Request {
	res := sampleResult()
	res.CommandLock.Home, res.Document.Home = sampleHome, sampleHome
	return map[string]lockcluster.Request{
		"set-migration": lockcluster.SetMigration{ExpectedEpoch: 30, IfEmpty: true, Next: lockcluster.Migration{
			Epoch: 31, Mode: lockcluster.ModeGradual, Active: lockcluster.SystemLegacy, GateClosed: true, Legacy: "boltdb",
			LegacyHost: "n1", Namespace: "default", Percentage: 25, GradualEpoch: 29, ChangedAt: sampleTime, Reason: "try it \xff",
			Canary: []lockcluster.CanaryRule{{ProjectName: "web", Workspace: "staging", UserGroup: "platform"}},
		}},
		"set-config": lockcluster.SetConfig{Settings: []lockcluster.Setting{{Name: "migration.mode", Value: "gradual"}}},
		"mirror": lockcluster.Mirror{
			Namespace: "default", Epoch: 31, Locks: []lockcluster.Lock{*sampleLock()},
			Deletes:      []lockcluster.RecordRef{{Namespace: "default", Space: lockcluster.SpaceDocument, Key: "k\x00\xff"}},
			CommandLocks: []lockcluster.CommandLock{*res.CommandLock}, Documents: []lockcluster.Document{*res.Document},
		},
		"shadow": lockcluster.Shadow{Namespace: "default", Epoch: 31, Requests: []lockcluster.Request{
			sampleAcquire(),
			lockcluster.Txn{Namespace: "default", Requests: []lockcluster.Request{samplePut()}},
			lockcluster.Import{Namespace: "default", Locks: []lockcluster.Acquire{sampleAcquire()}},
		}},
		"pin": lockcluster.Pin{Namespace: "default", Digest: 1 << 63, Found: lockcluster.Result{Lock: sampleLock(), Text: "nonce"}},
		"release-by-pull-upto": lockcluster.ReleaseByPull{
			Namespace: "default", Repo: "org/app", Pull: 3, Upto: lockcluster.Token{Epoch: 3, Counter: 4},
		},
		"put-document-revision": lockcluster.PutDocument{Namespace: "default", Key: "k", Value: []byte("v"), Revision: 14},
		"mirror-token":          lockcluster.Mirror{Namespace: "default", Epoch: 31, Token: lockcluster.Token{Epoch: 31, Counter: 40}},
		"routed-token": lockcluster.Routed{
			Epoch: 31, GradualEpoch: 29, Base: lockcluster.SystemLegacy, Home: lockcluster.SystemLegacy, Request: sampleAcquire(),
			Token: lockcluster.Token{Epoch: 31, Counter: 41},
		},
		"routed": lockcluster.Routed{
			Epoch: 31, GradualEpoch: 29, Base: lockcluster.SystemLegacy, Home: lockcluster.SystemEnhanced, Request: sampleAcquire(),
		},
	}
}

func sampleResult() lockcluster.Result {
	lock := lockcluster.Lock{
		Key:   lockcluster.Key{Namespace: "default", Repo: "org/app", Path: ".", Workspace: "default", Project: "p"},
		Kind:  lockcluster.KindLeased,
		Owner: lockcluster.Owner{Host: "github.com", Repo: "org/app", Pull: 3, ID: "x"}, User: "jane",
		Priority: lockcluster.PriorityLow, Token: lockcluster.Token{Epoch: 1, Counter: 2}, AcquiredAt: sampleTime,
		RenewedAt: sampleTime.Add(time.Second), TTL: time.Minute, LeaseEpoch: 8, Revision: 9, Value: []byte("v"),
	}
	return lockcluster.Result{
		Status: lockcluster.StatusHeld, Index: 100, Lock: &lock, Locks: []lockcluster.Lock{lock},
		CommandLock: &lockcluster.CommandLock{
			Namespace: "default", Name: "apply", LockedAt: sampleTime, Token: lockcluster.Token{Epoch: 1, Counter: 3}, Revision: 10, Value: []byte("c"),
		},
		Document: &lockcluster.Document{
			Namespace: "default", Key: "k", Value: []byte("d"), TTL: time.Hour, LeaseEpoch: 11, ArmedAt: sampleTime, Revision: 12,
		},
		Token: lockcluster.Token{Epoch: 1, Counter: 4}, Text: "held",
		Results: []lockcluster.Result{{Status: lockcluster.StatusGranted, Index: 100}},
	}
}
