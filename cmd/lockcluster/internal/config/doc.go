// Package config reads what one node is told: flags, LOCKCLUSTER_* environment
// variables and a YAML file. A flag wins over the environment, the environment
// over the file, and the file over the default.
//
// Every setting has one name in all three: --node-id, LOCKCLUSTER_NODE_ID and
// node-id. An unknown name is an error that names the nearest known one, a
// value of the wrong type an error that names its source. Nothing is read
// twice and nothing is changed: the package only answers.
package config
