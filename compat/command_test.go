package compat

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// A command lock's value is read and written as Atlantis does it.
func TestCommandLockValue(t *testing.T) {
	raw := `{"LockMetadata":{"UnixTime":1795403363},"CommandName":0}`
	r, err := ParseCommandLock([]byte(raw))
	if err != nil || r.Command != CommandApply || r.LockedAt.Unix() != 1795403363 {
		t.Fatalf("got %+v, %v", r, err)
	}
	if got := string(NewCommandLockValue(CommandApply, r.LockedAt)); got != raw {
		t.Errorf("written back as %s", got)
	}
	q := r.Request("db1", []byte(raw))
	if q.Namespace != "db1" || q.Name != "apply" || !q.LockedAt.Equal(r.LockedAt) || string(q.Value) != raw {
		t.Errorf("the request is %+v", q)
	}
	for _, bad := range []string{``, `{`, `{}`, `{"CommandName":"` + canaryText + `"}`, `{"CommandName":10}`, `{"CommandName":-1}`, `{"CommandName":0,"LockMetadata":3}`} {
		if _, err := ParseCommandLock([]byte(bad)); err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%q gave %v", bad, err)
		}
	}
}

// Plan and autoplan are one name, and every name leads back to its command.
func TestCommandNames(t *testing.T) {
	if CommandAutoplan.String() != "plan" || CommandName(99).String() != "" {
		t.Error("wrong names")
	}
	for c := CommandApply; c <= CommandCancel; c++ {
		got, err := ParseCommandName(c.String())
		if err != nil || got != c && c != CommandAutoplan {
			t.Errorf("%v leads to %v, %v", c, got, err)
		}
	}
	if _, err := ParseCommandName(""); err == nil {
		t.Error("the empty name is a command")
	}
}

// Command lock keys are read back, and other keys are not taken for one.
func TestCommandLockKeys(t *testing.T) {
	if name, ok := ParseCommandLockKey(CommandLockKey("apply")); !ok || name != "apply" {
		t.Errorf("got %q, %v", name, ok)
	}
	if name, ok := ParseCommandLockBoltKey(CommandLockBoltKey("apply")); !ok || name != "apply" {
		t.Errorf("got %q, %v", name, ok)
	}
	for _, key := range []string{"", "global/", "global//lock", "global/lock", "global/a/b/lock", "global/apply/lock/", "pr/global/apply/lock", "github.com::o/r::7"} {
		if name, ok := ParseCommandLockKey(key); ok {
			t.Errorf("%q is taken for the lock of %q", key, name)
		}
	}
}

// A pull status key is read back, and a "::" inside a part is refused.
func TestPullStatusKeys(t *testing.T) {
	key, err := PullStatusKey("gitea.example:3000", "dev/infra", 7)
	if err != nil || key != "gitea.example:3000::dev/infra::7" {
		t.Fatalf("got %q, %v", key, err)
	}
	host, repo, num, err := ParsePullStatusKey(key)
	if err != nil || host != "gitea.example:3000" || repo != "dev/infra" || num != 7 {
		t.Errorf("got %q %q %d, %v", host, repo, num, err)
	}
	for _, p := range []struct {
		host, repo string
		num        int
	}{{"a::b", "r", 1}, {"h", "r::x", 1}, {"", "r", 1}, {"h", "", 1}, {"h:", "r", 1}, {"h", ":r", 1}} {
		if key, err := PullStatusKey(p.host, p.repo, p.num); err == nil {
			t.Errorf("%+v gave %q", p, key)
		}
	}
	for _, key := range []string{"", "h::r", "h::r::", "h::r::x", "h::r::07", "h::r::+7", "h::r::1::2", "h:::r::1", "::r::1"} {
		if _, _, _, err := ParsePullStatusKey(key); err == nil {
			t.Errorf("%q was read", key)
		}
	}
}

// A pull status of every era gives its identity and says what is uncertain.
func TestParsePullStatusEras(t *testing.T) {
	pull := `"Pull":{"Num":9,"BaseRepo":{"FullName":"acme/policy","VCSHost":{"Hostname":"github.com","Type":0}}}`
	for _, c := range []struct {
		name, raw string
		want      []Uncertain
	}{
		{"int approvals", `{"Projects":[{"PolicyStatus":[{"PolicySetName":"p","Approvals":2}],"Status":7}],` + pull + `}`, []Uncertain{UncertainStatus, UncertainApprovals}},
		{"planned", `{"Projects":[{"Status":1}],` + pull + `}`, nil},
		{"no projects", `{"Projects":null,` + pull + `}`, nil},
		{"present", `{"Projects":[{"Status":4,"PolicyStatus":[{"Approvals":[{"Approver":"a","Hashes":null}]}]}],"Pull":{"Body":"","Num":9,"BaseRepo":{"FullName":"acme/policy","VCSHost":{"Hostname":"github.com"}}}}`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := ParsePullStatus([]byte(c.raw))
			if err != nil {
				t.Fatal(err)
			}
			if key, err := r.Key(); err != nil || key != "github.com::acme/policy::9" || !slices.Equal(r.Uncertain, c.want) {
				t.Errorf("got %q, %v, %v", key, err, r.Uncertain)
			}
			s, err := DecodePullStatus([]byte(c.raw))
			if err != nil || s.Pull.Num != 9 || len(s.Projects) != r.Projects {
				t.Errorf("decoded to %+v, %v", s, err)
			}
		})
	}
	for _, bad := range []string{`{"Projects":[`, `{"Projects":[],"Pull":{"Num":1}}`, `{"Projects":7,` + pull + `}`, `{"Projects":["` + canaryText + `"],` + pull + `}`} {
		if _, err := ParsePullStatus([]byte(bad)); err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%q gave %v", bad, err)
		}
	}
}

// Whatever the bytes, the other two decoders give a usable record or a reason.
func FuzzParseRecords(f *testing.F) {
	f.Add([]byte(`{"LockMetadata":{"UnixTime":1795403363},"CommandName":0}`))
	f.Add([]byte(`{"Projects":[{"PolicyStatus":[{"Approvals":2}],"Status":7}],"Pull":{"Num":9,"BaseRepo":{"FullName":"a/b","VCSHost":{"Hostname":"h"}}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if r, err := ParseCommandLock(raw); err == nil {
			again, err := ParseCommandLock(NewCommandLockValue(r.Command, r.LockedAt))
			if err != nil || again.Command != r.Command || !again.LockedAt.Truncate(time.Second).Equal(r.LockedAt) {
				t.Fatalf("%+v reads back as %+v, %v", r, again, err)
			}
		}
		if r, err := ParsePullStatus(raw); err == nil {
			key, err := r.Key()
			if err != nil {
				t.Fatal(err)
			}
			host, repo, num, err := ParsePullStatusKey(key)
			if err != nil || host != r.Host || repo != r.Repo || num != r.Pull {
				t.Fatalf("%q reads back as %q %q %d, %v", key, host, repo, num, err)
			}
			if _, err := DecodePullStatus(raw); err != nil {
				t.Fatal(err)
			}
		}
	})
}
