package regex

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// flags are the options that a pattern can set and clear on its way.
type flags uint16

const (
	flagFold flags = 1 << iota
	flagMultiline
	flagDotAll
	flagExtended
	flagExtendedMore
	flagNoCapture
	flagUngreedy
	flagDupNames
)

// Limits of PCRE2.
const (
	maxNesting = 250
	maxRepeat  = 65535
	maxGroups  = 65535
	maxName    = 32
	// maxInlined bounds the nodes that subroutine calls are replaced with.
	maxInlined = 20000
)

// PCRE2's messages.
var (
	errTrailingBackslash = errors.New(`\ at end of pattern`)
	errUnknownEscape     = errors.New(`unrecognized character follows \`)
	errQuantifierOrder   = errors.New("numbers out of order in {} quantifier")
	errQuantifierTooBig  = errors.New("number too big in {} quantifier")
	errClassUnterminated = errors.New("missing terminating ] for character class")
	errClassEscape       = errors.New("escape sequence is invalid in character class")
	errClassOrder        = errors.New("range out of order in character class")
	errClassRange        = errors.New("invalid range in character class")
	errNothingToRepeat   = errors.New("quantifier does not follow a repeatable item")
	errAfterParen        = errors.New("unrecognized character after (? or (?-")
	errPosixOutside      = errors.New("POSIX named classes are supported only within a class")
	errPosixCollating    = errors.New("POSIX collating elements are not supported")
	errPosixName         = errors.New("unknown POSIX class name")
	errMissingParen      = errors.New("missing closing parenthesis")
	errUnmatchedParen    = errors.New("unmatched closing parenthesis")
	errMissingGroup      = errors.New("reference to non-existent subpattern")
	errComment           = errors.New("missing ) after (?# comment")
	errTooDeep           = errors.New("parentheses are too deeply nested")
	errLookbehind        = errors.New("lookbehind assertion is not fixed length")
	errCodePoint         = errors.New(`character code point value in \x{} or \o{} is too large`)
	errSurrogate         = errors.New("disallowed Unicode code point (>= 0xd800 && <= 0xdfff)")
	errHex               = errors.New(`non-hex character in \x{} (closing brace missing?)`)
	errOctal             = errors.New(`non-octal character in \o{} (closing brace missing?)`)
	errName              = errors.New("syntax error in subpattern name (missing terminator?)")
	errNameExpected      = errors.New("subpattern name expected")
	errNameTooLong       = errors.New("subpattern name is too long (maximum 32 code units)")
	errDuplicateName     = errors.New("two named subpatterns have the same name (PCRE2_DUPNAMES not set)")
	errProperty          = errors.New(`unknown property after \P or \p`)
	errPropertySyntax    = errors.New(`malformed \P or \p sequence`)
	errVerb              = errors.New("(*VERB) not recognized or malformed")
	errCondition         = errors.New("malformed number or name after (?(")
	errConditionBranches = errors.New("conditional subpattern contains more than two branches")
	errTooLong           = errors.New("pattern string is longer than the limit set by the application")
	errTooManyGroups     = errors.New("too many capturing groups (maximum 65535)")
	errBadUTF8           = errors.New("UTF-8 error: illegal byte")
	errBackslashG        = errors.New(`a numbered reference must not be zero`)
	errBackslashGSyntax  = errors.New(`\g is not followed by a braced, angle-bracketed, or quoted name/number or by a plain number`)
	errBackslashK        = errors.New(`\k is not followed by a braced, angle-bracketed, or quoted name`)
	errBackslashC        = errors.New(`using \C is disabled by the application`)
	errControl           = errors.New(`\c at end of pattern`)
	errTooLarge          = errors.New("regular expression is too large")

	// Not PCRE2's: what this package refuses.
	errRecursion = errors.New("recursion is not supported")
	errCallout   = errors.New("callouts are not supported")
	errNewline   = errors.New("newline conventions other than (*LF) are not supported")
	errBacktrack = errors.New("backtracking control verbs are not supported")
)

// parser reads a pattern into a tree.
type parser struct {
	s     string
	pos   int
	flags flags
	ucp   bool
	depth int

	quoting bool // between \Q and \E

	groups  int              // capturing groups opened so far
	names   map[string][]int // group numbers by name
	bodies  map[int]*node    // content of finished groups
	refs    []*node          // back-references and conditions, by number
	byName  []namedRef       // those by name, resolved at the end
	calls   []*node          // subroutine calls, replaced at the end
	inlined int

	newlineMatters, leftMatters, usesKeep bool
}

type namedRef struct {
	node *node
	name string
}

func newParser(pattern string, f flags) *parser {
	return &parser{s: pattern, flags: f, names: map[string][]int{}, bodies: map[int]*node{}}
}

func (p *parser) parse() (*node, error) {
	if len(p.s) > MaxPatternBytes {
		return nil, errTooLong
	}
	if !utf8.ValidString(p.s) {
		return nil, errBadUTF8
	}
	if err := p.startOptions(); err != nil {
		return nil, err
	}
	tree, err := p.alternation()
	if err != nil {
		return nil, err
	}
	if p.pos < len(p.s) {
		return nil, errUnmatchedParen
	}
	return tree, p.resolve(tree)
}

// startOptions reads (*UTF) and its like at the very start.
func (p *parser) startOptions() error {
	for strings.HasPrefix(p.s[p.pos:], "(*") {
		end := strings.IndexByte(p.s[p.pos:], ')')
		if end < 0 {
			return nil
		}
		name, _, _ := strings.Cut(p.s[p.pos+2:p.pos+end], "=")
		switch name {
		case "UTF", "UTF8", "LF", "BSR_UNICODE", "NO_AUTO_POSSESS", "NO_DOTSTAR_ANCHOR", "NO_JIT", "NO_START_OPT",
			"LIMIT_MATCH", "LIMIT_DEPTH", "LIMIT_HEAP", "LIMIT_RECURSION":
		case "UCP":
			p.ucp = true
		case "CR", "CRLF", "ANYCRLF", "ANY", "NUL", "BSR_ANYCRLF", "NOTEMPTY", "NOTEMPTY_ATSTART":
			return errNewline
		default:
			return nil
		}
		p.pos += end + 1
	}
	return nil
}

// resolve gives named references their numbers and replaces subroutine calls by
// the groups they name.
func (p *parser) resolve(tree *node) error {
	for _, r := range p.byName {
		numbers := p.names[r.name]
		if len(numbers) == 0 {
			return errMissingGroup
		}
		r.node.n = numbers[0]
	}
	for _, r := range p.refs {
		if r.n > p.groups {
			return errMissingGroup
		}
	}
	if len(p.calls) == 0 {
		return nil
	}
	for _, c := range p.calls {
		if c.n == 0 {
			return errRecursion
		}
		if c.n > p.groups || p.bodies[c.n] == nil {
			return errMissingGroup
		}
	}
	return p.inline(tree, map[int]bool{})
}

// inline replaces the calls below n; open are the groups it lies in.
func (p *parser) inline(n *node, open map[int]bool) error {
	if p.inlined++; p.inlined > maxInlined {
		return errTooLarge
	}
	if n.op == opCall {
		if open[n.n] {
			return errRecursion
		}
		called := n.n
		*n = node{op: opGroup, subs: []*node{uncaptured(p.bodies[called])}}
		open[called] = true
		defer delete(open, called)
	} else if n.op == opCapture && !open[n.n] {
		open[n.n] = true
		defer delete(open, n.n)
	}
	for _, s := range n.subs {
		if err := p.inline(s, open); err != nil {
			return err
		}
	}
	if n.look != nil {
		return p.inline(n.look, open)
	}
	return nil
}

// uncaptured is a copy of n with plain groups for capturing ones.
func uncaptured(n *node) *node {
	c := *n
	if c.op == opCapture {
		c.op = opGroup
	}
	c.subs = make([]*node, len(n.subs))
	for i, s := range n.subs {
		c.subs[i] = uncaptured(s)
	}
	return &c
}

// alternation reads up to a closing parenthesis or the end. Options set inside
// hold to its end.
func (p *parser) alternation() (*node, error) {
	var branches []*node
	for {
		b, err := p.branch()
		if err != nil {
			return nil, err
		}
		branches = append(branches, b)
		if !p.take("|") {
			break
		}
	}
	if len(branches) == 1 {
		return branches[0], nil
	}
	return &node{op: opAlternate, subs: branches}, nil
}

// branch reads items up to "|", ")" or the end.
func (p *parser) branch() (*node, error) {
	var items []*node
	for {
		p.skipIgnored()
		if p.pos >= len(p.s) || !p.quoting && (p.s[p.pos] == '|' || p.s[p.pos] == ')') {
			break
		}
		n, err := p.item()
		if err != nil {
			return nil, err
		}
		if n == nil {
			continue // options, comments
		}
		if n, err = p.quantified(n); err != nil {
			return nil, err
		}
		items = appendItem(items, n)
	}
	switch len(items) {
	case 0:
		return &node{op: opEmpty}, nil
	case 1:
		return items[0], nil
	}
	return &node{op: opConcat, subs: items}, nil
}

// appendItem joins neighbouring literals.
func appendItem(items []*node, n *node) []*node {
	if len(items) > 0 && n.op == opLiteral {
		if last := items[len(items)-1]; last.op == opLiteral && last.fold == n.fold {
			last.runes = append(last.runes, n.runes...)
			return items
		}
	}
	return append(items, n)
}

// skipIgnored skips what the x option ignores, and ends of quotes.
func (p *parser) skipIgnored() {
	for p.pos < len(p.s) {
		switch c := p.s[p.pos]; {
		case strings.HasPrefix(p.s[p.pos:], `\E`):
			p.quoting = false
			p.pos += 2
		case p.quoting:
			return
		case p.flags&flagExtended != 0 && (c == ' ' || c >= '\t' && c <= '\r'):
			p.pos++
		case p.flags&flagExtended != 0 && c == '#':
			n := strings.IndexByte(p.s[p.pos:], '\n')
			if n < 0 {
				n = len(p.s) - p.pos - 1
			}
			p.pos += n + 1
		default:
			return
		}
	}
}

func (p *parser) take(s string) bool {
	if strings.HasPrefix(p.s[p.pos:], s) {
		p.pos += len(s)
		return true
	}
	return false
}

func (p *parser) has(flag flags) bool { return p.flags&flag != 0 }

func (p *parser) char() rune {
	r, n := utf8.DecodeRuneInString(p.s[p.pos:])
	p.pos += n
	return r
}

func (p *parser) literal(r rune) *node {
	return &node{op: opLiteral, runes: []rune{r}, fold: p.has(flagFold)}
}

// item reads one item without its quantifier; nil for options and comments.
func (p *parser) item() (*node, error) {
	if p.quoting {
		return p.literal(p.char()), nil
	}
	switch r := p.char(); r {
	case '(':
		return p.paren()
	case '[':
		return p.class()
	case '\\':
		return p.escape()
	case '.':
		if p.has(flagDotAll) {
			return &node{op: opClass, set: runeSet(nil).negate()}, nil
		}
		return &node{op: opClass, set: newlineSet.negate()}, nil
	case '^':
		p.leftMatters = true
		if p.has(flagMultiline) {
			p.newlineMatters = true
			return &node{op: opBeginLine}, nil
		}
		return &node{op: opBegin}, nil
	case '$':
		if p.has(flagMultiline) {
			return &node{op: opEndLine}, nil
		}
		p.newlineMatters = true
		return &node{op: opEndNewline}, nil
	case '*', '+', '?':
		return nil, errNothingToRepeat
	case '{':
		p.pos--
		if _, _, ok, err := p.braces(); err != nil || ok {
			if err == nil {
				err = errNothingToRepeat
			}
			return nil, err
		}
		p.pos++
		return p.literal('{'), nil
	default:
		return p.literal(r), nil
	}
}

// quantified reads a quantifier behind n, if there is one.
func (p *parser) quantified(n *node) (*node, error) {
	p.skipIgnored()
	if p.quoting {
		return n, nil
	}
	for strings.HasPrefix(p.s[p.pos:], "(?#") {
		if err := p.comment(); err != nil {
			return nil, err
		}
		p.skipIgnored()
	}
	if p.pos >= len(p.s) {
		return n, nil
	}
	rep := &node{op: opRepeat, subs: []*node{n}}
	switch p.s[p.pos] {
	case '*':
		rep.min, rep.max = 0, unlimited
		p.pos++
	case '+':
		rep.min, rep.max = 1, unlimited
		p.pos++
	case '?':
		rep.min, rep.max = 0, 1
		p.pos++
	case '{':
		least, most, ok, err := p.braces()
		if err != nil || !ok {
			return n, err
		}
		rep.min, rep.max = least, most
	default:
		return n, nil
	}
	switch n.op {
	case opBegin, opBeginLine, opEnd, opEndNewline, opEndLine, opSearchStart, opWord, opKeep:
		return nil, errNothingToRepeat
	}
	p.skipIgnored()
	switch {
	case p.take("?"):
		rep.kind = lazy
	case p.take("+"):
		rep.kind = possessive
	}
	if p.has(flagUngreedy) && rep.kind != possessive {
		rep.kind = greedy + lazy - rep.kind
	}
	p.skipIgnored()
	if p.pos < len(p.s) {
		if c := p.s[p.pos]; c == '*' || c == '+' || c == '?' {
			return nil, errNothingToRepeat
		}
	}
	return rep, nil
}

// braces reads {n}, {n,} or {n,m}; ok is false, and nothing is read, if the
// brace is a literal.
func (p *parser) braces() (least, most int, ok bool, err error) {
	i := p.pos + 1
	least, i, ok = p.number(i)
	if !ok || i >= len(p.s) {
		return 0, 0, false, nil
	}
	most = least
	if p.s[i] == ',' {
		i++
		most = unlimited
		if i < len(p.s) && p.s[i] != '}' {
			if most, i, ok = p.number(i); !ok {
				return 0, 0, false, nil
			}
		}
	}
	if i >= len(p.s) || p.s[i] != '}' {
		return 0, 0, false, nil
	}
	if least > maxRepeat || most > maxRepeat {
		return 0, 0, false, errQuantifierTooBig
	}
	if most != unlimited && most < least {
		return 0, 0, false, errQuantifierOrder
	}
	p.pos = i + 1
	return least, most, true, nil
}

// number reads digits at i; large numbers stay above every limit.
func (p *parser) number(i int) (n, end int, ok bool) {
	start := i
	for i < len(p.s) && p.s[i] >= '0' && p.s[i] <= '9' {
		n = min(n*10+int(p.s[i]-'0'), 1<<20)
		i++
	}
	return n, i, i > start
}
