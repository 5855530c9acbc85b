// Package report draws a migration as one page of HTML: where it is, how both
// systems performed, what they answered differently, and when the cluster
// switched. The page loads nothing: its style is in it, and its plots are SVG
// that is drawn here. It reads well in light and in dark.
//
// The data has no stored values, and everything in it is escaped.
package report
