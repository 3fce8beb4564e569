package command

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"
)

// logLines is how many lines of the log getLog keeps, as in MongoDB.
const logLines = 1024

// LogBuffer is a slog handler that keeps the last records for getLog and passes them on. Warnings logged before Started
// are the startup warnings.
type LogBuffer struct {
	next  slog.Handler // nil for none
	attrs []slog.Attr
	group string
	ring  *logRing
}

// logRing is shared by all handlers made from one buffer.
type logRing struct {
	mu      sync.Mutex // guards the fields below
	lines   []string   // a ring once it is full
	start   int
	total   int64
	startup []string
	started bool
}

var _ slog.Handler = (*LogBuffer)(nil)

// NewLogBuffer makes a buffer that passes records on to next, which may be nil.
func NewLogBuffer(next slog.Handler) *LogBuffer { return &LogBuffer{next: next, ring: &logRing{}} }

// Started ends the time in which warnings are startup warnings.
func (b *LogBuffer) Started() {
	b.ring.mu.Lock()
	defer b.ring.mu.Unlock()
	b.ring.started = true
}

// Enabled implements slog.Handler.
func (b *LogBuffer) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelInfo || b.next != nil && b.next.Enabled(ctx, l)
}

// Handle implements slog.Handler.
func (b *LogBuffer) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		b.ring.add(b.line(r), r.Level)
	}
	if b.next == nil || !b.next.Enabled(ctx, r.Level) {
		return nil
	}
	return b.next.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (b *LogBuffer) WithAttrs(attrs []slog.Attr) slog.Handler {
	n := *b
	n.attrs = append([]slog.Attr(nil), b.attrs...)
	for _, a := range attrs {
		a.Key = b.group + a.Key
		n.attrs = append(n.attrs, a)
	}
	if b.next != nil {
		n.next = b.next.WithAttrs(attrs)
	}
	return &n
}

// WithGroup implements slog.Handler.
func (b *LogBuffer) WithGroup(name string) slog.Handler {
	n := *b
	n.group = b.group + name + "."
	if b.next != nil {
		n.next = b.next.WithGroup(name)
	}
	return &n
}

// severities are MongoDB's letters for the levels.
func severity(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "E"
	case l >= slog.LevelWarn:
		return "W"
	case l >= slog.LevelInfo:
		return "I"
	}
	return "D1"
}

// line is a record in the format of MongoDB's log: a JSON document.
func (b *LogBuffer) line(r slog.Record) string {
	attr := map[string]any{}
	put := func(a slog.Attr) bool {
		v := a.Value.Resolve().Any()
		if err, ok := v.(error); ok {
			v = err.Error()
		}
		attr[a.Key] = v
		return true
	}
	for _, a := range b.attrs {
		put(a)
	}
	r.Attrs(func(a slog.Attr) bool { return put(slog.Attr{Key: b.group + a.Key, Value: a.Value}) })
	type date struct {
		Date string `json:"$date"`
	}
	doc := struct {
		T    date           `json:"t"`
		S    string         `json:"s"`
		C    string         `json:"c"`
		ID   int            `json:"id"`
		Ctx  string         `json:"ctx"`
		Msg  string         `json:"msg"`
		Attr map[string]any `json:"attr,omitempty"`
	}{date{r.Time.UTC().Format("2006-01-02T15:04:05.000+00:00")}, severity(r.Level), "-", 0, "main", r.Message, attr}
	text, err := json.Marshal(doc)
	if err != nil { // an attribute that JSON cannot say
		doc.Attr = nil
		text, _ = json.Marshal(doc)
	}
	return string(text)
}

func (g *logRing) add(line string, l slog.Level) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total++
	if len(g.lines) < logLines {
		g.lines = append(g.lines, line)
	} else {
		g.lines[g.start] = line
		g.start = (g.start + 1) % logLines
	}
	if !g.started && l >= slog.LevelWarn && len(g.startup) < logLines {
		g.startup = append(g.startup, line)
	}
}

// Lines returns the last lines, oldest first, and how many there ever were.
func (b *LogBuffer) Lines() (lines []string, total int64) {
	b.ring.mu.Lock()
	defer b.ring.mu.Unlock()
	return append(append(lines, b.ring.lines[b.ring.start:]...), b.ring.lines[:b.ring.start]...), b.ring.total
}

// StartupWarnings returns the warnings of the start.
func (b *LogBuffer) StartupWarnings() []string {
	b.ring.mu.Lock()
	defer b.ring.mu.Unlock()
	return append([]string(nil), b.ring.startup...)
}

// slowOperation is how long a command runs before it is worth a line in the log.
const slowOperation = 100 * time.Millisecond
