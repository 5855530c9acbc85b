// Package dev runs a whole cluster on this machine: one process for each node,
// all of the executable that runs already.
//
// [Start] returns when every node serves, [Cluster.Run] watches over them until
// it is told to stop, [Cluster.Stop] stops them. A node that dies is reported
// and stays dead, unless it asked to be started again (exit code
// cluster.ExitCodeRestart). The nodes are process groups of their own, so that
// a Ctrl-C at the terminal reaches this process only, which then stops them in
// order; if this process is killed, the kernel tells the nodes to stop.
package dev
