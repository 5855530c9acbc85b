package compat

import (
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lockcluster/lockcluster"
)

// Uncertain names something about a record that its reader had to conclude or
// do without.
type Uncertain string

// What can be uncertain about a record.
const (
	// UncertainWorkspace: the workspace was read from Env (Atlantis v0.1).
	UncertainWorkspace Uncertain = "workspace"
	// UncertainHost: the record does not say which VCS host it is about
	// (before v0.3.10).
	UncertainHost Uncertain = "host"
	// UncertainRepo: the pull request names another repository than the
	// project; the project's counts, as in Atlantis.
	UncertainRepo Uncertain = "repo"
	// UncertainTime: there is no readable time.
	UncertainTime Uncertain = "time"
	// UncertainUser: there is no readable user name.
	UncertainUser Uncertain = "user"
	// UncertainStatus: the record carries status numbers of an era that cannot
	// be told for sure (before v0.25.0 they mean something else).
	UncertainStatus Uncertain = "status"
	// UncertainApprovals: approvals are a number (before v0.44.0); a newer
	// Atlantis cannot read the record until its next plan replaces it.
	UncertainApprovals Uncertain = "approvals"
)

// LockRecord is what a stored lock value says.
type LockRecord struct {
	Key       lockcluster.Key // without a namespace: a value does not know its own
	Owner     lockcluster.Owner
	User      string
	Time      time.Time // with the zone offset of the record; zero when uncertain
	Uncertain []Uncertain
}

// ParseLock reads a lock value of any Atlantis version. A [RecordError] says
// what is wrong with it, without any part of the value.
func ParseLock(raw []byte) (LockRecord, error) {
	var r LockRecord
	if err := checkRecord(raw); err != nil {
		return r, err
	}
	top, _ := readObject("", raw)
	if err := r.readKey(top); err != nil {
		return LockRecord{}, err
	}
	if err := r.readOwner(top); err != nil {
		return LockRecord{}, err
	}
	r.readUser(top)
	r.readTime(top)
	return r, nil
}

func (r *LockRecord) readKey(top object) error {
	project, err := top.object("Project")
	if err != nil {
		return err
	}
	var errs [4]error
	r.Key.Repo, errs[0] = project.str("RepoFullName")
	r.Key.Path, errs[1] = project.str("Path")
	r.Key.Project, errs[2] = project.str("ProjectName")
	r.Key.Workspace, errs[3] = top.str("Workspace")
	if err := firstOf(errs[:]); err != nil {
		return err
	}
	if r.Key.Workspace == "" && top.has("Env") {
		if r.Key.Workspace, err = top.str("Env"); err != nil {
			return err
		}
		r.doubt(UncertainWorkspace)
	}
	switch {
	case r.Key.Repo == "":
		return recordErrorf("the value names no repository (Project.RepoFullName)")
	case r.Key.Path == "":
		return recordErrorf("the value names no path (Project.Path)")
	case r.Key.Workspace == "":
		return recordErrorf("the value names no workspace (Workspace)")
	}
	k := r.Key
	k.Namespace = lockcluster.DefaultNamespace
	if k.Validate() != nil {
		return recordErrorf("the value's repository, path, workspace and project make no lock key: too long, or a NUL byte")
	}
	return nil
}

func (r *LockRecord) readOwner(top object) error {
	pull, err := top.object("Pull")
	if err != nil {
		return err
	}
	num, err := pull.integer("Num")
	if err != nil {
		return err
	}
	// Atlantis numbers runs that its API starts without a pull request 0 or
	// below, so only the absence of a number is refused.
	if !pull.has("Num") || int64(int(num)) != num {
		return recordErrorf("the value names no pull request (Pull.Num)")
	}
	host, repo, err := pullRepo(pull)
	if err != nil {
		return err
	}
	if host == "" {
		r.doubt(UncertainHost)
	}
	if repo != "" && repo != r.Key.Repo {
		r.doubt(UncertainRepo)
	}
	// Atlantis frees by the project's repository, whatever the pull says.
	r.Owner = lockcluster.Owner{Host: host, Repo: r.Key.Repo, Pull: int(num)}
	return nil
}

// pullRepo returns the VCS host and repository of a pull request, empty where
// the record does not say.
func pullRepo(pull object) (host, repo string, err error) {
	base, err := pull.object("BaseRepo")
	if err != nil {
		return "", "", err
	}
	if repo, err = base.str("FullName"); err != nil {
		return "", "", err
	}
	vcs, err := base.object("VCSHost")
	if err != nil {
		return "", "", err
	}
	if host, err = vcs.str("Hostname"); err != nil {
		return "", "", err
	}
	if host == "" { // v0.3.2 to v0.3.5
		if host, err = base.str("Hostname"); err != nil {
			return "", "", err
		}
	}
	if len(host) > lockcluster.NameSizeMax {
		return "", "", recordErrorf("the value's host name is longer than %d bytes", lockcluster.NameSizeMax)
	}
	return host, repo, nil
}

func (r *LockRecord) readUser(top object) {
	user, err := top.object("User")
	if err == nil {
		r.User, err = user.str("Username")
	}
	if err != nil || r.User == "" || len(r.User) > lockcluster.NameSizeMax {
		r.User = truncate(r.User, lockcluster.NameSizeMax)
		r.doubt(UncertainUser)
	}
}

func (r *LockRecord) readTime(top object) {
	if v, err := top.get("Time"); err == nil && v != nil {
		var t time.Time
		// Outside these years it is no time of Atlantis, and would not fit
		// into nanoseconds.
		if json.Unmarshal(v, &t) == nil && t.Year() >= 1970 && t.Year() < 2262 {
			r.Time = t
			return
		}
	}
	r.doubt(UncertainTime)
}

func (r *LockRecord) doubt(u Uncertain) { r.Uncertain = append(r.Uncertain, u) }

// AcquireFromValue makes the request that a stored lock value stands for: its
// identity comes from the value's fields, and the value goes along unchanged.
func AcquireFromValue(namespace string, raw []byte) (lockcluster.Acquire, error) {
	r, err := ParseLock(raw)
	if err != nil {
		return lockcluster.Acquire{}, err
	}
	return r.Acquire(namespace, raw)
}

// Acquire makes the request for the record in a namespace; value is what is
// stored with the lock.
func (r LockRecord) Acquire(namespace string, value []byte) (lockcluster.Acquire, error) {
	key := r.Key
	key.Namespace = namespace
	if err := key.Validate(); err != nil {
		return lockcluster.Acquire{}, err
	}
	return lockcluster.Acquire{
		Key: key, Owner: r.Owner, User: r.User, AcquiredAt: r.Time, Value: value,
	}, nil
}

// KeyForm says in which form a key text names a lock.
type KeyForm uint8

const (
	// KeyDisagrees means that the text names another lock than the record.
	KeyDisagrees KeyForm = 0
	// KeyPresent is the form "repo/path/workspace/project".
	KeyPresent KeyForm = 1
	// KeyOld is the form "repo/path/workspace", as Atlantis wrote before v0.40.0.
	KeyOld KeyForm = 2
)

// String names the form.
func (f KeyForm) String() string {
	switch f {
	case KeyPresent:
		return "present"
	case KeyOld:
		return "old"
	default:
		return "disagrees"
	}
}

// LockKeyPrefix is what Atlantis puts before a lock's key text in Redis.
const LockKeyPrefix = "pr/"

// CheckKey compares a stored key text (without "pr/") with the identity that
// the value gave.
func CheckKey(text string, key lockcluster.Key) KeyForm {
	switch CanonicalText(text) {
	case key.Text():
		return KeyPresent
	case key.OldText():
		return KeyOld
	default:
		return KeyDisagrees
	}
}

// CanonicalText returns text with every byte that is not UTF-8 replaced by
// U+FFFD, as Atlantis's JSON encoder does with the fields of the value. Only
// so can the key of a directory with such a name agree with its value.
func CanonicalText(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	return string([]rune(text))
}

// DecodeLock reads a lock value of any era into Atlantis's type. Descriptive
// fields that cannot be read are left empty; identity is as by [ParseLock].
func DecodeLock(raw []byte) (ProjectLock, error) {
	r, err := ParseLock(raw)
	if err != nil {
		return ProjectLock{}, err
	}
	var l ProjectLock
	// A member of another type is left out, and decoding goes on behind it.
	_ = json.Unmarshal(raw, &l)
	l.Project = Project{ProjectName: r.Key.Project, RepoFullName: r.Key.Repo, Path: r.Key.Path}
	l.Workspace, l.Pull.Num, l.User.Username, l.Time = r.Key.Workspace, r.Owner.Pull, r.User, r.Time
	l.Pull.BaseRepo.VCSHost.Hostname = r.Owner.Host
	return l, nil
}

// NewLockValue makes the value that Atlantis reads for a lock that was
// acquired without one (command line, gRPC). The same lock always gives the
// same bytes.
func NewLockValue(l lockcluster.Lock) []byte {
	v := ProjectLock{
		Project:   Project{ProjectName: l.Key.Project, RepoFullName: l.Key.Repo, Path: l.Key.Path},
		Workspace: l.Key.Workspace,
		User:      User{Username: l.User},
		Time:      l.AcquiredAt.UTC(),
	}
	if y := v.Time.Year(); y < 0 || y > 9999 { // JSON has no such time
		v.Time = time.Time{}
	}
	owner, name := "", l.Key.Repo
	if i := strings.LastIndexByte(l.Key.Repo, '/'); i >= 0 {
		owner, name = l.Key.Repo[:i], l.Key.Repo[i+1:]
	}
	v.Pull = PullRequest{
		Num:    l.Owner.Pull,
		Author: l.User,
		BaseRepo: Repo{
			FullName: l.Key.Repo, Owner: owner, Name: name,
			VCSHost: VCSHost{Hostname: l.Owner.Host, Type: hostType(l.Owner.Host)},
		},
	}
	if l.Owner.ID != "" {
		// Atlantis knows pull requests only: it shows number 0, and this name.
		v.Pull.Author = l.Owner.ID
		if v.User.Username == "" {
			v.User.Username = l.Owner.ID
		}
	}
	raw, err := json.Marshal(v)
	if err != nil {
		panic("compat: a lock value is always JSON: " + err.Error())
	}
	return raw
}

// hostType guesses the kind of a VCS from its host name; GitHub when unknown.
func hostType(host string) VCSHostType {
	switch {
	case strings.Contains(host, "gitlab"):
		return VCSGitlab
	case host == "bitbucket.org":
		return VCSBitbucketCloud
	case strings.Contains(host, "bitbucket"):
		return VCSBitbucketServer
	case host == "dev.azure.com", strings.HasSuffix(host, ".visualstudio.com"):
		return VCSAzureDevops
	case strings.Contains(host, "gitea"):
		return VCSGitea
	default:
		return VCSGithub
	}
}

// truncate cuts s to at most n bytes, at a rune's edge.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
