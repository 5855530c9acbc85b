// Package prometheus_test runs the unit tests of the alert rules in this
// folder, and checks that what they look at is what a node exports.
package prometheus_test
