//go:build !lockcluster_broken

package state

import "github.com/lockcluster/lockcluster"

// breakAnswer is the place where a build with the tag lockcluster_broken
// answers wrongly, see broken_on.go. This build does not.
func breakAnswer(_ lockcluster.Request, res lockcluster.Result) lockcluster.Result { return res }
