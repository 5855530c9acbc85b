// Package node runs one node of the cluster: it puts the Raft node (package
// cluster), the gRPC and HTTP doors (rpc) and the Redis door (compat/resp)
// together, starts them in order and stops them in reverse.
//
// [Run] is the whole life of the process. A node that must not go on ends the
// process by itself, with an exit code of package cluster; one that asks for a
// restart replaces the process by itself.
package node
