package backends_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
)

// BenchmarkDo is acquire and release by 64 clients, each with keys of its own,
// beside 10,000 locks that are there.
func BenchmarkDo(b *testing.B) {
	for _, kind := range []string{"boltdb", "redis"} {
		b.Run(kind, func(b *testing.B) {
			o := boltOptions(b)
			if kind == "redis" {
				o = backends.Options{Backend: "redis", URL: "redis://" + plain(b).addr}
			}
			sys := mustOpen(b, o)
			f := backends.Fence{Term: 1}
			imp := lockcluster.Import{Namespace: lockcluster.DefaultNamespace}
			for i := range 10_000 {
				imp.Locks = append(imp.Locks, acquirePull(lockKey(fmt.Sprintf("there%d", i)), i+1))
			}
			if _, err := sys.Do(b.Context(), f, time.Now(), imp); err != nil {
				b.Fatal(err)
			}
			var client atomic.Int64
			b.SetParallelism(32)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				n := int(client.Add(1))
				k := lockKey(fmt.Sprintf("bench%d", n))
				for pb.Next() {
					if _, err := sys.Do(b.Context(), f, time.Now(), acquirePull(k, n)); err != nil {
						b.Error(err)
					}
					if _, err := sys.Do(b.Context(), f, time.Now(), lockcluster.Release{Namespace: k.Namespace, Text: k.Text()}); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkView is a picture of 10,000 locks.
func BenchmarkView(b *testing.B) {
	o := backends.Options{Backend: "redis", URL: "redis://" + plain(b).addr}
	sys := mustOpen(b, o)
	imp := lockcluster.Import{Namespace: lockcluster.DefaultNamespace}
	for i := range 10_000 {
		imp.Locks = append(imp.Locks, acquirePull(lockKey(fmt.Sprintf("there%d", i)), i+1))
	}
	if _, err := sys.Do(b.Context(), backends.Fence{Term: 1}, time.Now(), imp); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := sys.View(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
