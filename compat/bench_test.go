package compat

import "testing"

// How long the Redis door spends on reading one lock value.
func BenchmarkParseLock(b *testing.B) {
	raw := []byte(presentValue)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseLock(raw); err != nil {
			b.Fatal(err)
		}
	}
}

// How long an API answer's value takes to be made fit to show.
func BenchmarkSanitizeValue(b *testing.B) {
	raw := []byte(presentValue)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		SanitizeValue(raw)
	}
}
