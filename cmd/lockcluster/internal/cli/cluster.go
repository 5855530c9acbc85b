package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lockcluster/lockcluster/cmd/lockcluster/internal/node"
	"github.com/lockcluster/lockcluster/rpc"
)

func (a *app) clusterCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "cluster",
		Short: "Look at the cluster and change it",
	}, a.clusterStatusCommand(), a.clusterMembersCommand(), a.clusterAddCommand(), a.clusterRemoveCommand(),
		a.clusterTransferCommand(), a.clusterSwitchCommand(), a.clusterModeCommand(), a.clusterFeatureCommand(), a.snapshotCommand())
}

func (a *app) clusterStatusCommand() *cobra.Command {
	var where clientFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show who leads and how every node is",
		Long: `status shows the cluster as the leader sees it, which asks all other nodes.
Without a leader, or if it does not answer, it shows what another node sees and
says so; without a leader the exit code is 1.`,
		Args: args(0, 0),
		RunE: a.withClient(&where, func(ctx context.Context, c *client, _ []string) error {
			s, err := c.status(ctx)
			if err != nil {
				return err
			}
			if err := a.print(s, func(w io.Writer) error { return statusTable(w, s) }); err != nil {
				return err
			}
			if s.Leader == "" {
				return errors.New("there is no leader: too few voters reach each other; start those that do not answer")
			}
			return nil
		}),
	}
	a.addClientFlags(cmd.Flags(), &where)
	return cmd
}

// statusView is the cluster's status with whose view it is; the JSON names are
// a contract.
type statusView struct {
	rpc.ClusterStatus
	FromLeader bool   `json:"from_leader"`
	Note       string `json:"note,omitempty"`    // why it may not be what the cluster has
	Warning    string `json:"warning,omitempty"` // what is wrong with the endpoints
}

// status asks the leader how the cluster is, another node if there is none.
// Endpoints of another cluster are told.
func (c *client) status(ctx context.Context) (statusView, error) {
	s, err := c.LeaderStatus(ctx)
	v := statusView{ClusterStatus: s, FromLeader: s.Leader != "" && s.NodeID == s.Leader}
	if err != nil {
		return v, err
	}
	v.Note = viewNote(v)
	if foreign := c.Strangers(ctx, s.ClusterID); len(foreign) > 0 {
		v.Warning = fmt.Sprintf("another cluster answers at %s than the one shown, and commands may go to either: "+
			"name the nodes of one with --endpoints (LOCKCLUSTER_ENDPOINTS)", strings.Join(foreign, " and "))
	}
	return v, nil
}

// viewNote says whose view v is, if it is not the leader's.
func viewNote(v statusView) string {
	switch {
	case v.FromLeader:
		return ""
	case v.Leader == "":
		return fmt.Sprintf("as seen by %s, which has no leader", v.NodeID)
	case v.LeaderGRPCAddr == "":
		return fmt.Sprintf("as seen by %s, which may be catching up: it does not know the address of the leader %s yet", v.NodeID, v.Leader)
	}
	return fmt.Sprintf("as seen by %s, which may be catching up: the leader %s does not answer this command at %s", v.NodeID, v.Leader, v.LeaderGRPCAddr)
}

// statusTable writes the cluster's status for a person.
func statusTable(w io.Writer, s statusView) error {
	leader := s.Leader
	if leader == "" {
		leader = "none"
	}
	say(w, "leader %s · term %d · commit index %d · mode %s · active system %s · epoch %d\n",
		visible(leader), s.Term, s.CommitIndex, visible(s.Mode), visible(activeText(s.ActiveSystem)), s.Epoch)
	what := ""
	if s.LegacyNamespace != "" {
		what = "in the enhanced system: "
	}
	say(w, "%s%s\n", what, counts(s.Locks, s.CommandLocks, s.Documents, " · ", " · "))
	for _, text := range []string{s.Note, s.Warning} {
		if text != "" {
			say(w, "%s\n", visible(text))
		}
	}
	say(w, "\n")
	t := newTable(w, "NODE", "ROLE", "SUFFRAGE", "REACHABLE", "APPLIED", "STATE HASH", "RAFT")
	for _, m := range s.Members {
		reachable := "yes"
		if !m.Reachable {
			reachable = "no"
			if m.Problem != "" {
				reachable += ": " + m.Problem
			}
		}
		applied := ""
		if m.Reachable {
			applied = fmt.Sprint(m.AppliedIndex)
		}
		t.row(m.ID, m.Role, m.Suffrage, reachable, applied, m.StateHash[:min(12, len(m.StateHash))], m.Address)
	}
	return t.flush()
}

// counts names how many there are of each.
func counts(locks, commandLocks, documents uint64, comma, and string) string {
	return number(locks, "lock") + comma + number(commandLocks, "command lock") + and + number(documents, "document")
}

// number puts a number before its noun.
func number[N int | uint64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func (a *app) clusterMembersCommand() *cobra.Command {
	var where clientFlags
	cmd := &cobra.Command{
		Use:   "members",
		Short: "List the nodes with all their addresses",
		Args:  args(0, 0),
		RunE: a.withClient(&where, func(ctx context.Context, c *client, _ []string) error {
			s, err := c.LeaderStatus(ctx)
			if err != nil {
				return err
			}
			return a.print(s.Members, func(w io.Writer) error {
				t := newTable(w, "NODE", "ROLE", "SUFFRAGE", "RAFT", "GRPC", "HTTP", "REDIS", "VERSION")
				for _, m := range s.Members {
					t.row(m.ID, m.Role, m.Suffrage, m.Address, m.GRPCAddr, m.HTTPAddr, m.RESPAddr, m.Version)
				}
				return t.flush()
			})
		}),
	}
	a.addClientFlags(cmd.Flags(), &where)
	return cmd
}

func (a *app) clusterAddCommand() *cobra.Command {
	var where clientFlags
	cmd := &cobra.Command{
		Use:   "add ID HOST:PORT",
		Short: "Add a node",
		Long: `add makes a node a member, by its id and its raft address. It begins as a
non-voter and becomes a voter by itself when it has caught up.

It is not needed before "lockcluster server --join", which does the same: use
--join alone, with an empty data directory.

A node id is used once: a node that lost its disk comes back under a new id.`,
		Example: "  lockcluster cluster add n4 10.0.0.4:7000",
		Args:    args(2, 2),
		RunE: a.withClient(&where, func(ctx context.Context, c *client, words []string) error {
			if err := node.CheckMember(words[0], words[1]); err != nil {
				return usagef("%w", err)
			}
			index, err := c.AddMember(ctx, words[0], words[1])
			if err != nil {
				return err
			}
			return a.printChange(map[string]any{"id": words[0], "address": words[1], "index": index},
				"added %s as a non-voter; it becomes a voter when it has caught up\n", words[0])
		}),
	}
	a.addClientFlags(cmd.Flags(), &where)
	return cmd
}

func (a *app) clusterRemoveCommand() *cobra.Command {
	var where clientFlags
	cmd := &cobra.Command{
		Use:   "remove ID",
		Short: "Remove a node for good",
		Long: `remove takes a node out of the cluster; its process stops by itself some seconds
later, and its id cannot come back. Refused when the rest would have no reachable
majority.`,
		Example: "  lockcluster cluster remove n4",
		Args:    args(1, 1),
		RunE: a.withClient(&where, func(ctx context.Context, c *client, words []string) error {
			if words[0] == "" {
				return usagef("ID is empty: which node?")
			}
			index, err := c.RemoveMember(ctx, words[0])
			if err != nil {
				return err
			}
			return a.printChange(map[string]any{"id": words[0], "index": index}, "removed %s\n", words[0])
		}),
	}
	a.addClientFlags(cmd.Flags(), &where)
	return cmd
}

func (a *app) clusterTransferCommand() *cobra.Command {
	var where clientFlags
	cmd := &cobra.Command{
		Use:   "transfer-leader [ID]",
		Short: "Hand leadership to another voter",
		Long: `transfer-leader hands leadership to the given voter, or to the one that is
furthest ahead, and answers when that one leads.`,
		Example: "  lockcluster cluster transfer-leader n2",
		Args:    args(0, 1),
		RunE: a.withClient(&where, func(ctx context.Context, c *client, words []string) error {
			to := ""
			if len(words) > 0 {
				to = words[0]
			}
			leader, err := c.TransferLeader(ctx, to)
			if err != nil {
				return err
			}
			return a.printChange(map[string]any{"leader": leader}, "%s leads now\n", leader)
		}),
	}
	a.addClientFlags(cmd.Flags(), &where)
	return cmd
}

// printChange tells that something was done.
func (a *app) printChange(v map[string]any, format, name string) error {
	return a.print(v, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, format, visible(name))
		return err
	})
}
