package resp

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/lockcluster/lockcluster/compat/resp/script"
)

// benchmarkPipeline sends a text of n commands and reads its answers, of size
// bytes, over a system that costs next to nothing: what is left is the door.
func benchmarkPipeline(b *testing.B, n int, commands string, size int) {
	b.Helper()
	w := dialWire(b, mustOpen(b, newSystem(b)).Addr().String())
	key, value := testLock("acme/app", "d", 1)
	w.do("set", key, value)
	buf := make([]byte, size)
	b.ReportAllocs()
	for b.Loop() {
		w.raw(commands)
		if _, err := io.ReadFull(w.r, buf); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/command")
}

func frame(args ...string) string {
	s := fmt.Sprintf("*%d\r\n", len(args))
	for _, a := range args {
		s += fmt.Sprintf("$%d\r\n%s\r\n", len(a), a)
	}
	return s
}

const pipelined = 100

func BenchmarkPing(b *testing.B) {
	benchmarkPipeline(b, pipelined, strings.Repeat(frame("ping"), pipelined), pipelined*len("+PONG\r\n"))
}

func BenchmarkGetLock(b *testing.B) {
	key, value := testLock("acme/app", "d", 1)
	benchmarkPipeline(b, pipelined, strings.Repeat(frame("get", key), pipelined), pipelined*(len(value)+len("$000\r\n\r\n")))
}

func BenchmarkSetDelLock(b *testing.B) {
	key, value := testLock("acme/app", "e", 1)
	pair := frame("set", key, value) + frame("del", key)
	benchmarkPipeline(b, 2*pipelined, strings.Repeat(pair, pipelined), pipelined*len("+OK\r\n:1\r\n"))
}

func BenchmarkEval(b *testing.B) {
	key, _ := testLock("acme/app", "d", 1)
	eval := frame("eval", unlockIfOwnedByPull, "1", key, "99")
	benchmarkPipeline(b, pipelined, strings.Repeat(eval, pipelined), pipelined*len("$-1\r\n"))
}

func BenchmarkScript(b *testing.B) {
	s, err := script.Compile(`return ARGV[1]`)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Run(b.Context(), nil, nil, [][]byte{[]byte("x")})
	}
}
