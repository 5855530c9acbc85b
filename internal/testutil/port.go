package testutil

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
)

// Ports are taken from below Linux's ephemeral range (32768 and up): a node
// that is killed and restarted must find its port free again, and no outgoing
// connection of anybody may have picked it in the meantime.
//
// Every test process owns one block at a time, by holding a listener on the
// block's first port until it exits, so that packages tested side by side
// never hand out the same port.
const (
	portFirst = 20000
	portLast  = 32000
	blockSize = 50
)

var ports struct {
	sync.Mutex
	guards []net.Listener // one for each owned block; held until the process exits
	next   int            // next port to hand out
	end    int            // first port behind the current block
}

// FreePort returns a TCP port on which nothing listens and that no other test
// will be given.
func FreePort(tb testing.TB) int {
	tb.Helper()
	return FreePorts(tb, 1)[0]
}

// FreeAddr returns "127.0.0.1:port" with a port of [FreePort].
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(FreePort(tb)))
}

// FreePorts returns n different ports as [FreePort] does.
func FreePorts(tb testing.TB, n int) []int {
	tb.Helper()
	ports.Lock()
	defer ports.Unlock()
	out := make([]int, 0, n)
	for len(out) < n {
		if ports.next >= ports.end {
			if err := claimBlock(); err != nil {
				tb.Fatalf("find free ports: %v", err)
			}
		}
		port := ports.next
		ports.next++
		if l, err := listen(port); err == nil {
			_ = l.Close()
			out = append(out, port)
		}
	}
	return out
}

// claimBlock takes a block that no process owns, beginning at a random one.
// The caller holds the lock.
func claimBlock() error {
	const blocks = (portLast - portFirst) / blockSize
	start := rand.IntN(blocks)
	for i := range blocks {
		first := portFirst + (start+i)%blocks*blockSize
		l, err := listen(first)
		if err != nil {
			continue
		}
		ports.guards = append(ports.guards, l)
		ports.next, ports.end = first+1, first+blockSize
		return nil
	}
	return fmt.Errorf("process %d found every block of ports from %d to %d in use", os.Getpid(), portFirst, portLast)
}

// listen binds all addresses, so a port in use on any of them is noticed.
func listen(port int) (net.Listener, error) {
	return net.Listen("tcp", ":"+strconv.Itoa(port))
}
