package regex

import (
	"strconv"
	"strings"
	"unicode"
)

// escape reads an item that begins with a backslash, outside classes.
func (p *parser) escape() (*node, error) {
	if p.pos >= len(p.s) {
		return nil, errTrailingBackslash
	}
	c := p.s[p.pos]
	switch c {
	case 'Q':
		p.pos++
		p.quoting = true
		return nil, nil
	case 'A':
		p.pos++
		p.leftMatters = true
		return &node{op: opBegin}, nil
	case 'Z':
		p.pos++
		p.newlineMatters = true
		return &node{op: opEndNewline}, nil
	case 'z':
		p.pos++
		return &node{op: opEnd}, nil
	case 'G':
		p.pos++
		return &node{op: opSearchStart}, nil
	case 'K':
		p.pos++
		p.usesKeep = true
		return &node{op: opKeep}, nil
	case 'b', 'B':
		p.pos++
		p.leftMatters = true
		n := &node{op: opWord, negative: c == 'B'}
		if p.ucp {
			n.word = ucpWordSet()
		}
		return n, nil
	case 'R':
		p.pos++
		return &node{op: opNewlines}, nil
	case 'X':
		p.pos++
		return &node{op: opGrapheme}, nil
	case 'N':
		if strings.HasPrefix(p.s[p.pos:], "N{U+") {
			break
		}
		p.pos++
		return &node{op: opClass, set: newlineSet.negate()}, nil
	case 'C':
		return nil, errBackslashC
	case 'g':
		p.pos++
		return p.groupReference()
	case 'k':
		p.pos++
		return p.namedReference()
	case 'p', 'P':
		p.pos++
		set, err := p.property(c == 'P')
		return &node{op: opClass, set: set}, err
	}
	if set, ok := escapeSet(c, p.ucp); ok {
		p.pos++
		return &node{op: opClass, set: set}, nil
	}
	if c >= '1' && c <= '9' {
		if n, end, _ := p.number(p.pos); n < 10 || c >= '8' || n <= p.groups {
			p.pos = end
			return p.backref(n), nil
		}
	}
	r, err := p.charEscape()
	if err != nil {
		return nil, err
	}
	return p.literal(r), nil
}

func (p *parser) backref(n int) *node {
	r := &node{op: opBackref, n: n, fold: p.has(flagFold)}
	p.refs = append(p.refs, r)
	return r
}

func (p *parser) backrefByName(name string) *node {
	r := &node{op: opBackref, fold: p.has(flagFold)}
	p.byName = append(p.byName, namedRef{r, name})
	return r
}

// opening takes what a reference in braces, angle brackets or quotes begins with
// and returns what it ends with; 0 if there is none.
func (p *parser) opening() byte {
	switch {
	case p.take("{"):
		return '}'
	case p.take("<"):
		return '>'
	case p.take("'"):
		return '\''
	}
	return 0
}

// groupReference reads what follows \g: a back-reference in braces or plain, a
// subroutine call in angle brackets or quotes.
func (p *parser) groupReference() (*node, error) {
	end := p.opening()
	sign := byte(0)
	if p.take("-") {
		sign = '-'
	} else if p.take("+") {
		sign = '+'
	}
	n, after, ok := p.number(p.pos)
	if !ok {
		if end == 0 || sign != 0 {
			return nil, errBackslashGSyntax
		}
		name, err := p.name(end)
		if err != nil {
			return nil, err
		}
		if end == '}' {
			return p.backrefByName(name), nil
		}
		return p.callByName(name), nil
	}
	p.pos = after
	if end != 0 && !p.take(string(end)) {
		return nil, errBackslashGSyntax
	}
	switch {
	case sign == '-':
		n = p.groups - n + 1
	case sign == '+':
		n += p.groups
	}
	if n < 0 || sign == '-' && n == 0 {
		return nil, errMissingGroup
	}
	if end == '>' || end == '\'' {
		return p.call(n), nil
	}
	if n == 0 {
		return nil, errBackslashG
	}
	return p.backref(n), nil
}

func (p *parser) namedReference() (*node, error) {
	end := p.opening()
	if end == 0 {
		return nil, errBackslashK
	}
	name, err := p.name(end)
	if err != nil {
		return nil, err
	}
	return p.backrefByName(name), nil
}

// charEscape reads an escape that stands for one code point, after its
// backslash.
func (p *parser) charEscape() (rune, error) {
	c := p.s[p.pos]
	switch c {
	case 'a':
		p.pos++
		return 0x07, nil
	case 'e':
		p.pos++
		return 0x1B, nil
	case 'f':
		p.pos++
		return '\f', nil
	case 'n':
		p.pos++
		return '\n', nil
	case 'r':
		p.pos++
		return '\r', nil
	case 't':
		p.pos++
		return '\t', nil
	case 'c':
		if p.pos+1 >= len(p.s) {
			return 0, errControl
		}
		x := p.s[p.pos+1]
		if x < ' ' || x > '~' {
			return 0, errUnknownEscape
		}
		p.pos += 2
		if x >= 'a' && x <= 'z' {
			x -= 'a' - 'A'
		}
		return rune(x ^ 0x40), nil
	case 'x':
		p.pos++
		return p.hexEscape()
	case 'N':
		p.pos += len("N{U+")
		return p.braced(16, errHex)
	case 'o':
		p.pos++
		if !p.take("{") {
			return 0, errOctal
		}
		return p.braced(8, errOctal)
	case '0', '1', '2', '3', '4', '5', '6', '7':
		most := 3
		n := rune(0)
		for ; most > 0 && p.pos < len(p.s) && p.s[p.pos] >= '0' && p.s[p.pos] <= '7'; most-- {
			n = n*8 + rune(p.s[p.pos]-'0')
			p.pos++
		}
		return n, nil
	}
	r := p.char()
	if r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
		return 0, errUnknownEscape
	}
	return r, nil
}

func (p *parser) hexEscape() (rune, error) {
	if p.take("{") {
		return p.braced(16, errHex)
	}
	n, digits := rune(0), 0
	for digits < 2 && p.pos < len(p.s) {
		d := strings.IndexByte("0123456789abcdefABCDEF", p.s[p.pos])
		if d < 0 {
			break
		}
		if d > 15 {
			d -= 6
		}
		n = n*16 + rune(d)
		p.pos++
		digits++
	}
	return n, nil
}

// braced reads digits and a closing brace.
func (p *parser) braced(base int, syntax error) (rune, error) {
	end := strings.IndexByte(p.s[p.pos:], '}')
	if end <= 0 {
		return 0, syntax
	}
	n, err := strconv.ParseUint(p.s[p.pos:p.pos+end], base, 64)
	switch {
	case err != nil && strings.Contains(err.Error(), strconv.ErrRange.Error()):
		return 0, errCodePoint
	case err != nil:
		return 0, syntax
	case n > unicode.MaxRune:
		return 0, errCodePoint
	case isSurrogate(rune(n)):
		return 0, errSurrogate
	}
	p.pos += end + 1
	return rune(n), nil
}

// property reads what follows \p or \P.
func (p *parser) property(negated bool) (runeSet, error) {
	if p.pos >= len(p.s) {
		return nil, errPropertySyntax
	}
	name := p.s[p.pos : p.pos+1]
	if p.take("{") {
		end := strings.IndexByte(p.s[p.pos:], '}')
		if end < 0 {
			return nil, errPropertySyntax
		}
		name = p.s[p.pos : p.pos+end]
		p.pos += end + 1
		if strings.HasPrefix(name, "^") {
			negated, name = !negated, name[1:]
		}
	} else {
		p.pos++
	}
	set, ok := propertySet(name, p.has(flagFold))
	if !ok {
		return nil, errProperty
	}
	if negated {
		set = set.negate()
	}
	return set, nil
}

// propertySet finds a Unicode property: a category, script, or one of PCRE2's
// own. Case, spaces, hyphens and underscores in names do not matter.
func propertySet(name string, fold bool) (runeSet, bool) {
	loose := looseName(name)
	switch loose {
	case "any":
		return runeSet(nil).negate(), true
	case "l&", "lc":
		return tableSet(unicode.Lu, unicode.Ll, unicode.Lt), true
	case "lu", "ll", "lt":
		if fold {
			return tableSet(unicode.Lu, unicode.Ll, unicode.Lt), true
		}
	case "xan":
		return tableSet(unicode.L, unicode.N), true
	case "xsp", "xps":
		return ucpSpaceSet(), true
	case "xwd":
		return ucpWordSet(), true
	case "xuc":
		return union(rangeSet('$', '$', '@', '@', '`', '`', 0xA0, 0xD7FF, 0xE000, unicode.MaxRune)), true
	case "cn":
		var all runeSet
		for _, t := range unicode.Categories {
			all = append(all, tableSet(t)...)
		}
		return all.normalize().negate(), true
	}
	for _, prefix := range []string{"script:", "script=", "sc:", "sc=", "scriptextensions:", "scriptextensions=", "scx:", "scx="} {
		if rest, ok := strings.CutPrefix(loose, prefix); ok {
			return findTable(unicode.Scripts, rest)
		}
	}
	for _, tables := range []map[string]*unicode.RangeTable{unicode.Categories, unicode.Scripts, unicode.Properties} {
		if set, ok := findTable(tables, loose); ok {
			return set, true
		}
	}
	return nil, false
}

func findTable(tables map[string]*unicode.RangeTable, loose string) (runeSet, bool) {
	for name, t := range tables {
		if looseName(name) == loose {
			return tableSet(t), true
		}
	}
	return nil, false
}

func looseName(s string) string {
	return strings.NewReplacer(" ", "", "_", "", "-", "").Replace(strings.ToLower(s))
}
