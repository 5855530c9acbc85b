package migration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster/internal/testutil"
)

// selfSigned writes a certificate for 127.0.0.1 and its key.
func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &priv.PublicKey, priv)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := errors.Join(
		writePrivate(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		writePrivate(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})),
	); err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// Over TLS a certificate that nobody vouches for is refused, unless it was said
// that it may be anyone's.
func TestImportRedisTLS(t *testing.T) {
	cert, key := selfSigned(t)
	secure := testutil.FreePort(t)
	plain := startRedis(t, "--tls-port", strconv.Itoa(secure), "--tls-cert-file", cert, "--tls-key-file", key, "--tls-auth-clients", "no")
	c := redis.NewClient(&redis.Options{Addr: redisAddr(plain)})
	defer c.Close()
	if err := c.Set(t.Context(), "pr/acme/app/x/default/", lockValue("acme/app", "x", 1, noon, ""), 0).Err(); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{"": "certificate", "?insecure-skip-verify=true": ""} {
		u, err := ParseRedisURL("rediss://" + redisAddr(secure) + query)
		if err != nil {
			t.Fatal(err)
		}
		r, err := ImportRedis(t.Context(), newCluster(), RedisImport{URL: u})
		switch {
		case want == "" && (err != nil || r.Imported != 1):
			t.Errorf("%s: %+v, %v", query, r, err)
		case want != "" && (r != nil || !errors.Is(err, ErrRedis) || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %+v, %v; want %s", query, r, err, want)
		}
	}
}
