package config

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/lockcluster/lockcluster/compat/bridge"
)

// Complete fills the advertised addresses in and reports the first setting
// that cannot work, with what to change. It reads nothing but names from DNS.
//
// An address is advertised as it is listened on. Where that is a wildcard
// (0.0.0.0, ::, no host), the raft address comes from this node's entry in
// --initial-cluster, and the other doors take over its host.
func (s *Server) Complete() error {
	switch {
	case s.NodeID == "":
		return errors.New("node id is not set: give --node-id")
	case s.DataDir == "":
		return errors.New("data directory is not set: give --data-dir")
	case s.RESPUsername != "" && s.RESPPasswordFile == "":
		return errors.New("--resp-username needs --resp-password-file")
	}
	if err := oneOf("log-format", s.LogFormat, "json", "text"); err != nil {
		return err
	}
	if err := oneOf("log-level", s.LogLevel, "debug", "info", "warn", "error"); err != nil {
		return err
	}
	if err := s.checkListeners(); err != nil {
		return err
	}
	if err := s.checkLegacy(); err != nil {
		return err
	}
	if err := bridge.Check(s.Settings, s.Site()); err != nil {
		return err
	}
	return s.advertise()
}

func oneOf(name, value string, allowed ...string) error {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	last := len(allowed) - 1
	return fmt.Errorf("--%s %q: use %s or %s", name, value, strings.Join(allowed[:last], ", "), allowed[last])
}

// listener is one address of the node.
type listener struct {
	flag      string // of the address, without "-addr"
	addr      string
	advertise *string
}

func (s *Server) listeners() []listener {
	return []listener{
		{"raft", s.RaftAddr, &s.RaftAdvertise},
		{"grpc", s.GRPCAddr, &s.GRPCAdvertise},
		{"http", s.HTTPAddr, &s.HTTPAdvertise},
		{"resp", s.RESPAddr, &s.RESPAdvertise},
	}
}

// checkListeners refuses addresses that are none, and those that other
// machines reach unless that was asked for: there is nothing yet that would
// keep anybody out of Raft or gRPC.
func (s *Server) checkListeners() error {
	seen := map[string]string{}
	for _, l := range s.listeners() {
		host, port, err := net.SplitHostPort(l.addr)
		if err != nil || port == "" {
			return fmt.Errorf("--%s-addr %q: want host:port", l.flag, l.addr)
		}
		if n, err := strconv.Atoi(port); err == nil && (n < 0 || n > math.MaxUint16) {
			return fmt.Errorf("--%s-addr %q: a port is at most %d", l.flag, l.addr, math.MaxUint16)
		}
		if other, twice := seen[l.addr]; twice && port != "0" {
			return fmt.Errorf("--%s-addr and --%s-addr are both %s: give each its own port", other, l.flag, l.addr)
		}
		seen[l.addr] = l.flag
		if !s.Insecure && !isLoopback(host) {
			return fmt.Errorf("--%s-addr %s can be reached from other machines, without TLS and authentication: "+
				"listen on 127.0.0.1, or accept that everyone who reaches it can read and release every lock with --insecure", l.flag, l.addr)
		}
	}
	return nil
}

// isLoopback reports whether host names this machine's loopback and nothing
// else.
func isLoopback(host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	if host == "" {
		return false
	}
	ips, err := net.LookupIP(host)
	if err != nil || len(ips) == 0 {
		return false
	}
	for _, ip := range ips {
		if !ip.IsLoopback() {
			return false
		}
	}
	return true
}

func (s *Server) advertise() error {
	host := ""
	for _, l := range s.listeners() {
		bindHost, port, err := net.SplitHostPort(l.addr)
		if err != nil {
			return fmt.Errorf("--%s-addr %q: %w", l.flag, l.addr, err)
		}
		switch {
		case *l.advertise != "":
		case !isWildcard(bindHost):
			*l.advertise = l.addr
		case l.flag == "raft":
			*l.advertise = memberAddr(s.InitialCluster, s.NodeID)
		case host != "":
			*l.advertise = net.JoinHostPort(host, port)
		}
		advertised, _, err := net.SplitHostPort(*l.advertise)
		if err != nil || isWildcard(advertised) {
			return fmt.Errorf("--%s-addr %s listens on every address, so others must be told one: give --%[1]s-advertise host:port", l.flag, l.addr)
		}
		if l.flag == "raft" {
			host = advertised
		}
	}
	return nil
}

func isWildcard(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// memberAddr returns the address of node id in "n1=host:port,n2=host:port".
func memberAddr(list, id string) string {
	for part := range strings.SplitSeq(list, ",") {
		if name, addr, ok := strings.Cut(strings.TrimSpace(part), "="); ok && name == id {
			return addr
		}
	}
	return ""
}

// passwordSizeMax bounds the password that Redis clients give.
const passwordSizeMax = 4 << 10

// RESPPassword reads the password file; empty without one. One line break at
// the end does not belong to the password.
func (s *Server) RESPPassword() (string, error) {
	if s.RESPPasswordFile == "" {
		return "", nil
	}
	b, err := os.ReadFile(filepath.Clean(s.RESPPasswordFile))
	if err != nil {
		return "", fmt.Errorf("read --resp-password-file: %w", err)
	}
	b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	switch {
	case len(b) == 0:
		return "", fmt.Errorf("--resp-password-file %s is empty", s.RESPPasswordFile)
	case len(b) > passwordSizeMax:
		return "", fmt.Errorf("--resp-password-file %s is longer than %d bytes", s.RESPPasswordFile, passwordSizeMax)
	}
	return string(b), nil
}
