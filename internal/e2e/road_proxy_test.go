package e2e

import (
	"bytes"
	"net"
	"sync"
	"testing"

	"github.com/lockcluster/lockcluster/internal/testutil"
)

// holdingProxy stands between a node and a Redis. On demand it keeps back the
// scripts that the node sends, as a slow network would.
type holdingProxy struct {
	addr, to string
	listener net.Listener

	mu      sync.Mutex // guards what follows
	holding chan struct{}
	held    int // scripts kept back
	fenced  int // answers that refuse a fence
	conns   []net.Conn
}

func startProxy(t testing.TB, to string) *holdingProxy {
	t.Helper()
	p := &holdingProxy{addr: testutil.FreeAddr(t), to: to}
	var err error
	if p.listener, err = net.Listen("tcp", p.addr); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := p.listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = p.listener.Close()
		p.release()
		p.mu.Lock()
		for _, c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		wg.Wait()
	})
	return p
}

func (p *holdingProxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	p.conns = append(p.conns, client, server)
	p.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		pipe(server, client, p.sees)
		_ = client.Close()
	}()
	pipe(client, server, p.keeps)
	_ = server.Close()
	<-done
}

// pipe copies from one to the other, showing what passes to look first.
func pipe(from, to net.Conn, look func([]byte)) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		look(buf[:n])
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// keeps blocks a script while the proxy is holding.
func (p *holdingProxy) keeps(b []byte) {
	p.mu.Lock()
	holding := p.holding
	if holding != nil && bytes.Contains(bytes.ToLower(b), []byte("evalsha")) {
		p.held++
	} else {
		holding = nil
	}
	p.mu.Unlock()
	if holding != nil {
		<-holding
	}
}

func (p *holdingProxy) sees(b []byte) {
	if n := bytes.Count(b, []byte("FENCED")); n > 0 {
		p.mu.Lock()
		p.fenced += n
		p.mu.Unlock()
	}
}

func (p *holdingProxy) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.holding, p.held = make(chan struct{}), 0
}

func (p *holdingProxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holding != nil {
		close(p.holding)
		p.holding = nil
	}
}

func (p *holdingProxy) counts() (held, fenced int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held, p.fenced
}
