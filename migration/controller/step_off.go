//go:build !lockcluster_steps

package controller

// step marks a point of a switch at which tests stop a node.
func step(string) {}
