//go:build !linux

package backends_test

import "testing"

func makeReadOnly(t *testing.T, _ string) {
	t.Helper()
	t.Skip("SKIPPED: needs Linux's /proc")
}
