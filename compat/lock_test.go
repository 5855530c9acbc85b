package compat

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
)

const presentValue = `{"Project":{"ProjectName":"vpc","RepoFullName":"grp/sub/repo","Path":"a/b"},"Pull":{"Num":14,"HeadCommit":"c2","URL":"https://h/14","HeadBranch":"f","BaseBranch":"main","HardenedNonPRRefCheckout":false,"Author":"grace","Body":"text ` + canaryText + `","State":0,"BaseRepo":{"FullName":"grp/sub/repo","Owner":"grp/sub","Name":"repo","CloneURL":"https://atlantis:` + canaryText + `@gitlab.example.com/grp/sub/repo.git","SanitizedCloneURL":"https://atlantis:\u003credacted\u003e@h/r.git","VCSHost":{"Hostname":"gitlab.example.com","Type":1}}},"User":{"Username":"ada","Teams":["platform"]},"Workspace":"prod","Time":"2026-03-01T10:21:00.123456789+01:00"}`

// A present Atlantis's value gives its identity, owner, user and time, with
// nothing uncertain.
func TestParseLockPresent(t *testing.T) {
	r, err := ParseLock([]byte(presentValue))
	if err != nil {
		t.Fatal(err)
	}
	want := LockRecord{
		Key:   lockcluster.Key{Repo: "grp/sub/repo", Path: "a/b", Workspace: "prod", Project: "vpc"},
		Owner: lockcluster.Owner{Host: "gitlab.example.com", Repo: "grp/sub/repo", Pull: 14},
		User:  "ada",
		Time:  r.Time,
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got  %+v\nwant %+v", r, want)
	}
	if got := r.Time.Format(time.RFC3339Nano); got != "2026-03-01T10:21:00.123456789+01:00" {
		t.Errorf("the time lost its instant or zone: %s", got)
	}
	a, err := AcquireFromValue("db3", []byte(presentValue))
	if err != nil || a.Key.Namespace != "db3" || a.Key.Text() != "grp/sub/repo/a/b/prod/vpc" || string(a.Value) != presentValue {
		t.Errorf("the request is not the value's: %+v, %v", a.Key, err)
	}
}

// A value of every older era gives the right identity, and says what it had to
// conclude.
func TestParseLockEras(t *testing.T) {
	for _, c := range []struct {
		name, raw string
		key       lockcluster.Key
		owner     lockcluster.Owner
		uncertain []Uncertain
	}{
		{
			"v0.1, Env", `{"Project":{"RepoFullName":"o/r","Path":"."},"Pull":{"Num":4,"BaseCommit":"x","Branch":"b"},"User":{"Username":"l"},"Env":"staging","Time":"2017-07-01T00:00:00Z"}`,
			lockcluster.Key{Repo: "o/r", Path: ".", Workspace: "staging"},
			lockcluster.Owner{Repo: "o/r", Pull: 4},
			[]Uncertain{UncertainWorkspace, UncertainHost},
		},
		{
			"v0.3.3, Hostname", `{"Project":{"RepoFullName":"o/r","Path":"d"},"Pull":{"Num":4,"BaseRepo":{"FullName":"o/r","Hostname":"gh"}},"User":{"Username":"l"},"Workspace":"w","Time":"2018-01-01T00:00:00Z"}`,
			lockcluster.Key{Repo: "o/r", Path: "d", Workspace: "w"},
			lockcluster.Owner{Host: "gh", Repo: "o/r", Pull: 4},
			nil,
		},
		{
			"another repository in the pull", `{"Project":{"RepoFullName":"o/r","Path":"d"},"Pull":{"Num":4,"BaseRepo":{"FullName":"O/R","VCSHost":{"Hostname":"gh"}}},"User":{"Username":"l"},"Workspace":"w","Time":"2018-01-01T00:00:00Z"}`,
			lockcluster.Key{Repo: "o/r", Path: "d", Workspace: "w"},
			lockcluster.Owner{Host: "gh", Repo: "o/r", Pull: 4},
			[]Uncertain{UncertainRepo},
		},
		{
			"names without regard to case, odd user and time", `{"project":{"repofullname":"o/r","path":"d"},"PULL":{"num":4},"User":"l","workspace":"w","Time":"yesterday"}`,
			lockcluster.Key{Repo: "o/r", Path: "d", Workspace: "w"},
			lockcluster.Owner{Repo: "o/r", Pull: 4},
			[]Uncertain{UncertainHost, UncertainUser, UncertainTime},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := ParseLock([]byte(c.raw))
			if err != nil {
				t.Fatal(err)
			}
			if r.Key != c.key || r.Owner != c.owner || !slices.Equal(r.Uncertain, c.uncertain) {
				t.Errorf("got %+v", r)
			}
		})
	}
}

// A value whose identity cannot be told is refused, with a reason that holds
// nothing of the value.
func TestParseLockRefuses(t *testing.T) {
	deep := strings.Repeat(`{"Project":`, 20000)
	for name, raw := range map[string]string{
		"empty":           ``,
		"cut":             `{"` + canaryText,
		"not an object":   `["` + canaryText + `"]`,
		"not UTF-8":       "{\"a\":\"\xff" + canaryText + "\"}",
		"number":          `7`,
		"project text":    `{"Project":"` + canaryText + `","Workspace":5}`,
		"no repository":   `{"Project":{"RepoFullName":"","Path":"."},"Workspace":"default","Pull":{"Num":1}}`,
		"no path":         `{"Project":{"RepoFullName":"a/b"},"Workspace":"default","Pull":{"Num":1}}`,
		"no workspace":    `{"Project":{"RepoFullName":"a/b","Path":"."},"Workspace":null,"Pull":{"Num":1}}`,
		"no pull":         `{"Project":{"RepoFullName":"a/b","Path":"."},"Workspace":"w"}`,
		"no number":       `{"Project":{"RepoFullName":"a/b","Path":"."},"Workspace":"w","Pull":{}}`,
		"pull fraction":   `{"Project":{"RepoFullName":"a/b","Path":"."},"Workspace":"w","Pull":{"Num":1.5}}`,
		"pull text":       `{"Project":{"RepoFullName":"a/b","Path":"."},"Workspace":"w","Pull":{"Num":"` + canaryText + `"}}`,
		"workspace twice": `{"Project":{"RepoFullName":"a/b","Path":"."},"Workspace":"w","workspace":"` + canaryText + `","Pull":{"Num":1}}`,
		"host number":     `{"Project":{"RepoFullName":"a/b","Path":"."},"Workspace":"w","Pull":{"Num":1,"BaseRepo":{"VCSHost":{"Hostname":7}}}}`,
		"NUL":             `{"Project":{"RepoFullName":"a/b\u0000","Path":"."},"Workspace":"w","Pull":{"Num":1}}`,
		"too long":        `{"Project":{"RepoFullName":"a/` + strings.Repeat("x", lockcluster.KeySizeMax) + `","Path":"."},"Workspace":"w","Pull":{"Num":1}}`,
		"too deep":        deep,
	} {
		t.Run(name, func(t *testing.T) {
			r, err := ParseLock([]byte(raw))
			var re *RecordError
			if !errors.As(err, &re) || !errors.Is(err, lockcluster.ErrInvalid) {
				t.Fatalf("got %+v, %v; want a RecordError", r, err)
			}
			if strings.Contains(err.Error(), "CANARY") || len(err.Error()) > 200 {
				t.Errorf("the reason quotes the value: %v", err)
			}
		})
	}
}

// A key text is told apart as present form, old form, or another lock's.
func TestCheckKey(t *testing.T) {
	named := lockcluster.Key{Repo: "grp/sub/repo", Path: ".", Workspace: "w", Project: "p"}
	plain := lockcluster.Key{Repo: "o/r", Path: "a/b", Workspace: "default"}
	broken := lockcluster.Key{Repo: "o/r", Path: "a\ufffd\ufffdb", Workspace: "w"}
	for _, c := range []struct {
		text string
		key  lockcluster.Key
		want KeyForm
	}{
		{"grp/sub/repo/./w/p", named, KeyPresent},
		{"grp/sub/repo/./w", named, KeyOld},
		{"grp/sub/repo/./w/", named, KeyDisagrees},
		{"o/r/a/b/default/", plain, KeyPresent},
		{"o/r/a/b/default", plain, KeyOld},
		{"O/r/a/b/default", plain, KeyDisagrees},
		{"", plain, KeyDisagrees},
		{"o/r/a\xff\xfeb/w/", broken, KeyPresent},
	} {
		if got := CheckKey(c.text, c.key); got != c.want {
			t.Errorf("CheckKey(%q, %q) = %v, want %v", c.text, c.key.Text(), got, c.want)
		}
	}
}

// A lock that was acquired without stored bytes gets a value that reads back
// as the same lock, in the field order of Atlantis.
func TestNewLockValueReadsBack(t *testing.T) {
	l := lockcluster.Lock{
		Key:   lockcluster.Key{Namespace: "default", Repo: "grp/sub/repo", Path: "<x>", Workspace: "w", Project: "p"},
		Owner: lockcluster.Owner{Host: "gitlab.example.com", Repo: "grp/sub/repo", Pull: 7},
		User:  "ada", AcquiredAt: time.Date(2026, 3, 1, 10, 0, 0, 5, time.FixedZone("", 3600)),
	}
	raw := NewLockValue(l)
	a, err := AcquireFromValue("default", raw)
	if err != nil {
		t.Fatal(err)
	}
	if a.Key != l.Key || a.Owner != l.Owner || a.User != l.User || !a.AcquiredAt.Equal(l.AcquiredAt) {
		t.Errorf("got back %+v", a)
	}
	want := `{"Project":{"ProjectName":"p","RepoFullName":"grp/sub/repo","Path":"\u003cx\u003e"},"Pull":{"Num":7,"HeadCommit":"","URL":"","HeadBranch":"","BaseBranch":"","HardenedNonPRRefCheckout":false,"Author":"ada","Body":"","State":0,"BaseRepo":{"FullName":"grp/sub/repo","Owner":"grp/sub","Name":"repo","CloneURL":"","SanitizedCloneURL":"","VCSHost":{"Hostname":"gitlab.example.com","Type":1}}},"User":{"Username":"ada","Teams":null},"Workspace":"w","Time":"2026-03-01T09:00:00.000000005Z"}`
	if string(raw) != want {
		t.Errorf("got  %s\nwant %s", raw, want)
	}
	l.Owner, l.User = lockcluster.Owner{ID: "nightly"}, ""
	var v ProjectLock
	if err := json.Unmarshal(NewLockValue(l), &v); err != nil || v.User.Username != "nightly" || v.Pull.Num != 0 {
		t.Errorf("an owner id gives %+v, %v", v, err)
	}
}

// Decoding into Atlantis's type keeps what can be read of any era.
func TestDecodeLockKeepsWhatItCan(t *testing.T) {
	l, err := DecodeLock([]byte(`{"Project":{"RepoFullName":"o/r","Path":"."},"Pull":{"Num":4,"State":"open","Author":"z"},"User":{"Username":"l","Teams":7},"Env":"staging","Time":"never"}`))
	if err != nil {
		t.Fatal(err)
	}
	if l.Workspace != "staging" || l.Pull.Author != "z" || l.Pull.Num != 4 || l.User.Username != "l" || !l.Time.IsZero() {
		t.Errorf("got %+v", l)
	}
}

// Whatever the bytes, parsing a lock either gives a valid request whose key
// agrees with its own text, or a reason without a piece of the value.
func FuzzParseLock(f *testing.F) {
	f.Add([]byte(presentValue))
	f.Add([]byte(`{"Project":{"RepoFullName":"o/r","Path":"."},"Pull":{"Num":4},"Env":"s"}`))
	f.Add([]byte("\xff\xfe\x00\x01"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := ParseLock(raw)
		if err != nil {
			if len(err.Error()) > 200 {
				t.Fatalf("long reason: %v", err)
			}
			return
		}
		a, err := r.Acquire(lockcluster.DefaultNamespace, raw)
		if err != nil {
			t.Fatalf("a parsed record makes no request: %v", err)
		}
		if err := errors.Join(a.Key.Validate(), a.Owner.Validate()); err != nil || a.Owner.ID != "" {
			t.Fatalf("the request is not valid: %v", err)
		}
		if CheckKey(a.Key.Text(), a.Key) != KeyPresent || CheckKey(a.Key.OldText(), a.Key) == KeyDisagrees {
			t.Fatalf("%q does not agree with itself", a.Key.Text())
		}
		if _, err := DecodeLock(raw); err != nil {
			t.Fatal(err)
		}
		again, err := ParseLock(NewLockValue(lockcluster.Lock{Key: a.Key, Owner: a.Owner, User: a.User, AcquiredAt: a.AcquiredAt}))
		if err != nil || again.Key != r.Key || again.Owner != r.Owner || again.User != r.User {
			t.Fatalf("a value made from the record reads back as %+v, %v", again, err)
		}
	})
}

// Atlantis's API runs plans without a pull request under numbers of 0 and
// below (v0.47.1, api_controller.go): their locks are locks as any other.
func TestParseLockWithoutPullRequest(t *testing.T) {
	for _, num := range []int{0, -1, -873211045} {
		raw := fmt.Sprintf(`{"Project":{"RepoFullName":"a/b","Path":"."},"Workspace":"w","Pull":{"Num":%d}}`, num)
		r, err := ParseLock([]byte(raw))
		if err != nil || r.Owner.Pull != num {
			t.Errorf("pull %d: got %+v, %v", num, r, err)
		}
	}
}
