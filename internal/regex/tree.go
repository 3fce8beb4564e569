package regex

// op is the kind of a node.
type op byte

const (
	opEmpty       op = iota
	opLiteral        // runes, one or more, in order
	opClass          // one code point of set
	opConcat         // subs in order
	opAlternate      // one of subs, the first that leads to a match
	opRepeat         // subs[0], min to max times
	opGroup          // subs[0]
	opCapture        // subs[0], recorded as group n
	opAtomic         // subs[0], without going back into it
	opLook           // subs[0] matches here, ahead or behind, or not
	opBackref        // the text of group n again
	opCond           // subs[0] if the condition holds, else subs[1]
	opBegin          // start of the subject
	opBeginLine      // start of the subject, and after newlines that do not end it
	opEnd            // end of the subject
	opEndNewline     // end of the subject, or before a newline that ends it
	opEndLine        // end of the subject, and before newlines
	opSearchStart    // where the search began: \G
	opWord           // word boundary, or none if negative
	opNewlines       // any newline sequence: \R
	opGrapheme       // \X
	opKeep           // the match is said to begin here: \K
	opFail
	opCall // group n again as a subroutine; replaced by its content when parsed
)

// quantifier kinds.
const (
	greedy byte = iota
	lazy
	possessive
)

const unlimited = -1

// node is one node of a pattern's tree. Nodes are not changed once parsed.
type node struct {
	op       op
	subs     []*node
	runes    []rune
	set      runeSet
	n        int // group number; opCond: 0 if the condition is look
	min, max int
	kind     byte // opRepeat: greedy, lazy, possessive
	fold     bool // opLiteral, opBackref: regardless of case
	negative bool // opLook, opWord
	behind   bool // opLook
	look     *node
	word     runeSet // opWord: the word characters, nil for ASCII
}

// nullable says whether the node can match the empty string (true in doubt).
func (n *node) nullable() bool {
	switch n.op {
	case opLiteral, opClass, opNewlines, opGrapheme, opFail:
		return false
	case opConcat:
		for _, s := range n.subs {
			if !s.nullable() {
				return false
			}
		}
		return true
	case opAlternate, opCond:
		for _, s := range n.subs {
			if s.nullable() {
				return true
			}
		}
		return false
	case opRepeat:
		return n.min == 0 || n.subs[0].nullable()
	case opGroup, opCapture, opAtomic:
		return n.subs[0].nullable()
	}
	return true
}

// fixedLength returns the number of characters that n always matches; ok is
// false if that varies. It is PCRE2's rule for look-behind.
func (n *node) fixedLength() (length int, ok bool) {
	switch n.op {
	case opLiteral:
		return len(n.runes), true
	case opClass:
		return 1, true
	case opConcat:
		for _, s := range n.subs {
			l, ok := s.fixedLength()
			if !ok {
				return 0, false
			}
			length += l
		}
		return length, true
	case opAlternate, opCond:
		for i, s := range n.subs {
			l, ok := s.fixedLength()
			if !ok || i > 0 && l != length {
				return 0, false
			}
			length = l
		}
		return length, true
	case opRepeat:
		l, ok := n.subs[0].fixedLength()
		return l * n.min, ok && n.min == n.max
	case opGroup, opCapture, opAtomic:
		return n.subs[0].fixedLength()
	case opBackref, opNewlines, opGrapheme, opCall:
		return 0, false
	}
	return 0, true
}

// behindOK says whether n may stand in a look-behind: each of its alternatives
// has a fixed length.
func (n *node) behindOK() bool {
	if n.op == opAlternate {
		for _, s := range n.subs {
			if _, ok := s.fixedLength(); !ok {
				return false
			}
		}
		return true
	}
	_, ok := n.fixedLength()
	return ok
}

// capturesDiffer says whether the engines may disagree on captures: they do
// when a group is repeated whose repetition can be empty.
func capturesDiffer(n *node) bool {
	if n.op == opRepeat && n.subs[0].nullable() && n.subs[0].captures() {
		return true
	}
	for _, s := range n.subs {
		if capturesDiffer(s) {
			return true
		}
	}
	return false
}

func (n *node) captures() bool {
	if n.op == opCapture {
		return true
	}
	for _, s := range n.subs {
		if s.captures() {
			return true
		}
	}
	return false
}

// sequence returns the parts of a node in order, looking through groups that
// do not matter.
func (n *node) sequence() []*node {
	switch n.op {
	case opConcat:
		return n.subs
	case opGroup:
		return n.subs[0].sequence()
	case opEmpty:
		return nil
	}
	return []*node{n}
}

// findShortcut recognises patterns that are a literal, perhaps anchored.
func findShortcut(tree *node) (shortcut, []byte) {
	seq := tree.sequence()
	var begin, end bool
	if len(seq) > 0 && seq[0].op == opBegin {
		begin, seq = true, seq[1:]
	}
	if len(seq) > 0 && seq[len(seq)-1].op == opEndNewline {
		end, seq = true, seq[:len(seq)-1]
	}
	var literal []byte
	for _, s := range seq {
		if s.op != opLiteral || s.fold {
			return noShortcut, nil
		}
		literal = append(literal, string(s.runes)...)
	}
	switch {
	case begin && end:
		return equals, literal
	case begin:
		return hasPrefix, literal
	case end:
		return hasSuffix, literal
	}
	return contains, literal
}

// LiteralPrefix returns a string that every match's subject begins with, for
// the bounds of an index scan; it is empty if there is none. exact says that all
// subjects that begin with it match. Only patterns anchored at the start of the
// subject that continue with case-sensitive literals have a prefix.
func (r *Regex) LiteralPrefix() (prefix string, exact bool) {
	seq := r.tree.sequence()
	if len(seq) == 0 || seq[0].op != opBegin {
		return "", false
	}
	seq = seq[1:]
	var b []byte
	for len(seq) > 0 && seq[0].op == opLiteral && !seq[0].fold {
		b = append(b, string(seq[0].runes)...)
		seq = seq[1:]
	}
	for _, s := range seq {
		if s.op != opRepeat || s.min != 0 || s.kind == possessive || s.subs[0].op != opClass {
			return string(b), false
		}
	}
	return string(b), true
}

// Literal returns the longest string that occurs in every subject that matches,
// as far as the pattern shows it at its top level; it is empty if there is none.
func (r *Regex) Literal() string {
	longest, run := "", ""
	for _, s := range r.tree.sequence() {
		if s.op != opLiteral || s.fold {
			run = ""
			continue
		}
		if run += string(s.runes); len(run) > len(longest) {
			longest = run
		}
	}
	return longest
}
