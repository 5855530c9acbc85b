package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/lockcluster/lockcluster"
)

// redisPrefix is before a lock's key on the Redis door, and only there.
const redisPrefix = "pr/"

// keyFlags are the parts of a lock key that its text may leave open.
type keyFlags struct {
	namespace, repo, path, workspace, project string
	set                                       func(name string) bool
}

func (k *keyFlags) add(fs *pflag.FlagSet) {
	addNamespace(fs, &k.namespace)
	fs.StringVar(&k.repo, "repo", "", "full name of the repository, where it is not owner/name")
	fs.StringVar(&k.path, "path", "", "directory in the repository, . for its root")
	fs.StringVar(&k.workspace, "workspace", "", "Terraform workspace")
	fs.StringVar(&k.project, "project", "", "Atlantis project name")
	k.set = fs.Changed
}

func addNamespace(fs *pflag.FlagSet, namespace *string) {
	fs.StringVarP(namespace, "namespace", "n", lockcluster.DefaultNamespace, "namespace: default is Redis database 0, dbN database N")
}

// parse splits the text of a key, "repo/path/workspace/project", where the
// project may be empty or missing. The text alone does not say where the
// repository ends: it is owner/name unless --repo says otherwise.
func (k *keyFlags) parse(text string) (lockcluster.Key, error) {
	key := lockcluster.Key{Namespace: k.namespace, Repo: k.repo, Path: k.path, Workspace: k.workspace, Project: k.project}
	if k.set("path") || k.set("workspace") || k.set("project") {
		return k.fromFlags(key, text)
	}
	if key.Repo == "" {
		if rest, ok := strings.CutPrefix(text, redisPrefix); ok {
			return key, usagef("key %q begins with %q, which only Redis keys do: write %q (or give --repo, if that is its owner's name)", text, redisPrefix, rest)
		}
		parts := strings.SplitN(text, "/", 3)
		if len(parts) < 3 {
			return key, badKey(text)
		}
		key.Repo = parts[0] + "/" + parts[1]
	}
	rest, ok := strings.CutPrefix(text, key.Repo+"/")
	if !ok {
		return key, usagef("key %q does not begin with the repository %q", text, key.Repo)
	}
	parts := strings.Split(rest, "/")
	switch n := len(parts); {
	case n < 2:
		return key, badKey(text)
	case n == 2: // the form of Atlantis before v0.40.0, without a project
		key.Path, key.Workspace = parts[0], parts[1]
	default:
		key.Path, key.Workspace, key.Project = strings.Join(parts[:n-2], "/"), parts[n-2], parts[n-1]
	}
	if err := key.Validate(); err != nil {
		return key, usagef("key %q: %w", text, err)
	}
	return key, nil
}

// reading says how an ambiguous text was taken apart; empty if there is only
// one way, or the flags say it.
func (k *keyFlags) reading(text string, key lockcluster.Key) string {
	segments := 0
	for part := range strings.SplitSeq(text, "/") {
		if part != "" {
			segments++
		}
	}
	if segments <= 4 || k.set("repo") || k.set("path") {
		return ""
	}
	return fmt.Sprintf("KEY is read as repository %q, path %q, workspace %q, project %q; if that is wrong, give --repo, or all of --repo, --path, --workspace and --project",
		key.Repo, key.Path, key.Workspace, key.Project)
}

// fromFlags takes the parts from the flags; the text must agree.
func (k *keyFlags) fromFlags(key lockcluster.Key, text string) (lockcluster.Key, error) {
	if key.Repo == "" || key.Path == "" || key.Workspace == "" {
		return key, usagef("to give the parts of a key give --repo, --path and --workspace (and --project if it has a name)")
	}
	if err := key.Validate(); err != nil {
		return key, usagef("key %q: %w", text, err)
	}
	if text != key.Text() && text != key.OldText() {
		return key, usagef("key %q is not what its parts make: %q", text, key.Text())
	}
	return key, nil
}

func badKey(text string) error {
	return usagef("key %q: want repo/path/workspace/project, for example acme/infra/./default/ (the path of the root is \".\", the project may be empty)", text)
}
