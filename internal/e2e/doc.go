// Package e2e runs real node processes and does to them what happens in a data
// centre: kill -9, pauses, restarts, all at once. Clients record every call;
// package internal/history decides afterwards whether anything was granted
// twice or lost.
//
// The tests named road_* attach a legacy system, an atlantis.db or a Redis, and
// judge by a ledger of what every client was told and by both stores, which are
// read past the cluster.
//
// How often each fault strikes is set by environment variables, so that a
// commit's run is short and a release's run is long; each test names its own.
package e2e
