package migration

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/lockcluster/lockcluster"
)

// The kinds of Redis in a URL's scheme; "rediss" in place of "redis" is TLS.
const (
	redisSingle   = "redis"
	redisCluster  = "redis+cluster"
	redisSentinel = "redis+sentinel"
)

const (
	redisPort    = "6379"
	sentinelPort = "26379"
)

// RedisURL says where a Redis is:
//
//	redis://[user[:password]@]host[:port][/db]
//	redis+cluster://[user[:password]@]host[:port][,host[:port]...]
//	redis+sentinel://[user[:password]@]host[:port][,...]/master[/db]
//
// "rediss" in place of "redis" is TLS; ?insecure-skip-verify=true trusts any
// certificate; ?sentinel-user and ?sentinel-password are for the Sentinels.
//
// Its text form has no credentials.
type RedisURL struct {
	kind   string
	tls    bool
	addrs  []string
	master string // Sentinel's name of it
	db     int

	skipVerify                     bool
	user, password                 string
	sentinelUser, sentinelPassword string
}

// IsRedisURL reports whether s has the scheme of one.
func IsRedisURL(s string) bool {
	scheme, _, ok := strings.Cut(s, "://")
	_, _, known := redisKind(scheme)
	return ok && known
}

func redisKind(scheme string) (kind string, withTLS, ok bool) {
	rest, withTLS := strings.CutPrefix(scheme, "rediss")
	if withTLS {
		scheme = "redis" + rest
	}
	switch scheme {
	case redisSingle, redisCluster, redisSentinel:
		return scheme, withTLS, true
	}
	return "", false, false
}

// ParseRedisURL reads a URL. Its errors quote no part of it that may be a
// secret.
func ParseRedisURL(text string) (*RedisURL, error) {
	refuse := func(format string, args ...any) (*RedisURL, error) {
		return nil, fmt.Errorf("%w: the URL of a Redis: "+format, append([]any{lockcluster.ErrInvalid}, args...)...)
	}
	scheme, rest, _ := strings.Cut(text, "://")
	u := &RedisURL{}
	var ok bool
	if u.kind, u.tls, ok = redisKind(scheme); !ok {
		return refuse("it begins with redis://, redis+cluster:// or redis+sentinel:// (rediss for TLS)")
	}
	rest, query, _ := strings.Cut(rest, "?")
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		user, password, _ := strings.Cut(rest[:at], ":")
		var errs [2]error
		u.user, errs[0] = url.PathUnescape(user)
		u.password, errs[1] = url.PathUnescape(password)
		if errs[0] != nil || errs[1] != nil {
			return refuse("the user name or password has a %% that does not begin an escape; write %%25")
		}
		rest = rest[at+1:]
	}
	hosts, path, _ := strings.Cut(rest, "/")
	if err := u.setHosts(hosts); err != nil {
		return refuse("%w", err)
	}
	if err := u.setPath(path); err != nil {
		return refuse("%w", err)
	}
	if err := u.setQuery(query); err != nil {
		return refuse("%w", err)
	}
	return u, nil
}

func (u *RedisURL) setHosts(hosts string) error {
	port := redisPort
	if u.kind == redisSentinel {
		port = sentinelPort
	}
	for h := range strings.SplitSeq(hosts, ",") {
		host, p, err := net.SplitHostPort(h)
		if err != nil {
			host, p = strings.Trim(h, "[]"), port
		}
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 || host == "" || strings.ContainsAny(host, " \t") {
			return fmt.Errorf("want host or host:port after the @ or //")
		}
		u.addrs = append(u.addrs, net.JoinHostPort(host, p))
	}
	if u.kind == redisSingle && len(u.addrs) > 1 {
		return fmt.Errorf("several hosts are for redis+cluster:// and redis+sentinel://")
	}
	return nil
}

func (u *RedisURL) setPath(path string) error {
	path = strings.Trim(path, "/")
	if u.kind == redisSentinel {
		u.master, path, _ = strings.Cut(path, "/")
		if u.master == "" {
			return fmt.Errorf("redis+sentinel:// names the master after the hosts: redis+sentinel://host:26379/mymaster")
		}
	}
	if path == "" {
		return nil
	}
	db, err := strconv.Atoi(path)
	if err != nil || db < 0 {
		return fmt.Errorf("the database behind the last slash is a number, for example /0")
	}
	if u.kind == redisCluster && db != 0 {
		return fmt.Errorf("a Redis Cluster has database 0 only")
	}
	u.db = db
	return nil
}

func (u *RedisURL) setQuery(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return fmt.Errorf("what follows the ? cannot be read")
	}
	for name, v := range values {
		switch name {
		case "insecure-skip-verify":
			if u.skipVerify, err = strconv.ParseBool(v[0]); err != nil {
				return fmt.Errorf("insecure-skip-verify is true or false")
			}
		case "sentinel-user":
			u.sentinelUser = v[0]
		case "sentinel-password":
			u.sentinelPassword = v[0]
		default:
			return fmt.Errorf("known after the ? are insecure-skip-verify, sentinel-user and sentinel-password")
		}
	}
	return nil
}

// String returns the URL without credentials.
func (u *RedisURL) String() string {
	scheme := u.kind
	if u.tls {
		scheme = strings.Replace(scheme, "redis", "rediss", 1)
	}
	s := scheme + "://" + strings.Join(u.addrs, ",")
	if u.master != "" {
		s += "/" + u.master
	}
	if u.kind != redisCluster {
		s += "/" + strconv.Itoa(u.db)
	}
	return s
}

// GoString keeps %#v from showing the password.
func (u *RedisURL) GoString() string { return u.String() }

// open makes a client that says nothing of itself to the server: it sends what
// it is told to, and HELLO, AUTH and SELECT.
func (u *RedisURL) open() redis.UniversalClient {
	var conf *tls.Config
	if u.tls {
		conf = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: u.skipVerify} //nolint:gosec // the user asks for it
	}
	quiet := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	switch u.kind {
	case redisCluster:
		return redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: u.addrs, Username: u.user, Password: u.password, TLSConfig: conf, DisableIdentity: true, MaintNotificationsConfig: quiet,
		})
	case redisSentinel:
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: u.master, SentinelAddrs: u.addrs, SentinelUsername: u.sentinelUser, SentinelPassword: u.sentinelPassword,
			Username: u.user, Password: u.password, DB: u.db, TLSConfig: conf, DisableIdentity: true,
		})
	default:
		return redis.NewClient(&redis.Options{
			Addr: u.addrs[0], Username: u.user, Password: u.password, DB: u.db, TLSConfig: conf, DisableIdentity: true,
			MaintNotificationsConfig: quiet,
		})
	}
}
