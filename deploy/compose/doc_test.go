// Package compose tests what this folder ships: the Dockerfile and the Compose
// file. It needs a Docker engine and Compose (v2 or 1.29), and no registry: the
// image is made from a binary that the test builds. Where there is no engine
// the tests are skipped, loudly; with LOCKCLUSTER_NEED_DOCKER=1 ("make
// compose-smoke") that is a failure.
package compose
