package lockcluster

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// DefaultNamespace is the namespace of Redis database 0.
const DefaultNamespace = "default"

// Limits on what a request may carry. They are part of the log's contract:
// a request within them is never refused for its size later.
const (
	// KeySizeMax bounds a lock or document key, in bytes.
	KeySizeMax = 4 << 10
	// ValueSizeMax bounds a stored value, in bytes.
	ValueSizeMax = 8 << 20
	// NameSizeMax bounds a namespace, user, host, owner id or client id, in bytes.
	NameSizeMax = 512
)

// Key names one lock. The parts stay fields: joining them loses information,
// because a repository name may have more than one slash (GitLab sub-groups).
type Key struct {
	Namespace string // "default" is Redis database 0, "dbN" is SELECT N
	Repo      string // full name, "owner/repo" or "group/sub/repo"
	Path      string // directory relative to the repository root, "." for the root
	Workspace string // Terraform workspace
	Project   string // Atlantis project name, mostly empty
}

// Text returns Atlantis's own text form, "repo/path/workspace/project". It
// ends with a slash when the project has no name. Within one namespace the
// text is what two requests compete for, exactly as in Atlantis.
func (k Key) Text() string {
	return k.Repo + "/" + k.Path + "/" + k.Workspace + "/" + k.Project
}

// OldText returns the form Atlantis used before v0.40.0, without the project.
func (k Key) OldText() string {
	return k.Repo + "/" + k.Path + "/" + k.Workspace
}

// Validate reports what makes k unusable as a lock key.
func (k Key) Validate() error {
	if err := ValidateNamespace(k.Namespace); err != nil {
		return err
	}
	switch {
	case k.Repo == "":
		return fmt.Errorf("%w: the repository name is empty", ErrInvalid)
	case k.Workspace == "":
		return fmt.Errorf("%w: the workspace is empty", ErrInvalid)
	case k.Path == "":
		return fmt.Errorf("%w: the path is empty (the repository root is %q)", ErrInvalid, ".")
	case strings.ContainsRune(k.Repo, 0):
		return fmt.Errorf("%w: the repository name holds a NUL byte", ErrInvalid)
	case len(k.Repo)+len(k.Path)+len(k.Workspace)+len(k.Project)+3 > KeySizeMax:
		return fmt.Errorf("%w: the lock key is longer than %d bytes", ErrInvalid, KeySizeMax)
	}
	return nil
}

// ValidateNamespace reports what makes ns unusable. A namespace is 1 to 64
// characters of a-z, A-Z, 0-9, '-', '_' and '.'.
func ValidateNamespace(ns string) error {
	if ns == "" || len(ns) > 64 {
		return fmt.Errorf("%w: a namespace has 1 to 64 characters", ErrInvalid)
	}
	for _, r := range ns {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
		default:
			return fmt.Errorf("%w: namespace %q: only letters, digits, '-', '_' and '.' are allowed", ErrInvalid, ns)
		}
	}
	return nil
}

// NamespaceOfDatabase returns the namespace of a Redis database number.
func NamespaceOfDatabase(db int) string {
	if db == 0 {
		return DefaultNamespace
	}
	return "db" + strconv.Itoa(db)
}

// Owner says who may release a lock. A pull owner is {Host, Repo, Pull}; every
// other owner is a client-chosen ID, and then the other fields are empty.
type Owner struct {
	Host string // VCS host name; empty when the record does not say
	Repo string // full name of the repository of the pull request
	Pull int    // pull request number; Atlantis numbers runs without a pull request 0 or below
	ID   string // client-chosen owner id, empty for a pull owner
}

// Same reports whether o and p are one owner. A host that is not known (old
// records, command line) matches any host: the key already fixes the
// repository, and a repository has one host per namespace.
func (o Owner) Same(p Owner) bool {
	if o.ID != "" || p.ID != "" {
		return o.ID == p.ID
	}
	return o.Pull == p.Pull && o.Repo == p.Repo && (o.Host == p.Host || o.Host == "" || p.Host == "")
}

// String names the owner for a person, e.g. "pull request #4 of acme/app".
func (o Owner) String() string {
	if o.ID != "" {
		return fmt.Sprintf("owner %q", o.ID)
	}
	return fmt.Sprintf("pull request #%d of %s", o.Pull, o.Repo)
}

// Validate reports what makes o unusable.
func (o Owner) Validate() error {
	switch {
	case o.ID == "" && o.Repo == "":
		return fmt.Errorf("%w: an owner needs a pull request with its repository, or an owner id", ErrInvalid)
	case o.ID != "" && o.Pull != 0:
		return fmt.Errorf("%w: an owner is either a pull request or an owner id, not both", ErrInvalid)
	case len(o.ID) > NameSizeMax, len(o.Host) > NameSizeMax, len(o.Repo) > KeySizeMax:
		return fmt.Errorf("%w: the owner is longer than %d bytes", ErrInvalid, NameSizeMax)
	case o.ID != "" && !utf8.ValidString(o.ID):
		return fmt.Errorf("%w: the owner id is not UTF-8", ErrInvalid)
	}
	return nil
}
