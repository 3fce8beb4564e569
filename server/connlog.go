package server

import (
	"log/slog"
	"net"
)

// connLog logs with the connection's attributes. They are put together only when there is something to log.
type connLog struct {
	logger *slog.Logger
	id     int64
	remote net.Addr
}

func (l connLog) with(args []any) []any {
	return append([]any{"connection_id", l.id, "remote", l.remote.String()}, args...)
}

//nolint:sloglint // callers pass literals
func (l connLog) warn(msg string, args ...any) { l.logger.Warn(msg, l.with(args)...) }

//nolint:sloglint // callers pass literals
func (l connLog) error(msg string, args ...any) { l.logger.Error(msg, l.with(args)...) }
