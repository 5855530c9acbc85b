package compat

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/lockcluster/lockcluster"
)

// pullKeySeparator stands between the parts of a pull status key.
const pullKeySeparator = "::"

// PullStatusKey returns the key of a pull status, "host::repo::num", which is
// the same in Redis and in BoltDB. A part that holds "::" is refused, as in
// Atlantis.
func PullStatusKey(host, repo string, num int) (string, error) {
	switch {
	case strings.Contains(host, pullKeySeparator):
		return "", recordErrorf("the VCS host name contains %q", pullKeySeparator)
	case strings.Contains(repo, pullKeySeparator):
		return "", recordErrorf("the repository name contains %q", pullKeySeparator)
	case host == "" || repo == "":
		return "", recordErrorf("a pull status key needs a host and a repository")
	case strings.HasSuffix(host, ":") || strings.HasPrefix(repo, ":") || strings.HasSuffix(repo, ":"):
		return "", recordErrorf("a part of the pull status key ends in a colon, so that it cannot be told from the next")
	}
	return host + pullKeySeparator + repo + pullKeySeparator + strconv.Itoa(num), nil
}

// ParsePullStatusKey takes a pull status key apart.
func ParsePullStatusKey(key string) (host, repo string, num int, err error) {
	parts := strings.Split(key, pullKeySeparator)
	if len(parts) != 3 {
		return "", "", 0, recordErrorf("the key is not host::repo::number")
	}
	num, err = strconv.Atoi(parts[2])
	if err != nil || strconv.Itoa(num) != parts[2] {
		return "", "", 0, recordErrorf("the key does not end in a pull request number")
	}
	if _, err := PullStatusKey(parts[0], parts[1], num); err != nil {
		return "", "", 0, err
	}
	return parts[0], parts[1], num, nil
}

// PullStatusRecord is what a stored pull status says of itself.
type PullStatusRecord struct {
	Host      string
	Repo      string
	Pull      int
	Projects  int // how many projects it lists
	Uncertain []Uncertain
}

// Key returns the key that Atlantis keeps the record under.
func (r PullStatusRecord) Key() (string, error) { return PullStatusKey(r.Host, r.Repo, r.Pull) }

// ParsePullStatus reads a pull status of any Atlantis version.
func ParsePullStatus(raw []byte) (PullStatusRecord, error) {
	var r PullStatusRecord
	if err := checkRecord(raw); err != nil {
		return r, err
	}
	top, _ := readObject("", raw)
	pull, err := top.object("Pull")
	if err != nil {
		return r, err
	}
	num, err := pull.integer("Num")
	if err != nil {
		return r, err
	}
	if !pull.has("Num") || int64(int(num)) != num {
		return r, recordErrorf("the value names no pull request (Pull.Num)")
	}
	r.Pull = int(num)
	if r.Host, r.Repo, err = pullRepo(pull); err != nil {
		return r, err
	}
	if r.Host == "" || r.Repo == "" {
		return r, recordErrorf("the value names no repository and VCS host (Pull.BaseRepo)")
	}
	if _, err := r.Key(); err != nil {
		return r, err
	}
	return r, r.readProjects(top)
}

// readProjects looks at what the importer cannot be sure of. Which project has
// which status decides nothing about locks, so only the frame must be sound.
func (r *PullStatusRecord) readProjects(top object) error {
	raw, err := top.get("Projects")
	if err != nil || raw == nil {
		return err
	}
	var projects []json.RawMessage
	if json.Unmarshal(raw, &projects) != nil {
		return recordErrorf("Projects is not a list")
	}
	r.Projects = len(projects)
	present := writtenByPresentAtlantis(top)
	status, approvals := false, false
	for _, p := range projects {
		o, ok := readObject("Projects[]", p)
		if !ok {
			return recordErrorf("Projects holds something that is not an object")
		}
		n, err := o.integer("Status")
		// From 2 up the numbers moved in v0.5.0 and v0.25.0, and nothing in
		// the record says when it was written.
		status = status || err != nil || n < 0 || n >= int64(PlannedNoChanges) && !present
		approvals = approvals || !approvalsReadable(o)
	}
	if status {
		r.Uncertain = append(r.Uncertain, UncertainStatus)
	}
	if approvals {
		r.Uncertain = append(r.Uncertain, UncertainApprovals)
	}
	return nil
}

// writtenByPresentAtlantis reports whether the record can only be of v0.45.0 or
// newer, whose status numbers are known.
func writtenByPresentAtlantis(top object) bool {
	pull, err := top.object("Pull")
	return err == nil && (pull.has("HardenedNonPRRefCheckout") || pull.has("Body"))
}

// approvalsReadable reports whether a present Atlantis can read the policy
// status of a project.
func approvalsReadable(project object) bool {
	v, err := project.get("PolicyStatus")
	if err != nil || v == nil {
		return err == nil
	}
	var sets []PolicySetStatus
	return json.Unmarshal(v, &sets) == nil
}

// DecodePullStatus reads a pull status of any era into Atlantis's type.
// Members that cannot be read are left empty.
func DecodePullStatus(raw []byte) (PullStatus, error) {
	r, err := ParsePullStatus(raw)
	if err != nil {
		return PullStatus{}, err
	}
	var s PullStatus
	// A member of another type is left out, and decoding goes on behind it.
	_ = json.Unmarshal(raw, &s)
	s.Pull.Num, s.Pull.BaseRepo.FullName, s.Pull.BaseRepo.VCSHost.Hostname = r.Pull, r.Repo, r.Host
	return s, nil
}

// Document makes the request that stores the record; value is stored as it is.
func (r PullStatusRecord) Document(namespace string, value []byte) (lockcluster.PutDocument, error) {
	key, err := r.Key()
	if err != nil {
		return lockcluster.PutDocument{}, err
	}
	return lockcluster.PutDocument{
		Namespace: namespace, Key: key, Value: value, Condition: lockcluster.PutIfAbsent,
	}, nil
}
