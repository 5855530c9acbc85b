// Command lockcluster is a replicated lock service for Atlantis: the node, the
// tools to run a cluster of nodes, and a client. "lockcluster help" lists what
// it does.
package main

import (
	"os"

	"github.com/lockcluster/lockcluster/cmd/lockcluster/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
