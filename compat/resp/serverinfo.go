package resp

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// cmdCommand answers COMMAND [COUNT|INFO|DOCS|LIST|GETKEYS].
func cmdCommand(c *conn, args [][]byte) reply {
	if len(args) == 1 {
		return c.commandInfo(nil)
	}
	switch sub := asciiLower(args[1]); {
	case sub == "count" && len(args) == 2:
		return integer(int64(len(c.s.table)))
	case sub == "info":
		return c.commandInfo(args[2:])
	case sub == "list" && len(args) == 2:
		return reply{kind: kindKeys, keys: c.s.commandNames()}
	case sub == "docs":
		return c.commandDocs(args[2:])
	case sub == "help" && len(args) == 2:
		return array(status("COMMAND | COMMAND COUNT | DOCS | INFO | LIST"))
	}
	return unknownSubcommand("COMMAND", args[1])
}

func (s *Server) commandNames() []string {
	names := make([]string, 0, len(s.table))
	for n := range s.table {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// asked returns the commands that are asked for by name, nil for each that is
// not known; all when none is named.
func (c *conn) asked(names [][]byte) []*command {
	var list []*command
	if len(names) == 0 {
		for _, n := range c.s.commandNames() {
			list = append(list, c.s.table[n])
		}
	}
	for _, n := range names {
		list = append(list, c.s.table.lookup(n))
	}
	return list
}

func (c *conn) commandInfo(names [][]byte) reply {
	out := reply{kind: kindArray}
	for _, cmd := range c.asked(names) {
		if cmd == nil {
			out.items = append(out.items, replyNull)
			continue
		}
		flags := reply{kind: kindArray}
		for _, f := range []struct {
			flag flag
			text string
		}{{flagWrite, "write"}, {flagNoAuth, "no_auth"}, {flagScript, "noscript"}} {
			if cmd.flags&f.flag != 0 {
				flags.items = append(flags.items, status(f.text))
			}
		}
		if cmd.flags&flagWrite == 0 {
			flags.items = append(flags.items, status("readonly"))
		}
		out.items = append(out.items, array(
			bulkText(cmd.name), integer(int64(cmd.arity)), flags,
			integer(int64(cmd.keys[0])), integer(int64(cmd.keys[1])), integer(int64(cmd.keys[2])),
			array(), array(), array(), array(),
		))
	}
	return out
}

func (c *conn) commandDocs(names [][]byte) reply {
	out := reply{kind: kindMap}
	for _, cmd := range c.asked(names) {
		if cmd == nil {
			continue
		}
		out.items = append(out.items, bulkText(cmd.name), mapping(
			bulkText("summary"), bulkText("As in Redis "+redisVersion+", over lockcluster's replicated keys."),
			bulkText("since"), bulkText("1.0.0"),
			bulkText("group"), bulkText("generic"),
		))
	}
	return out
}

// cmdInfo answers INFO [section ...].
func cmdInfo(c *conn, args [][]byte) reply {
	want := map[string]bool{}
	for _, a := range args[1:] {
		want[asciiLower(a)] = true
	}
	all := len(want) == 0 || want["all"] || want["default"] || want["everything"]
	var b strings.Builder
	section := func(name string, write func(b *strings.Builder)) {
		if !all && !want[strings.ToLower(name)] {
			return
		}
		if b.Len() > 0 {
			b.WriteString("\r\n")
		}
		fmt.Fprintf(&b, "# %s\r\n", name)
		write(&b)
	}
	section("Server", c.infoServer)
	section("Clients", func(b *strings.Builder) {
		fmt.Fprintf(b, "connected_clients:%d\r\nmaxclients:%d\r\n", c.s.connCount(), c.s.cfg.ConnsMax)
	})
	section("Replication", func(b *strings.Builder) {
		// Every node takes writes, so every node is a master to its clients.
		fmt.Fprintf(b, "role:master\r\nconnected_slaves:0\r\n")
	})
	section("Cluster", func(b *strings.Builder) { fmt.Fprintf(b, "cluster_enabled:0\r\n") })
	section("Lockcluster", c.infoNodes)
	if all || want["keyspace"] {
		view, err := c.s.sys.View(&c.request)
		if err != nil {
			return failure(err, false)
		}
		section("Keyspace", func(b *strings.Builder) { infoKeyspace(b, view, c.namespace, c.db) })
	}
	return bulkText(b.String())
}

func (c *conn) infoServer(b *strings.Builder) {
	_, port, _ := strings.Cut(c.s.ln.Addr().String(), ":")
	fmt.Fprintf(b, "redis_version:%s\r\nredis_mode:standalone\r\nlockcluster_version:%s\r\nos:%s\r\narch_bits:64\r\nprocess_id:%d\r\nrun_id:%s\r\ntcp_port:%s\r\nuptime_in_seconds:%d\r\n",
		redisVersion, c.s.cfg.Version, runtime.GOOS, os.Getpid(), c.s.runID, port, int(time.Since(c.s.started).Seconds()))
}

func (c *conn) infoNodes(b *strings.Builder) {
	for i, n := range c.s.nodes() {
		fmt.Fprintf(b, "node%d:id=%s,addr=%s,leader=%t,live=%t,self=%t\r\n", i, n.ID, n.Addr, n.Leader, n.Live, n.Self)
	}
}

// infoKeyspace counts the keys of the database that is selected.
func infoKeyspace(b *strings.Builder, view *state.View, ns string, db int) {
	keys, expires := 0, 0
	for _, space := range []lockcluster.Space{lockcluster.SpaceLock, lockcluster.SpaceCommand, lockcluster.SpaceDocument} {
		state.Keys(view, ns, space, "", func(string) bool {
			keys++
			return true
		})
	}
	state.Leases(view, func(l state.Lease) bool {
		if l.Namespace == ns {
			expires++
		}
		return true
	})
	if keys > 0 {
		fmt.Fprintf(b, "db%d:keys=%d,expires=%d,avg_ttl=0\r\n", db, keys, expires)
	}
}
