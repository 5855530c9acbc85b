package migration

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// quarantineIndex is the file that lists what a quarantine directory holds.
const quarantineIndex = "index.json"

// quarantineEntry is one record in a quarantine directory.
type quarantineEntry struct {
	Bucket string `json:"bucket"`
	Key    string `json:"key"`
	KeyHex string `json:"key_hex,omitempty"`
	Reason string `json:"reason"`
	File   string `json:"file,omitempty"` // empty when there is no value
	Size   int    `json:"size"`
}

// WriteQuarantine keeps the raw bytes of every record that the plan does not
// import, quarantined or lost in a conflict, in a directory that only this
// user can read. The bytes hold secrets. Writing the same plan again changes
// nothing. Without such records nothing is made.
func (p *Plan) WriteQuarantine(dir string) error {
	entries := []quarantineEntry{}
	add := func(bucket, key, reason string, raw []byte) error {
		e := quarantineEntry{Bucket: bucket, Key: key, KeyHex: keyHex(key), Reason: reason, Size: len(raw)}
		if raw != nil {
			sum := sha256.Sum256([]byte(bucket + "\x00" + key + "\x00" + string(raw)))
			e.File = bucket + "-" + hex.EncodeToString(sum[:8]) + ".bin"
			if err := writePrivate(filepath.Join(dir, e.File), raw); err != nil {
				return err
			}
		}
		entries = append(entries, e)
		return nil
	}
	if !p.leavesOut() {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create the quarantine directory: %w", err)
	}
	for _, q := range p.Quarantined {
		if err := add(q.Bucket, q.Key, q.Reason, q.raw); err != nil {
			return err
		}
	}
	for _, c := range p.Conflicts {
		for _, r := range c.lost {
			if err := add(r.Bucket, r.Key, "conflict: "+c.Reason, r.Value); err != nil {
				return err
			}
		}
	}
	index, err := json.MarshalIndent(entries, "", "  ")
	if err != nil {
		return fmt.Errorf("list the quarantine: %w", err)
	}
	return writePrivate(filepath.Join(dir, quarantineIndex), append(index, '\n'))
}

// leavesOut reports whether the plan has records that it does not import.
func (p *Plan) leavesOut() bool {
	for _, c := range p.Conflicts {
		if len(c.lost) > 0 {
			return true
		}
	}
	return len(p.Quarantined) > 0
}

// writePrivate writes a file of mode 0600, whole or not at all.
func writePrivate(path string, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return fmt.Errorf("write the quarantine: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write the quarantine: %w", errors.Join(err, os.Remove(f.Name())))
		}
	}()
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
