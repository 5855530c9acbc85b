package cli

import (
	"testing"

	"github.com/spf13/pflag"

	"github.com/lockcluster/lockcluster"
)

// The text of a key is taken apart as Atlantis put it together; where the text
// is ambiguous the flags decide.
func TestKey(t *testing.T) {
	for _, c := range []struct {
		text  string
		flags []string
		want  lockcluster.Key
	}{
		{"acme/infra/./default/", nil, lockcluster.Key{Repo: "acme/infra", Path: ".", Workspace: "default"}},
		{"acme/infra/./default", nil, lockcluster.Key{Repo: "acme/infra", Path: ".", Workspace: "default"}},
		{"acme/infra/a/b/c/prod/net", nil, lockcluster.Key{Repo: "acme/infra", Path: "a/b/c", Workspace: "prod", Project: "net"}},
		{"g/s/infra/a/prod/net", []string{"--repo", "g/s/infra"}, lockcluster.Key{Repo: "g/s/infra", Path: "a", Workspace: "prod", Project: "net"}},
		{"g/s/infra/a/prod", []string{"--repo", "g/s/infra"}, lockcluster.Key{Repo: "g/s/infra", Path: "a", Workspace: "prod"}},
		{"a/b/c/d/p/q", []string{"--repo", "a/b", "--path", "c", "--workspace", "d", "--project", "p/q"}, lockcluster.Key{Repo: "a/b", Path: "c", Workspace: "d", Project: "p/q"}},
		{"a/b/c/d", []string{"--repo", "a/b", "--path", "c", "--workspace", "d"}, lockcluster.Key{Repo: "a/b", Path: "c", Workspace: "d"}},
		{"a/b/c/d/", []string{"-n", "db3"}, lockcluster.Key{Namespace: "db3", Repo: "a/b", Path: "c", Workspace: "d"}},
	} {
		var k keyFlags
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		k.add(fs)
		if err := fs.Parse(c.flags); err != nil {
			t.Fatal(err)
		}
		if c.want.Namespace == "" {
			c.want.Namespace = "default"
		}
		if got, err := k.parse(c.text); err != nil || got != c.want {
			t.Errorf("%s %v: got %+v, %v; want %+v", c.text, c.flags, got, err, c.want)
		}
	}
}
