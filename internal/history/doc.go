// Package history records what clients asked and heard, and judges whether one
// cluster with one set of lock rules can have answered so.
package history
