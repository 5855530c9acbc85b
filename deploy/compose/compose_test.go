package compose

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster/internal/testutil"
)

const (
	lockKey = "pr/acme/infra/network/default/"
	// failoverTimeout is generous: a busy machine runs three nodes, each with its
	// own disk writes.
	failoverTimeout = 90 * time.Second
)

// lockValue is a lock as Atlantis stores it.
func lockValue(pull int) string {
	return fmt.Sprintf(`{"Project":{"ProjectName":"","RepoFullName":"acme/infra","Path":"network"},`+
		`"Pull":{"Num":%d,"HeadCommit":"16ca62f65c18ff456c6ef4cacc8d4826e264bb17","URL":"https://vcs.example/acme/infra/pull/%[1]d",`+
		`"HeadBranch":"change","BaseBranch":"main","Author":"ann","Body":"","State":0,`+
		`"BaseRepo":{"FullName":"acme/infra","Owner":"acme","Name":"infra","CloneURL":"https://vcs.example/acme/infra.git",`+
		`"SanitizedCloneURL":"https://vcs.example/acme/infra.git","VCSHost":{"Hostname":"vcs.example","Type":0}}},`+
		`"User":{"Username":"ann","Teams":null},"Workspace":"default","Time":"2026-11-01T10:00:00.123456789Z"}`, pull)
}

// The shipped image and Compose file bring up a cluster whose locks outlive a
// node, and whose containers behave.
func TestThreeNodes(t *testing.T) {
	compose := composeCommand(t)
	p := start(t, compose, buildImage(t))
	c := cluster{containers: map[string]string{}, doors: map[string]*redis.Client{}}
	for _, n := range nodes {
		c.containers[n] = p.container(t, n)
		door := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", p.redisPort[n]), ReadTimeout: 5 * time.Second})
		t.Cleanup(func() { _ = door.Close() })
		c.doors[n] = door
	}
	waitHealthy(t, failoverTimeout, c.containers)

	t.Run("locks outlive a node", c.locksOutliveNode)
	t.Run("containers behave", c.containersBehave)
}

// cluster is what the tests touch: each node's container and Redis door.
type cluster struct {
	containers map[string]string
	doors      map[string]*redis.Client
}

// A lock taken at one node is seen at the others, is refused to another pull
// request, and survives the death of the node it was taken at.
func (c cluster) locksOutliveNode(t *testing.T) {
	first, second := lockValue(1), lockValue(2)
	if err := setNow(t, c.doors["n1"], first); err != nil {
		t.Fatalf("take the lock at n1: %v", err)
	}
	wantValue(t, c.doors["n3"], first)
	wantRefused(t, c.doors["n2"], second)

	must(t, "docker", "kill", c.containers["n1"])
	wantValue(t, c.doors["n2"], first)
	wantRefused(t, c.doors["n3"], second)

	must(t, "docker", "start", c.containers["n1"])
	waitHealthy(t, failoverTimeout, c.containers)
	wantValue(t, c.doors["n1"], first)

	// Freed at one node, it is free at the others.
	if err := c.doors["n1"].Del(within(t), lockKey).Err(); err != nil {
		t.Fatalf("release the lock at n1: %v", err)
	}
	if err := c.doors["n2"].Get(within(t), lockKey).Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("the released lock at n2: got %v, want none", err)
	}
}

// A node runs without rights, the command line answers inside its container,
// and Docker's stop signal ends it cleanly.
func (c cluster) containersBehave(t *testing.T) {
	n2 := c.containers["n2"]
	if got := must(t, "docker", "inspect", "--format", "{{.Config.User}}", n2); got != "65532:65532" {
		t.Errorf("the node runs as user %q", got)
	}
	out := must(t, "docker", "exec", n2, "lockcluster", "cluster", "status", "-o", "json")
	for _, n := range nodes {
		if !strings.Contains(out, `"`+n+`"`) {
			t.Errorf("cluster status does not name %s:\n%s", n, out)
		}
	}
	must(t, "docker", "stop", "--time", "25", n2)
	if got := must(t, "docker", "inspect", "--format", "{{.State.ExitCode}}", n2); got != "0" {
		t.Errorf("a stopped node left with exit code %s, want 0", got)
	}
}

// The whole Dockerfile, compiler stage included, gives an image that runs. It
// needs an image with Go: LOCKCLUSTER_TEST_BUILDER_IMAGE, or the Dockerfile's
// own where it is on this machine already. It also needs the module proxy.
func TestWholeDockerfile(t *testing.T) {
	composeCommand(t)
	builder := os.Getenv("LOCKCLUSTER_TEST_BUILDER_IMAGE")
	if builder == "" {
		builder = "golang:1.26-bookworm"
	}
	if _, err := try(t, "docker", "image", "inspect", builder); err != nil {
		t.Skipf("THE DOCKERFILE'S COMPILER STAGE DID NOT RUN: there is no image %s on this machine; "+
			"name one with Go and a shell in LOCKCLUSTER_TEST_BUILDER_IMAGE", builder)
	}
	image := dockerBuild(t, "whole", "../..", "--file", "Dockerfile",
		"--build-arg", "BUILDER_IMAGE="+builder, "--build-arg", "VERSION=v0.0.0-test")
	if out := must(t, "docker", "run", "--rm", image, "version"); !strings.Contains(out, "v0.0.0-test") {
		t.Errorf("the image calls itself %q", out)
	}
}

// within bounds one request.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func setNow(t *testing.T, door *redis.Client, value string) error {
	t.Helper()
	return door.Set(within(t), lockKey, value, 0).Err()
}

// wantValue waits until the lock is read; whatever is read must be value.
func wantValue(t *testing.T, door *redis.Client, value string) {
	t.Helper()
	testutil.WaitFor(t, failoverTimeout, func() error {
		got, err := door.Get(within(t), lockKey).Result()
		switch {
		case errors.Is(err, redis.Nil):
			t.Fatalf("the lock is gone at %s", door.Options().Addr)
		case err != nil:
			return fmt.Errorf("get at %s: %w", door.Options().Addr, err)
		case got != value:
			t.Fatalf("the lock changed at %s: got %s", door.Options().Addr, got)
		}
		return nil
	})
}

// wantRefused waits for an answer to another pull's attempt, which must be that
// the lock is held.
func wantRefused(t *testing.T, door *redis.Client, value string) {
	t.Helper()
	testutil.WaitFor(t, failoverTimeout, func() error {
		err := setNow(t, door, value)
		switch {
		case err == nil:
			t.Fatalf("the lock was granted twice at %s", door.Options().Addr)
		case !strings.HasPrefix(err.Error(), "LOCKED "):
			return fmt.Errorf("set at %s: %w", door.Options().Addr, err)
		}
		return nil
	})
}
