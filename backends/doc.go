// Package backends is the legacy lock systems: Atlantis's own stores, served
// under the lock rules of package fsm/state and in Atlantis's own formats, so
// that a stock Atlantis can take such a store over at any time.
//
// A [Backend] holds an image of its store in memory. A request is decided on
// the image by the same rules as in the cluster; what it changes is written to
// the store, in one transaction and on condition that the store still has what
// the image has, before the request is answered. One goroutine decides, and
// takes all requests that wait as one batch, so they share the write.
//
//	boltdb   an atlantis.db on this machine. The file's lock is held while the
//	         backend is open, so nobody else writes.
//	redis    a Redis, Redis Cluster or Sentinel set. Others may write to it (a
//	         stock Atlantis does), so every request first reads what it names.
//
// What Atlantis's formats have no place for (tokens, revisions, owner ids)
// stands in side records, each bound to the stored value by a digest: if
// somebody else has replaced the value, its side record is void, and the
// record counts as a new one.
//
// Every write goes with a [Fence]. A store remembers the greatest one and
// refuses lower ones, so a deposed leader cannot write. Beside it stands the
// store's id ([Identified]): a call that names one ([WithStore]) is refused with
// [ErrOtherStore] by any other store, and by the same one after it was emptied. A stored record that
// cannot be read, or that contradicts another one, is left alone: see
// [Inspector].
//
// Stored values hold a VCS token and the text of pull requests; no error and
// no [Bad] holds any part of one, nor the credentials of an address.
package backends
