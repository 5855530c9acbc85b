package rpc_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/rpc"
)

// tlsConfigs returns a server's and a client's configuration for 127.0.0.1.
func tlsConfigs(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	server = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	return server, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// Clients and peers talk TLS to a server that wants it; who does not, or does
// not trust its certificate, gets nowhere.
func TestTLS(t *testing.T) {
	server, client := tlsConfigs(t)
	s := newSystem(t, 1, func(c *rpc.Config, _ *rpc.System) { c.TLS = server })
	c := dial(t, rpc.ClientConfig{Endpoints: s.endpoints(), TLS: client})
	res, err := c.Do(t.Context(), lockcluster.RequestID{}, lockcluster.Acquire{Key: lockKey(1), Owner: pullOwner(1)})
	if err != nil || res.Status != lockcluster.StatusGranted {
		t.Fatalf("%+v, %v", res, err)
	}
	peers := rpc.NewPeers(client)
	defer peers.Close()
	if _, err := peers.NodeStatus(t.Context(), s.endpoints()[0]); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]*tls.Config{"no TLS": nil, "another authority": {MinVersion: tls.VersionTLS12}} {
		c := dial(t, rpc.ClientConfig{Endpoints: s.endpoints(), TLS: bad, Timeout: 300 * time.Millisecond})
		if _, err := c.Do(t.Context(), lockcluster.RequestID{}, lockcluster.Acquire{Key: lockKey(2), Owner: pullOwner(1)}); err == nil {
			t.Errorf("%s: got an answer", name)
		}
	}
}
