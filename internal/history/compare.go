package history

import (
	"bytes"
	"fmt"
	"time"

	"github.com/lockcluster/lockcluster"
)

// Diff names the first thing in which two answers differ, "" if they are the
// same. Texts are for people and not compared; stored values are compared, but
// are not in the returned text.
func Diff(want, got lockcluster.Result) string {
	switch {
	case want.Status != got.Status:
		return fmt.Sprintf("status: want %s, got %s", want.Status, got.Status)
	case want.Index != got.Index:
		return fmt.Sprintf("index: want %d, got %d", want.Index, got.Index)
	case want.Token != got.Token:
		return fmt.Sprintf("token: want %s, got %s", want.Token, got.Token)
	case len(want.Locks) != len(got.Locks):
		return fmt.Sprintf("locks: want %d, got %d", len(want.Locks), len(got.Locks))
	case len(want.Results) != len(got.Results):
		return fmt.Sprintf("results: want %d, got %d", len(want.Results), len(got.Results))
	}
	if d := DiffLock(want.Lock, got.Lock); d != "" {
		return d
	}
	for i := range want.Locks {
		if d := DiffLock(&want.Locks[i], &got.Locks[i]); d != "" {
			return fmt.Sprintf("locks[%d]: %s", i, d)
		}
	}
	if d := DiffCommandLock(want.CommandLock, got.CommandLock); d != "" {
		return d
	}
	if d := DiffDocument(want.Document, got.Document); d != "" {
		return d
	}
	for i := range want.Results {
		if d := Diff(want.Results[i], got.Results[i]); d != "" {
			return fmt.Sprintf("results[%d]: %s", i, d)
		}
	}
	return ""
}

// DiffLock is [Diff] for locks; nil is no lock.
func DiffLock(want, got *lockcluster.Lock) string {
	if want == nil || got == nil {
		return presence("lock", want != nil, got != nil)
	}
	switch {
	case want.Key != got.Key:
		return fmt.Sprintf("lock key: want %+v, got %+v", want.Key, got.Key)
	case want.Owner != got.Owner:
		return fmt.Sprintf("lock holder: want %s, got %s", want.Owner, got.Owner)
	case want.Token != got.Token:
		return fmt.Sprintf("lock token: want %s, got %s", want.Token, got.Token)
	case want.Kind != got.Kind, want.User != got.User, want.Priority != got.Priority:
		return "lock kind, user or priority differs"
	case want.TTL != got.TTL, want.LeaseEpoch != got.LeaseEpoch:
		return fmt.Sprintf("lock lease: want %s epoch %d, got %s epoch %d", want.TTL, want.LeaseEpoch, got.TTL, got.LeaseEpoch)
	case want.Revision != got.Revision:
		return fmt.Sprintf("lock revision: want %d, got %d", want.Revision, got.Revision)
	case want.Home != got.Home:
		return fmt.Sprintf("lock home: want %+v, got %+v", want.Home, got.Home)
	case !sameTime(want.AcquiredAt, got.AcquiredAt), !sameTime(want.RenewedAt, got.RenewedAt):
		return "lock times differ"
	case !bytes.Equal(want.Value, got.Value):
		return fmt.Sprintf("lock value: %d bytes differ from %d", len(want.Value), len(got.Value))
	}
	return ""
}

// DiffCommandLock is [Diff] for command locks.
func DiffCommandLock(want, got *lockcluster.CommandLock) string {
	if want == nil || got == nil {
		return presence("command lock", want != nil, got != nil)
	}
	switch {
	case want.Namespace != got.Namespace, want.Name != got.Name:
		return fmt.Sprintf("command lock: want %s/%s, got %s/%s", want.Namespace, want.Name, got.Namespace, got.Name)
	case want.Token != got.Token, want.Revision != got.Revision:
		return fmt.Sprintf("command lock: want token %s revision %d, got token %s revision %d", want.Token, want.Revision, got.Token, got.Revision)
	case want.Home != got.Home:
		return fmt.Sprintf("command lock home: want %+v, got %+v", want.Home, got.Home)
	case !sameTime(want.LockedAt, got.LockedAt), !bytes.Equal(want.Value, got.Value):
		return "command lock value or time differs"
	}
	return ""
}

// DiffDocument is [Diff] for documents.
func DiffDocument(want, got *lockcluster.Document) string {
	if want == nil || got == nil {
		return presence("document", want != nil, got != nil)
	}
	switch {
	case want.Namespace != got.Namespace, want.Key != got.Key:
		return fmt.Sprintf("document: want %s/%s, got %s/%s", want.Namespace, want.Key, got.Namespace, got.Key)
	case want.Revision != got.Revision:
		return fmt.Sprintf("document revision: want %d, got %d", want.Revision, got.Revision)
	case want.Home != got.Home:
		return fmt.Sprintf("document home: want %+v, got %+v", want.Home, got.Home)
	case want.TTL != got.TTL, want.LeaseEpoch != got.LeaseEpoch, !sameTime(want.ArmedAt, got.ArmedAt):
		return fmt.Sprintf("document TTL: want %s epoch %d, got %s epoch %d", want.TTL, want.LeaseEpoch, got.TTL, got.LeaseEpoch)
	case !bytes.Equal(want.Value, got.Value):
		return fmt.Sprintf("document value: %d bytes differ from %d", len(want.Value), len(got.Value))
	}
	return ""
}

func presence(what string, want, got bool) string {
	switch {
	case want && !got:
		return what + ": missing"
	case got && !want:
		return what + ": unexpected"
	}
	return ""
}

// sameTime compares the instant and the offset it is shown in.
func sameTime(a, b time.Time) bool {
	_, offsetA := a.Zone()
	_, offsetB := b.Zone()
	return a.Equal(b) && offsetA == offsetB
}
