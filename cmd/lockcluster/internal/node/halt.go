package node

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lockcluster/lockcluster/cluster"
)

// RestartsEnv tells a process that replaced itself how often that happened,
// and when it began: "count@unix seconds".
const RestartsEnv = "LOCKCLUSTER_RESTARTS"

// A node that replaces itself this often in this time is left to its
// supervisor (exit code cluster.ExitCodeRestart).
const (
	restartsMax    = 5
	restartsWindow = 10 * time.Minute
)

// stacksMax bounds the goroutine stacks in the log of a node that is stuck.
const stacksMax = 1 << 20

// halt is what a node does when it must not go on. It does not come back:
// nothing may touch the stores any more.
func halt(logger *slog.Logger) func(error) {
	return func(err error) {
		code := cluster.ExitCode(err)
		attrs := []any{"err", err, "exit_code", code}
		if errors.Is(err, cluster.ErrStuck) {
			buf := make([]byte, stacksMax)
			attrs = append(attrs, "stacks", string(buf[:runtime.Stack(buf, true)]))
		}
		if errors.Is(err, cluster.ErrRestart) {
			logger.Warn("node starts itself again", attrs...)
			logger.Error("node was not started again", "err", restart(os.Environ(), time.Now()))
			os.Exit(code)
		}
		logger.Error("node halts", attrs...)
		os.Exit(code)
	}
}

// restart replaces the process by a new one of the same program, arguments and
// process id. It comes back only with an error.
func restart(environ []string, now time.Time) error {
	env, err := nextRestart(environ, now)
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if _, err := os.Stat(exe); err != nil {
		exe = "/proc/self/exe" // "go run" has removed it, or it was replaced
	}
	return fmt.Errorf("start %s: %w", exe, syscall.Exec(exe, os.Args, env))
}

// nextRestart counts a restart in the environment.
func nextRestart(environ []string, now time.Time) ([]string, error) {
	count, since := 0, now.Unix()
	env := make([]string, 0, len(environ)+1)
	for _, e := range environ {
		text, ok := strings.CutPrefix(e, RestartsEnv+"=")
		if !ok {
			env = append(env, e)
			continue
		}
		c, s, _ := strings.Cut(text, "@")
		n, errCount := strconv.Atoi(c)
		began, errSince := strconv.ParseInt(s, 10, 64)
		if errCount == nil && errSince == nil && now.Sub(time.Unix(began, 0)) < restartsWindow {
			count, since = n, began
		}
	}
	if count >= restartsMax {
		return nil, fmt.Errorf("it has started itself %d times since %s", count, time.Unix(since, 0).UTC().Format(time.RFC3339))
	}
	return append(env, fmt.Sprintf("%s=%d@%d", RestartsEnv, count+1, since)), nil
}
