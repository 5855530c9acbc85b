package migration

import (
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockcluster/lockcluster"
)

func gradual(percentage uint32, canary ...lockcluster.CanaryRule) *lockcluster.Migration {
	return &lockcluster.Migration{
		Mode: lockcluster.ModeGradual, Active: lockcluster.SystemLegacy, Namespace: lockcluster.DefaultNamespace,
		Percentage: percentage, Canary: canary,
	}
}

func drawKey(t *rapid.T) lockcluster.Key {
	word := rapid.StringMatching(`[a-z0-9.*/_-]{1,12}`)
	return lockcluster.Key{
		Namespace: lockcluster.DefaultNamespace, Repo: word.Draw(t, "repo"), Path: word.Draw(t, "path"),
		Workspace: word.Draw(t, "workspace"), Project: rapid.StringMatching(`[a-z]{0,5}`).Draw(t, "project"),
	}
}

// A key that goes to the enhanced system at one percentage goes there at every
// higher one; at 0 no key does, at 100 every key.
func TestRouteMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := drawKey(t)
		before := lockcluster.SystemLegacy
		for p := range uint32(101) {
			now := Routes(key, nil, gradual(p))
			if before == lockcluster.SystemEnhanced && now != before {
				t.Fatalf("%q is taken back at %d %%", key.Text(), p)
			}
			if text := RoutesText(key.Namespace, key.Text(), gradual(p)); text != now {
				t.Fatalf("%q: by text %s, by key %s", key.Text(), text, now)
			}
			if p == 0 && now != lockcluster.SystemLegacy || p == 100 && now != lockcluster.SystemEnhanced {
				t.Fatalf("%q goes to %s at %d %%", key.Text(), now, p)
			}
			before = now
		}
	})
}

// A percentage is that share of the keys, whatever way they resemble each
// other.
func TestRouteShare(t *testing.T) {
	const keys = 10000
	for name, key := range map[string]func(i int) lockcluster.Key{
		"repositories": func(i int) lockcluster.Key {
			return lockcluster.Key{Repo: fmt.Sprintf("acme/app-%d", i), Path: ".", Workspace: "default"}
		},
		"paths": func(i int) lockcluster.Key {
			return lockcluster.Key{Repo: "acme/mono", Path: fmt.Sprintf("env/%04d", i), Workspace: "default"}
		},
		"workspaces": func(i int) lockcluster.Key {
			return lockcluster.Key{Repo: "acme/mono", Path: ".", Workspace: fmt.Sprintf("w%d", i)}
		},
		"projects": func(i int) lockcluster.Key {
			return lockcluster.Key{Repo: "acme/mono", Path: ".", Workspace: "default", Project: fmt.Sprint(i)}
		},
	} {
		for _, p := range []uint32{1, 10, 25, 50, 75, 99} {
			enhanced := 0
			for i := range keys {
				k := key(i)
				k.Namespace = lockcluster.DefaultNamespace
				if Routes(k, nil, gradual(p)) == lockcluster.SystemEnhanced {
					enhanced++
				}
			}
			if got := 100 * float64(enhanced) / keys; math.Abs(got-float64(p)) > 3 {
				t.Errorf("%s: %d %% of the keys are %.1f %%", name, p, got)
			}
		}
	}
}

// The share of a key is for all time: other versions must send it the same way.
func TestShareIsFixed(t *testing.T) {
	for text, want := range map[string]uint32{
		"acme/infra/./default/":      54,
		"acme/app/env/prod/staging/": 33,
		"github.com::acme/app::7":    96,
		"":                           72,
	} {
		if got := Share("default", text); got != want {
			t.Errorf("%q: share %d, want %d", text, got, want)
		}
	}
	if Share("default", "a/b/c/d") == Share("db1", "a/b/c/d") && Share("default", "a/b/c/e") == Share("db1", "a/b/c/e") {
		t.Error("the namespace does not count")
	}
}

// A canary rule matches where all its fields do, and one matching rule is
// enough; an empty rule, or a group that the user is not in, sends nothing.
func TestRouteCanary(t *testing.T) {
	key := lockcluster.Key{Namespace: lockcluster.DefaultNamespace, Repo: "acme/app", Path: ".", Workspace: "staging", Project: "net"}
	for _, c := range []struct {
		name  string
		rules []lockcluster.CanaryRule
		teams []string
		want  lockcluster.System
	}{
		{"none", nil, nil, lockcluster.SystemLegacy},
		{"empty rule", []lockcluster.CanaryRule{{}}, []string{""}, lockcluster.SystemLegacy},
		{"project", []lockcluster.CanaryRule{{ProjectName: "net"}}, nil, lockcluster.SystemEnhanced},
		{"other project", []lockcluster.CanaryRule{{ProjectName: "ne"}}, nil, lockcluster.SystemLegacy},
		{"workspace", []lockcluster.CanaryRule{{ProjectName: "x"}, {Workspace: "staging"}}, nil, lockcluster.SystemEnhanced},
		{"all fields", []lockcluster.CanaryRule{{ProjectName: "net", Workspace: "prod"}}, nil, lockcluster.SystemLegacy},
		{"group", []lockcluster.CanaryRule{{UserGroup: "platform"}}, []string{"web", "platform"}, lockcluster.SystemEnhanced},
		{"not in the group", []lockcluster.CanaryRule{{UserGroup: "platform"}}, []string{"web"}, lockcluster.SystemLegacy},
		{"no groups", []lockcluster.CanaryRule{{UserGroup: "platform"}}, nil, lockcluster.SystemLegacy},
		{"group and workspace", []lockcluster.CanaryRule{{UserGroup: "web", Workspace: "staging"}}, []string{"web"}, lockcluster.SystemEnhanced},
	} {
		if got := Routes(key, c.teams, gradual(0, c.rules...)); got != c.want {
			t.Errorf("%s: got %s", c.name, got)
		}
	}
}

// Outside mode gradual, and outside the legacy system's namespace, neither the
// percentage nor the rules count.
func TestRouteOtherModes(t *testing.T) {
	key := lockcluster.Key{Namespace: lockcluster.DefaultNamespace, Repo: "a/b", Path: ".", Workspace: "w"}
	for mode, want := range map[lockcluster.Mode]lockcluster.System{
		lockcluster.ModeEnhanced: lockcluster.SystemEnhanced, lockcluster.ModeLegacy: lockcluster.SystemLegacy,
		lockcluster.ModeShadow: lockcluster.SystemLegacy, lockcluster.ModeBlueGreen: lockcluster.SystemLegacy,
	} {
		m := gradual(50, lockcluster.CanaryRule{Workspace: "w"})
		m.Mode = mode
		if got := Routes(key, nil, m); got != want {
			t.Errorf("%s: got %s", mode, got)
		}
	}
	key.Namespace = "db1"
	if got := Routes(key, nil, gradual(0)); got != lockcluster.SystemEnhanced {
		t.Errorf("another namespace goes to %s", got)
	}
}
