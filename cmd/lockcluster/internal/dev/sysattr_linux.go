package dev

import "syscall"

// sysProcAttr makes a process the head of its own group, so that the terminal's
// Ctrl-C does not reach it, and has the kernel stop it when this one is gone.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
