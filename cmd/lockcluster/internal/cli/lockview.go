package cli

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/lockcluster/lockcluster"
)

// lockView is a lock as the command line shows it. It has no place for what a
// legacy client stored: that holds secrets. The JSON names are a contract.
type lockView struct {
	Key        string     `json:"key"`
	Namespace  string     `json:"namespace"`
	Repo       string     `json:"repo"`
	Path       string     `json:"path"`
	Workspace  string     `json:"workspace"`
	Project    string     `json:"project"`
	Pull       int        `json:"pull"`
	Host       string     `json:"host"`
	User       string     `json:"user"`
	Owner      string     `json:"owner"`
	Kind       string     `json:"kind"`
	Priority   string     `json:"priority"`
	Token      string     `json:"token"`
	AcquiredAt time.Time  `json:"acquired_at"`
	ExpiresAt  *time.Time `json:"expires_at"`
	System     string     `json:"system"`
}

func viewOf(l *lockcluster.Lock, s *systems) *lockView {
	if l == nil {
		return nil
	}
	v := &lockView{
		Key: l.Key.Text(), Namespace: l.Key.Namespace, Repo: l.Key.Repo, Path: l.Key.Path,
		Workspace: l.Key.Workspace, Project: l.Key.Project,
		Pull: l.Owner.Pull, Host: l.Owner.Host, User: l.User, Owner: l.Owner.ID, Kind: kindName(l.Kind),
		Priority: l.Priority.String(), Token: l.Token.String(), AcquiredAt: l.AcquiredAt, System: s.of(l),
	}
	if at := l.ExpiresAt(); !at.IsZero() {
		v.ExpiresAt = &at
	}
	return v
}

func kindName(k lockcluster.Kind) string {
	switch k {
	case lockcluster.KindPull:
		return "pull"
	case lockcluster.KindLeased:
		return "leased"
	case lockcluster.KindHeld:
		return "held"
	}
	return "unknown"
}

// holder names the holder shortly: "#4" or the owner id.
func (v *lockView) holder() string {
	if v.Owner != "" {
		return v.Owner
	}
	return "#" + strconv.Itoa(v.Pull)
}

var lockColumns = []string{"KEY", "HOLDER", "USER", "TOKEN", "ACQUIRED", "EXPIRES"}

func (v *lockView) cells() []string {
	expires := "never"
	if v.ExpiresAt != nil {
		expires = shortTime(*v.ExpiresAt)
	}
	return []string{v.Key, v.holder(), v.User, v.Token, shortTime(v.AcquiredAt), expires}
}

func shortTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// details writes a lock line by line.
func (v *lockView) details(w io.Writer) error {
	t := newTable(w)
	owner := v.Owner
	if owner == "" {
		owner = fmt.Sprintf("pull request #%d of %s", v.Pull, v.Repo)
	}
	if v.Host != "" {
		owner += " at " + v.Host
	}
	expires := "never"
	if v.ExpiresAt != nil {
		expires = shortTime(*v.ExpiresAt)
	}
	for _, line := range [][]string{
		{"key", v.Key},
		{"namespace", v.Namespace},
		{"repository", v.Repo},
		{"path", v.Path},
		{"workspace", v.Workspace},
		{"project", v.Project},
		{"held by", owner},
		{"user", v.User},
		{"kind", v.Kind},
		{"priority", v.Priority},
		{"token", v.Token},
		{"acquired", shortTime(v.AcquiredAt)},
		{"expires", expires},
	} {
		t.row(line...)
	}
	return t.flush()
}
