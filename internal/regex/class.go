package regex

import "strings"

// class reads a character class, its "[" already read.
func (p *parser) class() (*node, error) {
	if name, ok := posixAt(p.s, p.pos-1); ok {
		if name[0] == ':' {
			return nil, errPosixOutside
		}
		return nil, errPosixCollating
	}
	negated := p.take("^")
	c := classParser{parser: p}
	for first := true; ; first = false {
		if p.pos >= len(p.s) {
			return nil, errClassUnterminated
		}
		if p.s[p.pos] == ']' && !first && !c.quoting {
			p.pos++
			break
		}
		if err := c.member(); err != nil {
			return nil, err
		}
	}
	set := c.folding.normalize()
	if p.has(flagFold) {
		set = set.foldCase()
	}
	set = union(set, c.fixed)
	if negated {
		set = set.negate()
	}
	return &node{op: opClass, set: set}, nil
}

// classParser collects the members of a class.
type classParser struct {
	*parser
	folding runeSet // characters and ranges, which the i option folds
	fixed   runeSet // escapes and POSIX classes, which it does not
	quoting bool    // between \Q and \E
}

// member reads one character, range, escape or POSIX class.
func (c *classParser) member() error {
	if name, ok := posixAt(c.s, c.pos); ok && !c.quoting {
		return c.posix(name)
	}
	first, isChar, err := c.char()
	if err != nil || !isChar && !c.rangeFollows() {
		return err
	}
	if !c.rangeFollows() {
		c.folding = c.folding.add(first, first)
		return nil
	}
	if !isChar {
		if c.skipped() {
			return nil
		}
		return errClassRange
	}
	c.pos++ // the hyphen
	if name, ok := posixAt(c.s, c.pos); ok && name != "" {
		return errClassRange
	}
	last, isChar, err := c.char()
	for err == nil && !isChar && c.skipped() {
		last, isChar, err = c.char()
	}
	switch {
	case err != nil:
		return err
	case !isChar:
		return errClassRange
	case last < first:
		return errClassOrder
	}
	c.folding = c.folding.add(first, last)
	return nil
}

// skipped says whether what was just read was no member at all: \Q, \E, or a
// blank under the xx option.
func (c *classParser) skipped() bool {
	before := c.s[:c.pos]
	return strings.HasSuffix(before, `\E`) || strings.HasSuffix(before, `\Q`) ||
		c.has(flagExtendedMore) && (strings.HasSuffix(before, " ") || strings.HasSuffix(before, "\t"))
}

// rangeFollows says whether a hyphen follows that makes a range: not the last
// character of the class.
func (c *classParser) rangeFollows() bool {
	return !c.quoting && c.pos+1 < len(c.s) && c.s[c.pos] == '-' && c.s[c.pos+1] != ']'
}

// char reads one character, and then isChar is true, or a whole set, which it
// adds.
func (c *classParser) char() (r rune, isChar bool, err error) {
	if c.pos >= len(c.s) {
		return 0, false, errClassUnterminated
	}
	if c.quoting {
		if c.take(`\E`) {
			c.quoting = false
			return 0, false, nil
		}
		return c.parser.char(), true, nil
	}
	if c.s[c.pos] != '\\' {
		r := c.parser.char()
		blank := c.has(flagExtendedMore) && (r == ' ' || r == '\t')
		return r, !blank, nil
	}
	c.pos++
	if c.pos >= len(c.s) {
		return 0, false, errTrailingBackslash
	}
	switch e := c.s[c.pos]; e {
	case 'Q':
		c.pos++
		c.quoting = true
		return 0, false, nil
	case 'E':
		c.pos++
		return 0, false, nil
	case 'b':
		c.pos++
		return '\b', true, nil
	case 'B', 'R', 'X':
		return 0, false, errClassEscape
	case 'N':
		if !strings.HasPrefix(c.s[c.pos:], "N{U+") {
			return 0, false, errClassEscape
		}
	case 'p', 'P':
		c.pos++
		set, err := c.property(e == 'P')
		c.fixed = append(c.fixed, set...)
		return 0, false, err
	default:
		if set, ok := escapeSet(e, c.ucp); ok {
			c.pos++
			c.fixed = append(c.fixed, set...)
			return 0, false, nil
		}
	}
	r, err = c.charEscape()
	return r, err == nil, err
}

// posix reads [:name:] or refuses [.name.] and [=name=].
func (c *classParser) posix(name string) error {
	if name[0] != ':' {
		return errPosixCollating
	}
	c.pos += len(name) + 2
	name = name[1 : len(name)-1]
	name, negated := strings.CutPrefix(name, "^")
	if c.has(flagFold) && (name == "lower" || name == "upper") {
		name = "alpha"
	}
	set, ok := posixSet(name, c.ucp)
	if !ok {
		return errPosixName
	}
	if negated {
		set = set.negate()
	}
	c.fixed = append(c.fixed, set...)
	if c.rangeFollows() {
		return errClassRange
	}
	return nil
}

// posixAt finds [:name:], [.name.] or [=name=] at pos and returns what is
// between the brackets.
func posixAt(s string, pos int) (string, bool) {
	if pos+1 >= len(s) || s[pos] != '[' {
		return "", false
	}
	mark := s[pos+1]
	if mark != ':' && mark != '.' && mark != '=' {
		return "", false
	}
	for i := pos + 2; i+1 < len(s); i++ {
		switch {
		case s[i] == mark && s[i+1] == ']':
			return s[pos+1 : i+1], true
		case s[i] == ']' || s[i] == '\\' || s[i] == '[':
			return "", false
		}
	}
	return "", false
}
