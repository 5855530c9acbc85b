package resp

import (
	"crypto/sha1" //nolint:gosec // names nodes as Redis does, protects nothing
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// slotCount is how many hash slots a Redis cluster has.
const slotCount = 16384

// slotRange is the part of the slots that a node is announced for. Every node
// answers for every key: the ranges only spread the load.
type slotRange struct {
	node       Node
	host       string
	port       int
	start, end int
}

// slotRanges spreads the slots over the live nodes that have an address.
func (s *Server) slotRanges() []slotRange {
	var ranges []slotRange
	for _, n := range s.nodes() {
		host, portText, err := net.SplitHostPort(n.Addr)
		port, perr := strconv.Atoi(portText)
		if !n.Live || err != nil || perr != nil {
			continue
		}
		ranges = append(ranges, slotRange{node: n, host: host, port: port})
	}
	slices.SortFunc(ranges, func(a, b slotRange) int { return strings.Compare(a.node.ID, b.node.ID) })
	for i := range ranges {
		ranges[i].start = i * slotCount / len(ranges)
		ranges[i].end = (i+1)*slotCount/len(ranges) - 1
	}
	return ranges
}

// hashID is a node's id in the form that Redis clients expect.
func hashID(id string) string {
	sum := sha1.Sum([]byte(id)) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])
}

// cmdCluster answers the CLUSTER subcommands that clients use to find nodes.
func cmdCluster(c *conn, args [][]byte) reply {
	switch sub := asciiLower(args[1]); {
	case (sub == "slots" || sub == "shards") && len(args) == 2 && len(c.s.slotRanges()) == 0:
		return errReply("CLUSTERDOWN the addresses of the nodes are not known yet; try again")
	case sub == "slots" && len(args) == 2:
		return c.s.clusterSlots()
	case sub == "shards" && len(args) == 2:
		return c.s.clusterShards()
	case sub == "nodes" && len(args) == 2:
		return bulkText(c.s.clusterNodes())
	case sub == "info" && len(args) == 2:
		return bulkText(c.s.clusterInfo())
	case sub == "myid" && len(args) == 2:
		for _, n := range c.s.nodes() {
			if n.Self {
				return bulkText(hashID(n.ID))
			}
		}
		return bulkText(hashID(c.s.runID))
	case sub == "keyslot" && len(args) == 3:
		return integer(int64(keySlot(args[2])))
	case sub == "help" && len(args) == 2:
		return array(status("CLUSTER INFO | KEYSLOT | MYID | NODES | SHARDS | SLOTS"))
	}
	return unknownSubcommand("CLUSTER", args[1])
}

func (s *Server) clusterSlots() reply {
	out := reply{kind: kindArray}
	for _, r := range s.slotRanges() {
		out.items = append(out.items, array(
			integer(int64(r.start)), integer(int64(r.end)),
			array(bulkText(r.host), integer(int64(r.port)), bulkText(hashID(r.node.ID)), array()),
		))
	}
	return out
}

func (s *Server) clusterShards() reply {
	out := reply{kind: kindArray}
	for _, r := range s.slotRanges() {
		node := mapping(
			bulkText("id"), bulkText(hashID(r.node.ID)),
			bulkText("port"), integer(int64(r.port)),
			bulkText("ip"), bulkText(r.host),
			bulkText("endpoint"), bulkText(r.host),
			bulkText("role"), bulkText("master"),
			bulkText("replication-offset"), integer(0),
			bulkText("health"), bulkText("online"),
		)
		out.items = append(out.items, mapping(
			bulkText("slots"), array(integer(int64(r.start)), integer(int64(r.end))),
			bulkText("nodes"), array(node),
		))
	}
	return out
}

func (s *Server) clusterNodes() string {
	var b strings.Builder
	ranges := s.slotRanges()
	for _, n := range s.nodes() {
		flags, link, slots := "master", "connected", ""
		if n.Self {
			flags = "myself,master"
		}
		if !n.Live {
			flags, link = flags+",fail?", "disconnected"
		}
		for _, r := range ranges {
			if r.node.ID == n.ID {
				slots = fmt.Sprintf(" %d-%d", r.start, r.end)
			}
		}
		fmt.Fprintf(&b, "%s %s@0 %s - 0 0 1 %s%s\n", hashID(n.ID), n.Addr, flags, link, slots)
	}
	return b.String()
}

func (s *Server) clusterInfo() string {
	ranges, nodes := s.slotRanges(), s.nodes()
	clusterState, slots := "ok", slotCount
	if len(ranges) == 0 {
		clusterState, slots = "fail", 0
	}
	return fmt.Sprintf("cluster_enabled:1\r\ncluster_state:%s\r\ncluster_slots_assigned:%d\r\ncluster_slots_ok:%d\r\ncluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_known_nodes:%d\r\ncluster_size:%d\r\ncluster_current_epoch:1\r\ncluster_my_epoch:1\r\n",
		clusterState, slots, slots, len(nodes), len(ranges))
}

// keySlot is the hash slot of a key: CRC16 of the key, or of what stands
// between its first braces.
func keySlot(key []byte) int {
	if open := slices.Index(key, '{'); open >= 0 {
		if size := slices.Index(key[open+1:], '}'); size > 0 {
			key = key[open+1 : open+1+size]
		}
	}
	return int(crc16(key)) % slotCount
}

// crc16 is CRC-16/XMODEM, as the Redis Cluster specification demands.
func crc16(data []byte) uint16 {
	crc := uint16(0)
	for _, b := range data {
		crc ^= uint16(b) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}
