package migration

import (
	"encoding/json"
	"regexp"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
)

// stockKey is the pattern by which Atlantis v0.40.0 and newer tell a present
// key from an old one. When it starts, it moves every key that does not match
// to the key of its value, and if that is the same key, the lock is gone.
var stockKey = regexp.MustCompile(`^(.*?\/.*?)\/(.*)\/(.*)\/(.*)$`)

const stockDropsText = "Atlantis deletes a lock with this key when it starts: the repository name has no slash, or a line break is in it"

// keptByStock reports whether a lock under its present key survives the start
// of an Atlantis.
func keptByStock(text string) bool { return stockKey.MatchString(text) }

// stockLock is how Atlantis reads a lock's value: strictly, and identity comes
// from what it reads. It returns why Atlantis and we would disagree, "" when
// they do not.
//
// One value that Atlantis cannot read makes its whole listing fail, so this
// matters for more than one lock.
func stockLock(value []byte, key lockcluster.Key, owner lockcluster.Owner) string {
	var l compat.ProjectLock
	if json.Unmarshal(value, &l) != nil {
		return "Atlantis cannot read its value, and could list no lock at all"
	}
	read := lockcluster.Key{Repo: l.Project.RepoFullName, Path: l.Project.Path, Workspace: l.Workspace, Project: l.Project.ProjectName}
	switch {
	case read.Text() != key.Text():
		return "Atlantis reads another key from its value, so it would not find the lock again"
	case owner.ID == "" && l.Pull.Num != owner.Pull:
		return "Atlantis reads another pull request from its value"
	}
	return ""
}

// forStock returns the value under which Atlantis has the lock as we have it:
// the stored one if that will do, else one with the same facts. about says
// what was wrong with the stored one.
func forStock(l *lockcluster.Lock) (value []byte, about string) {
	if l.Value == nil {
		return compat.NewLockValue(*l), ""
	}
	about = stockLock(l.Value, l.Key, l.Owner)
	if about == "" {
		return l.Value, ""
	}
	if value := rewriteLock(l.Value, l.AcquiredAt); value != nil && stockLock(value, l.Key, l.Owner) == "" {
		return value, about
	}
	return compat.NewLockValue(*l), about
}

// rewriteLock writes a lock value as a present Atlantis would: with every field
// that can be read, and what can be concluded filled in. It returns nil if the
// value cannot be read at all. since stands in for a time that is not there; it
// may be zero.
func rewriteLock(value []byte, since time.Time) []byte {
	l, err := compat.DecodeLock(value)
	if err != nil {
		return nil
	}
	if l.Time.IsZero() {
		l.Time = since
	}
	if l.Pull.BaseRepo.FullName == "" {
		l.Pull.BaseRepo.FullName = l.Project.RepoFullName
	}
	if l.Pull.Author == "" {
		l.Pull.Author = l.User.Username
	}
	out, err := json.Marshal(l)
	if err != nil { // a time that JSON has no form for
		return nil
	}
	return out
}

// stockReadsPull reports whether Atlantis can read a pull status.
func stockReadsPull(value []byte) bool {
	var s compat.PullStatus
	return json.Unmarshal(value, &s) == nil
}

// rewritePull writes a pull status as a present Atlantis would. Approvals that
// are a number name nobody, so the projects lose them: a person approves again.
// It returns nil if the value cannot be read at all.
func rewritePull(value []byte) []byte {
	s, err := compat.DecodePullStatus(value)
	if err != nil {
		return nil
	}
	out, err := json.Marshal(s)
	if err != nil {
		return nil
	}
	return out
}
