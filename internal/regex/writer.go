package regex

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// maxWritten bounds the text of a pattern as written for an engine, where
// classes are spelled out. 4 MiB.
const maxWritten = 4 << 20

// writer writes a tree in the syntax of an engine: Go's, or regexp2's if slow.
type writer struct {
	strings.Builder
	slow bool
	keep int
}

// write appends the node; false says that Go's engine has no equal for it.
func (w *writer) write(n *node) bool {
	if w.Len() > maxWritten {
		return false
	}
	switch n.op {
	case opEmpty:
		w.WriteString("(?:)")
	case opLiteral:
		w.literal(n)
	case opClass:
		w.class(n.set)
	case opConcat:
		for _, s := range n.subs {
			if !w.write(s) {
				return false
			}
		}
	case opAlternate:
		return w.wrap("(?:", n.subs, "|", ")")
	case opRepeat:
		return w.repeat(n)
	case opGroup:
		return w.wrap("(?:", n.subs, "", ")")
	case opCapture:
		open := "("
		if w.slow {
			open = fmt.Sprintf("(?<%d>", n.n)
		}
		return w.wrap(open, n.subs, "", ")")
	case opBegin:
		w.WriteString(`\A`)
	case opEnd:
		w.WriteString(`\z`)
	case opEndNewline:
		w.either(`\z`, `\Z`)
	case opEndLine:
		w.WriteString(`(?m:$)`)
	case opBeginLine:
		w.either(`(?m:^)`, `(?:\A|(?<=\n)(?!\z))`)
	case opWord:
		return w.word(n)
	default:
		return w.slow && w.slowOnly(n)
	}
	return true
}

// slowOnly writes what only the backtracking engine knows.
func (w *writer) slowOnly(n *node) bool {
	switch n.op {
	case opAtomic:
		w.wrap("(?>", n.subs, "", ")")
	case opLook:
		w.look(n)
	case opBackref:
		if n.fold {
			fmt.Fprintf(w, `(?i:\k<%d>)`, n.n)
		} else {
			fmt.Fprintf(w, `\k<%d>`, n.n)
		}
	case opCond:
		if n.look != nil {
			w.WriteString("(?")
			w.look(n.look)
		} else {
			fmt.Fprintf(w, "(?(%d)", n.n)
		}
		w.write(n.subs[0])
		w.WriteByte('|')
		w.write(n.subs[1])
		w.WriteByte(')')
	case opSearchStart:
		w.WriteString(`\G`)
	case opNewlines:
		w.WriteString(`(?>\r\n|[\n-\r\u0085\u2028\u2029])`)
	case opGrapheme:
		w.WriteString(`\X`)
	case opKeep:
		fmt.Fprintf(w, "(?<%d>)", w.keep)
	case opFail:
		w.WriteString("(?!)")
	}
	return true
}

func (w *writer) either(fast, slow string) {
	if w.slow {
		w.WriteString(slow)
	} else {
		w.WriteString(fast)
	}
}

func (w *writer) wrap(open string, subs []*node, between, end string) bool {
	w.WriteString(open)
	for i, s := range subs {
		if i > 0 {
			w.WriteString(between)
		}
		if !w.write(s) {
			return false
		}
	}
	w.WriteString(end)
	return true
}

func (w *writer) literal(n *node) {
	s := regexp.QuoteMeta(string(n.runes))
	if n.fold {
		w.WriteString("(?i:" + s + ")")
	} else {
		w.WriteString(s)
	}
}

func (w *writer) look(n *node) {
	open := "(?"
	if n.behind {
		open += "<"
	}
	if n.negative {
		open += "!"
	} else {
		open += "="
	}
	w.wrap(open, n.subs, "", ")")
}

func (w *writer) repeat(n *node) bool {
	open, end := "(?:", ")"
	if n.kind == possessive {
		if !w.slow {
			return false
		}
		open, end = "(?>(?:", "))"
	}
	sub := n.subs[0]
	single := sub.op == opClass || sub.op == opCapture || sub.op == opLiteral && len(sub.runes) == 1
	switch {
	case n.kind == possessive:
		w.WriteString(open)
	case !single:
		w.WriteString("(?:")
	}
	if !w.write(sub) {
		return false
	}
	if !single || n.kind == possessive {
		w.WriteByte(')')
	}
	switch {
	case n.min == 0 && n.max == unlimited:
		w.WriteByte('*')
	case n.min == 1 && n.max == unlimited:
		w.WriteByte('+')
	case n.min == 0 && n.max == 1:
		w.WriteByte('?')
	case n.max == unlimited:
		w.WriteString("{" + strconv.Itoa(n.min) + ",}")
	case n.min == n.max:
		w.WriteString("{" + strconv.Itoa(n.min) + "}")
	default:
		w.WriteString("{" + strconv.Itoa(n.min) + "," + strconv.Itoa(n.max) + "}")
	}
	switch n.kind {
	case lazy:
		w.WriteByte('?')
	case possessive:
		w.WriteString(end[:1])
	}
	return true
}

// word writes a word boundary. Go's \b is ASCII's; regexp2's is .NET's.
func (w *writer) word(n *node) bool {
	if !w.slow {
		if n.negative {
			w.WriteString(`\B`)
		} else {
			w.WriteString(`\b`)
		}
		return n.word == nil
	}
	set := n.word
	if set == nil {
		set = wordSet
	}
	var c writer
	c.slow = true
	c.class(set)
	s := c.String()
	if n.negative {
		fmt.Fprintf(w, "(?:(?<=%s)(?=%s)|(?<!%s)(?!%s))", s, s, s, s)
	} else {
		fmt.Fprintf(w, "(?:(?<=%s)(?!%s)|(?<!%s)(?=%s))", s, s, s, s)
	}
	return true
}

func (w *writer) class(set runeSet) {
	negated := set.negate()
	switch {
	case len(set) == 0:
		w.either(`[^\x00-\x{10FFFF}]`, `(?!)`)
		return
	case len(negated) == 0:
		w.WriteString(`(?s:.)`)
		return
	case len(negated) < len(set):
		w.WriteString("[^")
		set = negated
	default:
		w.WriteByte('[')
	}
	for i := 0; i < len(set); i += 2 {
		first, last := set[i], set[i+1]
		if isSurrogate(first) {
			first = 0xE000
		}
		if isSurrogate(last) {
			last = 0xD7FF
		}
		if first > last {
			continue
		}
		w.classRune(first)
		if last > first {
			w.WriteByte('-')
			w.classRune(last)
		}
	}
	w.WriteByte(']')
}

func isSurrogate(r rune) bool { return r >= 0xD800 && r <= 0xDFFF }

func (w *writer) classRune(r rune) {
	if r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
		w.WriteRune(r)
		return
	}
	fmt.Fprintf(w, `\x{%X}`, r)
}
