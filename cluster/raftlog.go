package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// newRaftLogger gives raft and its stores a logger that writes to logger. What
// they call info happens at every change of leader or snapshot, and stays info.
// What they say of a node of another cluster, which they try again and again, is
// limited.
func newRaftLogger(logger *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Level: hclog.Debug, Output: io.Discard})
	l.RegisterSink(raftLogSink{logger, newLineLimit(foreignQuiet)})
	return l
}

type raftLogSink struct {
	logger  *slog.Logger
	foreign *lineLimit // by address
}

// Accept implements [hclog.SinkAdapter].
func (s raftLogSink) Accept(name string, level hclog.Level, msg string, args ...any) {
	l := slog.LevelDebug
	switch level {
	case hclog.Info:
		l = slog.LevelInfo
	case hclog.Warn:
		l = slog.LevelWarn
	case hclog.Error:
		l = slog.LevelError
	}
	if !s.logger.Enabled(context.Background(), l) {
		return
	}
	leftOut, ok := s.pass(args)
	if !ok {
		return
	}
	attrs := make([]any, 0, len(args)+4)
	attrs = append(attrs, "part", name)
	for i, a := range args {
		switch v := a.(type) {
		case hclog.Format: // a format and its arguments
			if f, ok := v[0].(string); ok {
				a = fmt.Sprintf(f, v[1:]...)
			}
		case fmt.Stringer:
			a = v.String()
		}
		if i%2 == 0 {
			a = fmt.Sprint(a)
		}
		attrs = append(attrs, a)
	}
	if leftOut > 0 {
		attrs = append(attrs, "left_out", leftOut)
	}
	s.logger.Log(context.Background(), l, msg, attrs...) //nolint:sloglint // the text is raft's
}

// pass reports whether a line with these arguments may be written, and how many
// like it were left out since the last one.
func (s raftLogSink) pass(args []any) (leftOut int, ok bool) {
	for _, a := range args {
		var foreign *foreignError
		if err, isError := a.(error); isError && errors.As(err, &foreign) {
			return s.foreign.pass(string(foreign.address))
		}
	}
	return 0, true
}
