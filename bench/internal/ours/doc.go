// Package ours measures what concerns lockcluster alone: how long a failover
// takes, and how it does with a million locks.
package ours
