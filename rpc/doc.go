// Package rpc is the gRPC door of a node, its HTTP listener for operators, the
// Go client, and the connections between nodes.
//
// [Open] serves LockService and ClusterService for everyone, NodeService for
// the other nodes, health and reflection on one gRPC listener, and /metrics,
// /livez and /readyz on one HTTP listener. The server decides nothing: it
// translates API messages (rpc/lockcluster/v1) to the requests of the root
// package, hands them to a [Node], and translates the result back.
//
// [Dial] gives a [Client]: several endpoints, follows the leader, retries under
// the same request id, and answers with the same results and errors as the
// node's own Do. [Peers] is the same between nodes, without retries.
//
// What it promises:
//   - A business refusal is an OK response; an error means that nothing was
//     decided, or that the outcome is unknown, and says which. Both ways of
//     that mapping stand in errors.go.
//   - No answer holds a stored value's credentials: values are given only when
//     asked for, and then without the user-info of URLs and the pull request's
//     text. A backup (SnapshotSave) is the one exception, being the state itself.
//   - Every call has a deadline, every message and stream a limit. A panic in a
//     handler fails that call alone.
//
// The API schema is apart from the log's (fsm/command); only generated code
// and this package know it.
package rpc
