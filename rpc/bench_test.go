package rpc_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/rpc"
)

// cpuTime returns the processor time that this process has used, in
// microseconds: on a busy machine it says more than the clock.
func cpuTime(b *testing.B) float64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Sec+u.Stime.Sec)*1e6 + float64(u.Utime.Usec+u.Stime.Usec)
}

// BenchmarkUnary is what a call costs over both ends beside the log: each
// operation is one Acquire or Release of a 1 KB value.
func BenchmarkUnary(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s := newSystem(b, 1)
			s.quiet = true
			c := dial(b, rpc.ClientConfig{Endpoints: s.endpoints()})
			value := []byte(`{"a":"` + strings.Repeat("x", 1000) + `"}`)
			var next atomic.Int64
			b.ReportAllocs()
			b.ResetTimer()
			before := cpuTime(b)
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for n := next.Add(2); n <= int64(b.N)+1; n = next.Add(2) {
						key := lockKey(int(n))
						if _, err := c.Do(b.Context(), lockcluster.RequestID{}, lockcluster.Acquire{Key: key, Owner: pullOwner(1), Value: value}); err != nil {
							b.Error(err)
							return
						}
						if _, err := c.Do(b.Context(), lockcluster.RequestID{}, lockcluster.Release{Namespace: "default", Text: key.Text()}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric((cpuTime(b)-before)/float64(b.N), "cpu-us/op")
		})
	}
}

// BenchmarkList10k lists 10,000 locks of 1 KB.
func BenchmarkList10k(b *testing.B) {
	for _, values := range []bool{false, true} {
		b.Run(fmt.Sprintf("values=%v", values), func(b *testing.B) {
			s := newSystem(b, 1)
			value := []byte(`{"Pull":{"Num":1,"Body":"` + strings.Repeat("x", 700) + `","BaseRepo":{"CloneURL":"https://bot:s3cret@github.com/acme/app.git"}},"User":{"Username":"ann"}}`)
			for i := range 10_000 {
				s.decide(lockcluster.RequestID{}, lockcluster.Acquire{Key: lockKey(i), Owner: pullOwner(1 + i%10), Value: value})
			}
			c := dial(b, rpc.ClientConfig{Endpoints: s.endpoints(), WithValues: values})
			b.ReportAllocs()
			b.ResetTimer()
			before := cpuTime(b)
			for range b.N {
				if locks, _, err := c.CollectLocks(b.Context(), rpc.LockFilter{}); err != nil || len(locks) != 10_000 {
					b.Fatal(len(locks), err)
				}
			}
			b.ReportMetric((cpuTime(b)-before)/float64(b.N), "cpu-us/op")
		})
	}
}
