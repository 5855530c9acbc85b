package migration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	boltLook  = 2 * time.Millisecond
	redisLook = time.Second
)

// BoltFollow is an atlantis.db that an Atlantis has open. A look at it reads
// its two meta pages; only another transaction makes it be copied.
type BoltFollow struct {
	file    string
	tempDir string

	mu   sync.Mutex // guards what follows
	src  *os.File
	last string
}

// FollowBolt follows an atlantis.db. Copies are made in tempDir, or in the
// system's directory for temporary files; they hold secrets and are removed
// at once.
func FollowBolt(file, tempDir string) *BoltFollow { return &BoltFollow{file: file, tempDir: tempDir} }

var _ FollowSource = (*BoltFollow)(nil)

// Interval implements [FollowSource].
func (b *BoltFollow) Interval() time.Duration { return boltLook }

// Version implements [FollowSource].
func (b *BoltFollow) Version(context.Context) (string, error) {
	info, err := os.Stat(b.file)
	if err != nil {
		return "", fmt.Errorf("look at the database: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.openLocked(info); err != nil {
		return "", err
	}
	metas, err := readMetas(b.src)
	switch {
	case err == nil:
		b.last = boltVersionText(info, metas.best)
	case b.last == "" || !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotBolt):
		return "", fmt.Errorf("%s: %w", b.file, err)
	}
	// A page that was whole a moment ago is being written: not yet a new version.
	return b.last, nil
}

// openLocked opens the file that is at the path now.
func (b *BoltFollow) openLocked(info os.FileInfo) error {
	if b.src != nil {
		if was, err := b.src.Stat(); err == nil && os.SameFile(was, info) {
			return nil
		}
		_ = b.src.Close() // opened for reading: nothing can be lost
		b.src, b.last = nil, ""
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: %w: it is no regular file; name the atlantis.db itself", b.file, ErrNotBolt)
	}
	src, err := os.Open(b.file)
	if err != nil {
		return fmt.Errorf("look at the database: %w", err)
	}
	b.src = src
	return nil
}

func boltVersionText(info os.FileInfo, m boltMeta) string {
	var ino uint64
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		ino = st.Ino
	}
	return fmt.Sprintf("%d %+v", ino, m)
}

// Read implements [FollowSource].
func (b *BoltFollow) Read(ctx context.Context) (*Source, string, error) {
	info, err := os.Stat(b.file)
	if err != nil {
		return nil, "", fmt.Errorf("look at the database: %w", err)
	}
	c, err := copyBolt(ctx, b.file, b.tempDir, copyInMemory, false)
	if err != nil {
		return nil, "", err
	}
	src, err := ReadBolt(c)
	if err := errors.Join(err, c.Close()); err != nil {
		return nil, "", fmt.Errorf("%s: %w", b.file, err)
	}
	return src, boltVersionText(info, c.meta), nil
}

// Close lets go of the file.
func (b *BoltFollow) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.src == nil {
		return nil
	}
	err := b.src.Close()
	b.src, b.last = nil, ""
	return err
}

// RedisFollow is the Redis of a running Atlantis. Each look reads all of it.
type RedisFollow struct {
	url    *RedisURL
	reader *redisReader
}

// FollowRedis follows a Redis. It connects when that is read.
func FollowRedis(u *RedisURL) *RedisFollow { return &RedisFollow{url: u, reader: newRedisReader(u)} }

var _ FollowSource = (*RedisFollow)(nil)

// Interval implements [FollowSource].
func (r *RedisFollow) Interval() time.Duration { return redisLook }

// Version implements [FollowSource].
func (r *RedisFollow) Version(ctx context.Context) (string, error) {
	values, _, err := r.reader.readOnce(ctx)
	if err != nil {
		return "", fmt.Errorf("%s: %w", r.url, redisError(err))
	}
	return contentOf(values, 0, nil, 1).Digest, nil
}

// Read implements [FollowSource].
func (r *RedisFollow) Read(ctx context.Context) (*Source, string, error) {
	c, err := r.reader.read(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", r.url, err)
	}
	return c.Source, c.Digest, nil
}

// Close ends the connections.
func (r *RedisFollow) Close() error { return r.reader.close() }
