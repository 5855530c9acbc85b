// Package cli is the command line: one file for each topic, one function for
// each command. A command reads its flags, asks the cluster through package
// rpc, and prints a table or JSON; what it knows about locks and nodes it
// knows from the other packages.
//
// Exit codes: 0 done; 1 failed; 2 the command line is wrong; 3 the answer is
// no (a lock is held by another; an import left records in quarantine or in
// conflict). A node that stops itself leaves with the codes of package cluster
// (70 to 76). JSON field names are a contract: fields may be added, never
// renamed. Diagnostics go to standard error, one line each.
package cli
