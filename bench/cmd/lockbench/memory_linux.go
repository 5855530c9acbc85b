package main

import "syscall"

// inMemory reports whether dir is on tmpfs or ramfs.
func inMemory(dir string) bool {
	const tmpfs, ramfs = 0x01021994, 0x858458f6
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return false
	}
	kind := uint32(st.Type) //nolint:gosec // a magic number of 32 bits
	return kind == tmpfs || kind == ramfs
}
