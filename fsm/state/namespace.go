package state

import "strings"

// NamespaceOfRecord returns the namespace of a record key, or of a prefix of
// one that is long enough to tell; ok is false for records of no namespace.
func NamespaceOfRecord(key string) (ns string, ok bool) {
	if key == "" {
		return "", false
	}
	from := 1
	switch key[0] {
	case tableLock, tablePull, tableRepo, tableCommand, tableDocument:
	case tableLease:
		from = 2
	default:
		return "", false
	}
	if len(key) < from {
		return "", false
	}
	end := strings.IndexByte(key[from:], 0)
	if end < 0 {
		return "", false
	}
	return key[from : from+end], true
}
