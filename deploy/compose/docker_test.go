package compose

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster/internal/testutil"
)

// Time limits on one command each.
const (
	buildTimeout   = 10 * time.Minute
	commandTimeout = 2 * time.Minute
)

// needDockerEnv turns "no Docker here" from a skip into a failure.
const needDockerEnv = "LOCKCLUSTER_NEED_DOCKER"

// notRun says loudly that the test did not run, and why.
func notRun(t *testing.T, why string) {
	t.Helper()
	text := fmt.Sprintf("THE COMPOSE TEST DID NOT RUN: %s. The Dockerfile and the Compose file are untested here.", why)
	if os.Getenv(needDockerEnv) != "" {
		t.Fatal(text)
	}
	fmt.Fprintln(os.Stderr, text)
	t.Skip(text)
}

// composeCommand returns how Compose is called here.
func composeCommand(t *testing.T) []string {
	t.Helper()
	if _, err := exec.LookPath("docker"); err != nil {
		notRun(t, "there is no docker command")
	}
	if out, err := try(t, "docker", "version", "--format", "{{.Server.Version}}"); err != nil {
		notRun(t, "no Docker engine answers: "+strings.TrimSpace(out))
	}
	if _, err := try(t, "docker", "compose", "version"); err == nil {
		return []string{"docker", "compose"}
	}
	if _, err := try(t, "docker-compose", "version"); err == nil {
		return []string{"docker-compose"}
	}
	notRun(t, "a Docker engine answers, but there is no Compose (apt-get install docker-compose)")
	return nil
}

// try runs a command and returns its whole output.
func try(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	return runWithin(t.Context(), commandTimeout, nil, name, args...)
}

// must runs a command that has to succeed.
func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := try(t, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

func runWithin(ctx context.Context, limit time.Duration, env []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// buildImage compiles the binary and puts it on the Dockerfile's stage
// "node-base", which needs no registry. It returns the image's name.
func buildImage(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := runWithin(t.Context(), buildTimeout, []string{"CGO_ENABLED=0"}, "go", "build", "-trimpath", "-buildvcs=false",
		"-tags", "hashicorpmetrics", "-o", filepath.Join(folder, "lockcluster"), "../../cmd/lockcluster")
	if err != nil {
		t.Fatalf("build the binary: %v\n%s", err, out)
	}
	base := dockerBuild(t, "base", t.TempDir(), "--file", "Dockerfile", "--target", "node-base")
	return dockerBuild(t, "node", folder, "--file", "prebuilt.Dockerfile", "--build-arg", "NODE_BASE="+base)
}

// dockerBuild builds an image and removes it when the test ends. The builder is
// the one that Compose 1.29 uses: it works through stages that newer ones skip.
func dockerBuild(t *testing.T, name, folder string, args ...string) string {
	t.Helper()
	image := fmt.Sprintf("lockcluster-test-%s:%d", name, os.Getpid())
	args = append(append([]string{"build", "--tag", image}, args...), folder)
	out, err := runWithin(t.Context(), buildTimeout, []string{"DOCKER_BUILDKIT=0"}, "docker", args...)
	if err != nil {
		t.Fatalf("build image %s: %v\n%s", name, err, out)
	}
	t.Cleanup(func() {
		if out, err := runWithin(context.Background(), commandTimeout, nil, "docker", "rmi", "--force", image); err != nil {
			t.Logf("remove image %s: %v\n%s", name, err, out)
		}
	})
	return image
}

// project is one running Compose project.
type project struct {
	compose   []string
	env       []string
	redisPort map[string]int // by node
}

var nodes = []string{"n1", "n2", "n3"}

// start brings the three nodes up, under names and on ports of their own, and
// takes everything down when the test ends.
func start(t *testing.T, compose []string, image string) *project {
	t.Helper()
	p := &project{
		compose:   compose,
		redisPort: map[string]int{},
		env: []string{
			"COMPOSE_PROJECT_NAME=lockclustertest" + strconv.Itoa(os.Getpid()),
			"NODE_IMAGE=" + image,
		},
	}
	for _, n := range nodes {
		ports := testutil.FreePorts(t, 3)
		p.redisPort[n] = ports[0]
		for i, door := range []string{"REDIS", "GRPC", "HTTP"} {
			p.env = append(p.env, fmt.Sprintf("%s_%s_PORT=%d", strings.ToUpper(n), door, ports[i]))
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := p.run(context.Background(), "logs", "--no-color", "--tail", "60")
			t.Logf("what the nodes wrote:\n%s", out)
		}
		if out, err := p.run(context.Background(), "down", "--volumes", "--remove-orphans", "--timeout", "10"); err != nil {
			t.Errorf("take the nodes down: %v\n%s", err, out)
		}
	})
	if out, err := p.run(t.Context(), "up", "--detach", "--no-build"); err != nil {
		t.Fatalf("bring the nodes up: %v\n%s", err, out)
	}
	return p
}

func (p *project) run(ctx context.Context, args ...string) (string, error) {
	all := append(append(p.compose[1:len(p.compose):len(p.compose)], "--file", "docker-compose.yml"), args...)
	return runWithin(ctx, commandTimeout, p.env, p.compose[0], all...)
}

// container returns the id of a node's container.
func (p *project) container(t *testing.T, node string) string {
	t.Helper()
	out, err := p.run(t.Context(), "ps", "--quiet", node)
	// Compose may warn before the id, on the same stream.
	fields := strings.Fields(out)
	if err != nil || len(fields) == 0 {
		t.Fatalf("find the container of %s: %v\n%s", node, err, out)
	}
	return fields[len(fields)-1]
}

// waitHealthy waits until Docker itself calls the containers healthy.
func waitHealthy(t *testing.T, limit time.Duration, containers map[string]string) {
	t.Helper()
	testutil.WaitFor(t, limit, func() error {
		for node, id := range containers {
			out, err := try(t, "docker", "inspect", "--format",
				"{{.State.Status}} {{.State.Health.Status}}{{range .State.Health.Log}}\n  {{.Output}}{{end}}", id)
			if err != nil {
				return fmt.Errorf("inspect %s: %w\n%s", node, err, out)
			}
			if first, _, _ := strings.Cut(out, "\n"); strings.TrimSpace(first) != "running healthy" {
				return fmt.Errorf("%s is %s", node, out)
			}
		}
		return nil
	})
}
