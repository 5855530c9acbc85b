//go:build !linux

package dev

import "syscall"

// sysProcAttr makes a process the head of its own group, so that the terminal's
// Ctrl-C does not reach it. Only Linux can stop it when this one is killed.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
