package node

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"
)

// redisLog is go-redis's log, which it would write in lines of its own between
// the node's. That a Redis cannot be reached it says several times a second; the
// node itself says it once, so this is for debugging.
type redisLog struct{ logger *slog.Logger }

// quietRedis sends go-redis's log to logger.
func quietRedis(logger *slog.Logger) { redis.SetLogger(redisLog{logger}) }

// Printf implements go-redis's logging interface.
func (l redisLog) Printf(ctx context.Context, format string, v ...any) {
	if l.logger.Enabled(ctx, slog.LevelDebug) {
		l.logger.DebugContext(ctx, fmt.Sprintf(format, v...), "part", "go-redis") //nolint:sloglint // the text is go-redis's
	}
}
