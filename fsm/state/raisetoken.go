package state

import "github.com/lockcluster/lockcluster"

// RaiseToken makes every later grant's token greater than t. It is for the
// image of a legacy system, whose store remembers the greatest token.
func RaiseToken(tx Tx, t lockcluster.Token) {
	a := Begin(tx, Env{System: lockcluster.SystemLegacy})
	a.raiseToken(t)
	a.End()
}
