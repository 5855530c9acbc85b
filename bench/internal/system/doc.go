// Package system holds the lock systems under measure behind one interface:
// etcd, Redis, a bbolt file used as Atlantis uses it, and lockcluster by each
// of its doors.
//
// A [Deployment] is what runs (the processes or the file); a [System] is one
// way to use it. Two systems may share a deployment, for example Redis with
// one atomic command and Redis as Atlantis uses it.
//
// The meaning is the same everywhere, as far as the system can do it:
//
//   - TryLock creates the lock if it is absent, and answers with the holder's
//     bytes if it is not;
//   - Unlock deletes the lock only if it is still the one this client took;
//   - Get is a linearizable read of the stored bytes;
//   - List returns every lock of one repository with its bytes.
//
// Where a system falls short of that, its Describe text says so.
package system
