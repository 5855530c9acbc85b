package config

import (
	"errors"
	"net/url"
	"strings"

	"github.com/lockcluster/lockcluster/compat/bridge"
)

// The kinds of legacy system, and the ways to attach a BoltDB file.
const (
	LegacyKindBoltDB = "boltdb"
	LegacyKindRedis  = "redis"

	AttachOwn    = "own"
	AttachFollow = "follow"
)

// LegacyKind returns the kind of the legacy system that this node was given,
// empty for none. A boltdb one may be at another node.
func (s *Server) LegacyKind() string {
	switch {
	case s.LegacyBoltDB != "":
		return LegacyKindBoltDB
	case s.LegacyRedis != "":
		return LegacyKindRedis
	}
	return ""
}

// Site is what the settings can be judged against before the node runs. A node
// without a legacy system does not know of one at another node.
func (s *Server) Site() bridge.Site {
	nodes := 0
	if s.InitialCluster != "" {
		nodes = strings.Count(s.InitialCluster, ",") + 1
	}
	kind := s.LegacyKind()
	return bridge.Site{Offline: kind == "", Nodes: nodes, Legacy: kind}
}

// checkLegacy checks where the legacy system is. No error repeats the URL: it may hold a password.
func (s *Server) checkLegacy() error {
	if s.LegacyAttach != "" {
		if err := oneOf("legacy-attach", s.LegacyAttach, AttachOwn, AttachFollow); err != nil {
			return err
		}
	}
	switch {
	case s.LegacyBoltDB != "" && s.LegacyRedis != "":
		return errors.New("--legacy-boltdb and --legacy-redis are both given: Atlantis has one store, give the one that it uses")
	case s.LegacyAttach != "" && s.LegacyBoltDB == "":
		return errors.New("--legacy-attach says how --legacy-boltdb is used: give that too, or leave it out")
	case s.LegacyBoltDB != "" && s.LegacyAttach == "":
		s.LegacyAttach = AttachOwn
	}
	if s.LegacyRedis != "" {
		if u, err := url.Parse(s.LegacyRedis); err != nil || !strings.HasPrefix(u.Scheme, LegacyKindRedis) || u.Host == "" {
			return errors.New("--legacy-redis is no URL of a Redis: want redis://HOST:PORT/DB, or rediss:// for TLS")
		}
	}
	return nil
}

// CheckFile reads a YAML file of a node as "config validate" does, without the
// environment and flags: everything that is wrong with it is in problems. With
// onlyLocks the values of the node's own settings are not judged. The error is
// for a file that could not be read at all.
func CheckFile(path string, onlyLocks bool) (settings bridge.Values, site bridge.Site, problems bridge.Problems, err error) {
	read, err := readFile(path)
	if err != nil {
		return nil, site, nil, err
	}
	var s Server
	for name, field := range map[string]*string{
		"legacy-boltdb": &s.LegacyBoltDB, "legacy-redis": &s.LegacyRedis, "legacy-attach": &s.LegacyAttach,
		"initial-cluster": &s.InitialCluster,
	} {
		*field, _ = read.node[name].(string)
	}
	site, problems = s.Site(), read.problems
	if !onlyLocks {
		if err := s.checkLegacy(); err != nil {
			problems = append(problems, &bridge.Problem{Place: bridge.Place{File: path, Line: 1}, Text: err.Error()})
		}
	}
	var wrong bridge.Problems
	if errors.As(bridge.Check(read.cluster, site), &wrong) {
		problems = append(problems, wrong...)
	}
	return read.cluster, site, problems, nil
}
