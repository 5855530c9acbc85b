//go:build lockcluster_broken

package state

import (
	"hash/crc32"

	"github.com/lockcluster/lockcluster"
)

// breakAnswer makes the enhanced system's answer in shadow mode wrong for about
// half of the keys. A build with this tag proves that the comparison sees wrong
// answers; nothing else is wrong in it.
func breakAnswer(req lockcluster.Request, res lockcluster.Result) lockcluster.Result {
	if key := brokenKey(req); crc32.ChecksumIEEE([]byte(key))%2 == 0 {
		res.Status = brokenStatus(res.Status)
	}
	return res
}

func brokenKey(req lockcluster.Request) string {
	switch r := req.(type) {
	case lockcluster.Acquire:
		return r.Key.Text()
	case lockcluster.Release:
		return r.Text
	case lockcluster.ReleaseByPull:
		return r.Repo
	case lockcluster.LockCommand:
		return r.Name
	case lockcluster.UnlockCommand:
		return r.Name
	case lockcluster.PutDocument:
		return r.Key
	case lockcluster.DeleteDocument:
		return r.Key
	case lockcluster.SetTTL:
		return r.Key
	case lockcluster.Txn:
		if len(r.Requests) > 0 {
			return brokenKey(r.Requests[0])
		}
	}
	return ""
}

func brokenStatus(s lockcluster.Status) lockcluster.Status {
	switch s {
	case lockcluster.StatusGranted, lockcluster.StatusAlreadyHeld:
		return lockcluster.StatusHeld
	case lockcluster.StatusHeld, lockcluster.StatusHostConflict:
		return lockcluster.StatusGranted
	case lockcluster.StatusReleased:
		return lockcluster.StatusNotFound
	case lockcluster.StatusNotFound, lockcluster.StatusNotHolder:
		return lockcluster.StatusReleased
	case lockcluster.StatusStored:
		return lockcluster.StatusNotStored
	case lockcluster.StatusNotStored:
		return lockcluster.StatusStored
	case lockcluster.StatusDeleted:
		return lockcluster.StatusNotFound
	case lockcluster.StatusApplied:
		return lockcluster.StatusConflict
	case lockcluster.StatusConflict:
		return lockcluster.StatusApplied
	}
	return s
}
