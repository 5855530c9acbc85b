package backends

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster"
)

// redisAddress is what the URL of a redis says. It holds a password: it goes
// into no error.
type redisAddress struct {
	user, password string
	hosts          []string
	database       int
	master         string // of a Sentinel set
	cluster        bool
	tls            bool
}

const redisPortDefault = "6379"

var redisSchemes = map[string]redisAddress{
	"redis":           {},
	"rediss":          {tls: true},
	"redis+cluster":   {cluster: true},
	"rediss+cluster":  {cluster: true, tls: true},
	"redis+sentinel":  {master: "?"},
	"rediss+sentinel": {master: "?", tls: true},
}

func badURL(format string, args ...any) error {
	return fmt.Errorf("%w: the URL of the legacy redis: "+format, append([]any{lockcluster.ErrInvalid}, args...)...)
}

// parseRedisURL reads a URL as [Options] describes it. It takes it apart by
// itself: package url allows one host only, and quotes passwords in its errors.
func parseRedisURL(raw string) (redisAddress, error) {
	scheme, rest, _ := strings.Cut(raw, "://")
	a, ok := redisSchemes[scheme]
	if !ok {
		return a, badURL("it begins with redis://, rediss://, redis+cluster:// or redis+sentinel://")
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		if err := a.setUser(authority[:i]); err != nil {
			return a, err
		}
		authority = authority[i+1:]
	}
	if err := a.addHosts(authority); err != nil {
		return a, err
	}
	if err := a.setQuery(query); err != nil {
		return a, err
	}
	if err := a.setPath(path); err != nil {
		return a, err
	}
	switch {
	case len(a.hosts) == 0:
		return a, badURL("it names no host")
	case len(a.hosts) > 1 && !a.cluster && a.master == "":
		return a, badURL("several hosts need redis+cluster:// or redis+sentinel://")
	}
	return a, nil
}

func (a *redisAddress) setUser(s string) error {
	user, password, has := strings.Cut(s, ":")
	var errs [2]error
	a.user, errs[0] = url.PathUnescape(user)
	a.password, errs[1] = url.PathUnescape(password)
	if errs[0] != nil || errs[1] != nil {
		return badURL("the user or the password has a bad %% escape")
	}
	if !has { // redis://password@host is an old habit
		return badURL("credentials are user:password, or :password")
	}
	return nil
}

func (a *redisAddress) addHosts(list string) error {
	for h := range strings.SplitSeq(list, ",") {
		if h == "" {
			continue
		}
		if _, port, err := net.SplitHostPort(h); err != nil {
			h = net.JoinHostPort(strings.Trim(h, "[]"), redisPortDefault)
		} else if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return badURL("a host's port is no number from 1 to 65535")
		}
		a.hosts = append(a.hosts, h)
	}
	return nil
}

func (a *redisAddress) setQuery(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return badURL("its query cannot be read")
	}
	for name, all := range values {
		switch name {
		case "cluster":
			if a.cluster, err = strconv.ParseBool(all[0]); err != nil {
				return badURL("cluster is true or false")
			}
		case "addr":
			for _, list := range all {
				if err := a.addHosts(list); err != nil {
					return err
				}
			}
		default:
			return badURL("unknown parameter %q: the known ones are cluster and addr", name)
		}
	}
	return nil
}

// setPath reads "[master/]database".
func (a *redisAddress) setPath(path string) error {
	path = strings.TrimSuffix(path, "/")
	if a.master != "" {
		master, rest, _ := strings.Cut(path, "/")
		name, err := url.PathUnescape(master)
		if err != nil || name == "" {
			return badURL("a Sentinel set needs the master's name: redis+sentinel://host:port/name")
		}
		a.master, path = name, rest
	}
	if path == "" {
		return nil
	}
	n, err := strconv.Atoi(path)
	switch {
	case err != nil || n < 0:
		return badURL("the database is a number")
	case a.cluster && n != 0:
		return badURL("a Redis Cluster has database 0 only")
	}
	a.database = n
	return nil
}

// redisRetries is how often the client repeats a command by itself; scripts
// are numbered, so that a repeated one does nothing.
const redisRetries = 2

// client connects to nothing yet.
func (a *redisAddress) client(o Options) redis.UniversalClient {
	u := &redis.UniversalOptions{
		Addrs: a.hosts, DB: a.database, Username: a.user, Password: a.password, MasterName: a.master, IsClusterMode: a.cluster,
		ClientName: "lockcluster", MaxRetries: redisRetries,
		DialTimeout: min(o.Timeout, 2*time.Second), ReadTimeout: o.Timeout, WriteTimeout: o.Timeout, ContextTimeoutEnabled: true,
		PoolSize: 8,
	}
	if a.tls {
		u.TLSConfig = o.TLS
		if u.TLSConfig == nil {
			u.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
	}
	return redis.NewUniversalClient(u)
}
