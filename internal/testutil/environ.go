package testutil

import (
	"os"
	"strings"
)

// Environ returns the environment for a lockcluster process that a test
// starts: without LOCKCLUSTER_* variables, which set tests up here but are
// settings there, and unknown ones are refused.
func Environ() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "LOCKCLUSTER_") {
			env = append(env, v)
		}
	}
	return env
}
