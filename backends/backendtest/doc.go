// Package backendtest is what every lock system must keep to: one suite that
// runs over each of them. A system gives a [Harness]; [Run] makes one for
// each claim.
package backendtest
