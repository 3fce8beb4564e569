package regex

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/dlclark/regexp2/v2"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

const (
	// MaxPatternBytes is the longest pattern MongoDB accepts.
	MaxPatternBytes = 16384

	// matchTimeout bounds one match of the backtracking engine.
	matchTimeout = 2 * time.Second

	// maxBacktrack bounds the backtracking engine's memory: slots of 8 bytes, so
	// 16 MiB, about PCRE2's default heap limit.
	maxBacktrack = 2 << 20

	invalidPrefix = "Regular expression is invalid: "
)

// Codes of this package's errors.
const (
	codeInvalidPattern mongoerr.Code = 51091
	codeInvalidOption  mongoerr.Code = 51108
	codeMatchFailed    mongoerr.Code = 51156
)

// Reason returns the cause in an invalid-pattern error of Compile, without the
// words that $regex puts before it.
func Reason(err error) string { return strings.TrimPrefix(err.Error(), invalidPrefix) }

// shortcut is a way to match without an engine.
type shortcut byte

const (
	noShortcut shortcut = iota
	contains            // the subject contains literal
	hasPrefix           // it begins with literal
	hasSuffix           // it ends with literal, or with literal and a newline
	equals              // it is literal, or literal and a newline
)

// Regex is a compiled regular expression.
type Regex struct {
	pattern, options string
	tree             *node
	groups           int // capturing groups

	short   shortcut
	literal []byte

	// fast is Go's engine; nil if the tree has no equal there.
	fast *regexp.Regexp
	// newlineMatters: fast is wrong for subjects that end in a newline.
	newlineMatters bool
	// leftMatters: what precedes the start of the search matters to a match.
	leftMatters bool
	// capturesDiffer: fast finds right matches, but perhaps not right captures.
	capturesDiffer bool

	// slow is the backtracking engine, compiled at first need.
	slow func() (*regexp2.Regexp, error)
	keep int // number of the group that records \K, or 0
}

// Compile parses a pattern with options out of "imsxu". Errors are
// *mongoerr.Error: 51108 for an unknown option, 51091 for an invalid pattern.
// Callers check for NUL bytes first where MongoDB refuses them.
func Compile(pattern, options string) (*Regex, error) {
	f, err := parseOptions(options)
	if err != nil {
		return nil, err
	}
	p := newParser(pattern, f)
	tree, err := p.parse()
	if err != nil {
		return nil, mongoerr.New(codeInvalidPattern, "%s%s", invalidPrefix, err.Error())
	}
	r := &Regex{pattern: pattern, options: options, tree: tree, groups: p.groups}
	if p.usesKeep {
		r.keep = p.groups + 1
	}
	r.slow = sync.OnceValues(r.compileSlow)
	r.compileFast(p)
	r.short, r.literal = findShortcut(tree)
	if r.fast == nil {
		if _, err := r.slow(); err != nil {
			return nil, mongoerr.New(codeInvalidPattern, "%s%s", invalidPrefix, err.Error())
		}
	}
	return r, nil
}

func parseOptions(options string) (flags, error) {
	var f flags
	for i := 0; i < len(options); i++ {
		switch options[i] {
		case 'i':
			f |= flagFold
		case 'm':
			f |= flagMultiline
		case 's':
			f |= flagDotAll
		case 'x':
			f |= flagExtended
		case 'u':
		default:
			return 0, mongoerr.New(codeInvalidOption, " invalid flag in regex options: %c", options[i])
		}
	}
	return f, nil
}

func (r *Regex) compileFast(p *parser) {
	var w writer
	if !w.write(r.tree) {
		return
	}
	fast, err := regexp.Compile(w.String())
	if err != nil || fast.NumSubexp() != r.groups {
		return // too large for it
	}
	r.fast = fast
	r.newlineMatters = p.newlineMatters
	r.leftMatters = p.leftMatters
	r.capturesDiffer = capturesDiffer(r.tree)
}

func (r *Regex) compileSlow() (*regexp2.Regexp, error) {
	w := writer{slow: true, keep: r.keep}
	if w.write(r.tree); w.Len() > maxWritten {
		return nil, errTooLarge
	}
	re, err := regexp2.Compile(w.String(), regexp2.OptionMaxBacktrackingStackSize(maxBacktrack))
	if err != nil {
		return nil, err
	}
	re.MatchTimeout = matchTimeout
	return re, nil
}

// Pattern returns the pattern as given to Compile.
func (r *Regex) Pattern() string { return r.pattern }

// Options returns the options as given to Compile.
func (r *Regex) Options() string { return r.options }

// NumGroups returns the number of capturing groups.
func (r *Regex) NumGroups() int { return r.groups }

// MatchBytes says whether the pattern matches anywhere in b. A match that
// exceeds the engine's limits counts as none; Match tells them apart.
func (r *Regex) MatchBytes(b []byte) bool {
	ok, err := r.Match(context.Background(), b)
	return ok && err == nil
}

// Match says whether the pattern matches anywhere in b. The error is a
// *mongoerr.Error if the match needed too much time or memory, or the context's
// if that has a deadline, which came first. The context may be nil.
func (r *Regex) Match(ctx context.Context, b []byte) (bool, error) {
	switch r.short {
	case contains:
		return bytes.Contains(b, r.literal), nil
	case hasPrefix:
		return bytes.HasPrefix(b, r.literal), nil
	case hasSuffix:
		return bytes.HasSuffix(b, r.literal) || bytes.HasSuffix(chomp(b), r.literal), nil
	case equals:
		return bytes.Equal(b, r.literal) || bytes.Equal(chomp(b), r.literal), nil
	}
	if r.fast != nil && !(r.newlineMatters && endsInNewline(b)) {
		return r.fast.Match(b), nil
	}
	slow, err := r.slow()
	if err != nil {
		return false, r.failed(err)
	}
	ok, err := until(ctx, slow).MatchString(view(b))
	if err != nil {
		return false, r.ended(ctx, err)
	}
	return ok, nil
}

// Find returns the first match at or after byte start of s: pairs of byte
// offsets, of the match and then of each group, -1 for groups that took no
// part. It is nil if there is no match.
func (r *Regex) Find(ctx context.Context, s []byte, start int) ([]int, error) {
	if start > len(s) {
		return nil, nil
	}
	if r.short == contains && r.groups == 0 {
		i := bytes.Index(s[start:], r.literal)
		if i < 0 {
			return nil, nil
		}
		return []int{start + i, start + i + len(r.literal)}, nil
	}
	if r.fast != nil && !r.capturesDiffer && !(r.newlineMatters && endsInNewline(s)) && (start == 0 || !r.leftMatters) {
		loc := r.fast.FindSubmatchIndex(s[start:])
		for i := range loc {
			if loc[i] >= 0 {
				loc[i] += start
			}
		}
		return loc, nil
	}
	return r.findSlow(ctx, s, start)
}

func (r *Regex) findSlow(ctx context.Context, s []byte, start int) ([]int, error) {
	slow, err := r.slow()
	if err != nil {
		return nil, r.failed(err)
	}
	m, err := until(ctx, slow).FindStringMatchStartingAt(view(s), start)
	if err != nil {
		return nil, r.ended(ctx, err)
	}
	if m == nil {
		return nil, nil
	}
	loc := make([]int, 0, 2*(r.groups+1))
	at, n := m.ByteRange()
	loc = append(loc, at, at+n)
	for i := 1; i <= r.groups; i++ {
		g := m.GroupByNumber(i)
		if g == nil || len(g.Captures) == 0 {
			loc = append(loc, -1, -1)
			continue
		}
		at, n := g.ByteRange()
		loc = append(loc, at, at+n)
	}
	if r.keep > 0 {
		if g := m.GroupByNumber(r.keep); g != nil && len(g.Captures) > 0 {
			loc[0], _ = g.ByteRange()
		}
	}
	return loc, nil
}

// FindAll returns all matches, as Each counts them.
func (r *Regex) FindAll(ctx context.Context, s []byte) ([][]int, error) {
	var all [][]int
	err := r.Each(ctx, s, func(loc []int) error {
		all = append(all, loc)
		return nil
	})
	return all, err
}

// Each calls f for each match as $regexFindAll counts them, until it fails: the
// next search begins where the last match ended, one character on if it was empty,
// and none begins at the end of a subject that is not empty.
func (r *Regex) Each(ctx context.Context, s []byte, f func(loc []int) error) error {
	for start := 0; ; {
		loc, err := r.Find(ctx, s, start)
		if err != nil || loc == nil {
			return err
		}
		if err := f(loc); err != nil {
			return err
		}
		start = max(start, loc[1])
		if loc[0] >= loc[1] {
			_, n := utf8.DecodeRune(s[start:])
			start += n
		}
		if start >= len(s) {
			return nil
		}
	}
}

// until is the backtracking engine, with less time if the context has less left.
func until(ctx context.Context, re *regexp2.Regexp) *regexp2.Regexp {
	left, ok := timeLeft(ctx)
	if !ok || left >= re.MatchTimeout {
		return re
	}
	// A copy shares the program and the pool of machines.
	limited := *re
	limited.MatchTimeout = max(left, time.Millisecond)
	return &limited
}

func timeLeft(ctx context.Context) (left time.Duration, ok bool) {
	if ctx == nil {
		return 0, false
	}
	deadline, ok := ctx.Deadline()
	return time.Until(deadline), ok
}

// earlyTimeout is by how much the engine's clock, which is coarse, may be ahead.
const earlyTimeout = 200 * time.Millisecond

// ended is the error of a match that did not end by itself.
func (r *Regex) ended(ctx context.Context, err error) error {
	left, ok := timeLeft(ctx)
	switch {
	case !ok || errors.Is(err, regexp2.ErrBacktrackingStackLimit):
	case ctx.Err() != nil:
		return ctx.Err()
	case left < earlyTimeout:
		return context.DeadlineExceeded
	}
	return r.failed(err)
}

// PCRE2's result codes.
const (
	resultMatchLimit = -47
	resultHeapLimit  = -63
)

func (r *Regex) failed(err error) error {
	result := resultMatchLimit
	if errors.Is(err, regexp2.ErrBacktrackingStackLimit) {
		result = resultHeapLimit
	}
	return mongoerr.New(codeMatchFailed,
		"Error occurred while executing the regular expression. Result code: %d", result)
}

func endsInNewline(b []byte) bool { return len(b) > 0 && b[len(b)-1] == '\n' }

// chomp cuts one newline off the end.
func chomp(b []byte) []byte {
	if endsInNewline(b) {
		return b[:len(b)-1]
	}
	return b
}

// view is b as a string, without copying: the engines keep no part of it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
