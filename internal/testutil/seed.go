package testutil

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// SeedEnv is the environment variable that fixes the seed of random tests.
const SeedEnv = "LOCKCLUSTER_SEED"

// Seed returns the seed for a random test: a fresh one, or the one in
// LOCKCLUSTER_SEED. It is logged with the command that repeats the run, and
// again when the test fails.
func Seed(tb testing.TB) int64 {
	tb.Helper()
	seed, err := seedFrom(os.Getenv(SeedEnv))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Logf("seed %d; repeat with: %s", seed, repeatCommand(tb.Name(), seed))
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("failed with seed %d; repeat with: %s", seed, repeatCommand(tb.Name(), seed))
		}
	})
	return seed
}

// Rand returns a random source that begins at [Seed].
func Rand(tb testing.TB) *rand.Rand {
	tb.Helper()
	return rand.New(rand.NewPCG(uint64(Seed(tb)), 0))
}

// seedFrom reads the environment's value; without one it draws a seed.
func seedFrom(env string) (int64, error) {
	if env == "" {
		return rand.Int64(), nil
	}
	seed, err := strconv.ParseInt(env, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s=%q is not a whole number", SeedEnv, env)
	}
	return seed, nil
}

// repeatCommand is what to type at the module's root to run test again.
func repeatCommand(test string, seed int64) string {
	parts := strings.Split(test, "/")
	for i, p := range parts {
		parts[i] = "^" + p + "$"
	}
	return fmt.Sprintf("%s=%d go test -tags hashicorpmetrics -count=1 -run '%s' %s",
		SeedEnv, seed, strings.Join(parts, "/"), packageDir())
}

// packageDir is the tested package relative to the module's root: a test runs
// in its package's folder.
func packageDir() string {
	wd, err := os.Getwd()
	if err != nil {
		return "."
	}
	for root := wd; ; root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			rel, err := filepath.Rel(root, wd)
			if err != nil {
				return "."
			}
			return "./" + filepath.ToSlash(rel)
		}
		if root == filepath.Dir(root) {
			return "."
		}
	}
}
