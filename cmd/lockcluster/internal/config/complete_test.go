package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// valid is a node that may start.
func valid() Server {
	return Server{
		NodeID: "n1", DataDir: "/d", LogFormat: "json", LogLevel: "info",
		RaftAddr: "127.0.0.1:1", GRPCAddr: "127.0.0.1:2", HTTPAddr: "127.0.0.1:3", RESPAddr: "localhost:4",
	}
}

// What is listened on is what others are told; a wildcard takes the host from
// the initial cluster or from the raft address.
func TestAdvertise(t *testing.T) {
	s := valid()
	if err := s.Complete(); err != nil || s.RaftAdvertise != "127.0.0.1:1" || s.RESPAdvertise != "localhost:4" {
		t.Errorf("got %+v, %v", s, err)
	}
	s = valid()
	s.Insecure = true
	s.RaftAddr, s.GRPCAddr, s.HTTPAddr = "0.0.0.0:1", ":2", "[::]:3"
	s.HTTPAdvertise = "web:80"
	s.InitialCluster = "n0=a:1, n1=me.example:9"
	err := s.Complete()
	if err != nil || s.RaftAdvertise != "me.example:9" || s.GRPCAdvertise != "me.example:2" || s.HTTPAdvertise != "web:80" {
		t.Errorf("got %+v, %v", s, err)
	}
}

// A listener that other machines reach is refused unless --insecure says so:
// every address, each way to write it.
func TestInsecureListenerRefused(t *testing.T) {
	set := map[string]func(*Server, string){
		"--raft-addr": func(s *Server, a string) { s.RaftAddr = a },
		"--grpc-addr": func(s *Server, a string) { s.GRPCAddr = a },
		"--http-addr": func(s *Server, a string) { s.HTTPAddr = a },
		"--resp-addr": func(s *Server, a string) { s.RESPAddr = a },
	}
	for flag, set := range set {
		for _, addr := range []string{"0.0.0.0:9", ":9", "[::]:9", "192.0.2.1:9", "name.invalid:9"} {
			s := valid()
			set(&s, addr)
			if err := s.Complete(); err == nil || !strings.Contains(err.Error(), flag) || !strings.Contains(err.Error(), "--insecure") {
				t.Errorf("%s %s: got %v", flag, addr, err)
			}
		}
		for _, addr := range []string{"127.0.0.1:9", "127.8.8.8:9", "[::1]:9", "localhost:9"} {
			s := valid()
			set(&s, addr)
			if err := s.Complete(); err != nil {
				t.Errorf("%s %s: %v", flag, addr, err)
			}
		}
	}
}

// Each setting that cannot work is refused with the flag to change.
func TestCompleteRefuses(t *testing.T) {
	for want, spoil := range map[string]func(*Server){
		"--node-id":            func(s *Server) { s.NodeID = "" },
		"--data-dir":           func(s *Server) { s.DataDir = "" },
		"--raft-addr":          func(s *Server) { s.RaftAddr = "7000" },
		"--http-addr":          func(s *Server) { s.HTTPAddr = "127.0.0.1:2" },
		"--log-format":         func(s *Server) { s.LogFormat = "xml" },
		"--log-level":          func(s *Server) { s.LogLevel = "loud" },
		"--resp-password-file": func(s *Server) { s.RESPUsername = "atlantis" },
		"--raft-advertise":     func(s *Server) { s.RaftAddr, s.Insecure = ":1", true },
		"--grpc-advertise":     func(s *Server) { s.GRPCAdvertise = "0.0.0.0:1" },
	} {
		s := valid()
		spoil(&s)
		if err := s.Complete(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error about %s, got %v", want, err)
		}
	}
}

// The password is the file's text without one line break at its end; an empty
// file is refused rather than taken for "no password".
func TestRESPPassword(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	for text, want := range map[string]string{"a b\n": "a b", "x\r\n": "x", "y\n\n": "y\n", "z": "z"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s := Server{RESPPasswordFile: path}
		if got, err := s.RESPPassword(); err != nil || got != want {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
	if err := os.WriteFile(path, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := Server{RESPPasswordFile: path}
	if _, err := s.RESPPassword(); err == nil {
		t.Error("an empty password was accepted")
	}
}
