// Package e2e runs real node processes and does to them what happens in a data
// centre: kill -9, pauses, restarts, all at once. Clients record every call;
// package internal/history decides afterwards whether anything was granted
// twice or lost.
//
// How often each fault strikes is set by environment variables, so that a
// commit's run is short and a release's run is long; each test names its own.
package e2e
