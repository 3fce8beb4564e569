package regex

import "strings"

// paren reads what follows an opening parenthesis, up to the closing one.
func (p *parser) paren() (*node, error) {
	if p.depth++; p.depth > maxNesting {
		return nil, errTooDeep
	}
	defer func() { p.depth-- }()
	if strings.HasPrefix(p.s[p.pos:], "*") {
		return p.verb()
	}
	if !p.take("?") {
		if p.has(flagNoCapture) {
			return p.content(&node{op: opGroup})
		}
		return p.capture("")
	}
	if p.pos >= len(p.s) {
		return nil, errAfterParen
	}
	switch c := p.s[p.pos]; c {
	case ':':
		p.pos++
		return p.content(&node{op: opGroup})
	case '>':
		p.pos++
		return p.content(&node{op: opAtomic})
	case '|':
		p.pos++
		return p.branchReset()
	case '=', '!':
		p.pos++
		return p.look(c == '!', false)
	case '#':
		p.pos -= 2
		return nil, p.comment()
	case '(':
		p.pos++
		return p.conditional()
	case 'P', '<', '\'':
		return p.namedGroup()
	case '&':
		p.pos++
		name, err := p.name(')')
		if err != nil {
			return nil, err
		}
		return p.callByName(name), nil
	case 'R':
		p.pos++
		if !p.take(")") {
			return nil, errAfterParen
		}
		return p.call(0), nil
	case 'C':
		return nil, errCallout
	case '+', '-':
		if n, end, ok := p.number(p.pos + 1); ok {
			p.pos = end
			return p.relativeCall(c, n)
		}
	}
	if n, end, ok := p.number(p.pos); ok {
		p.pos = end
		if !p.take(")") {
			return nil, errAfterParen
		}
		return p.call(n), nil
	}
	return p.options()
}

func (p *parser) relativeCall(sign byte, n int) (*node, error) {
	if n == 0 || !p.take(")") {
		return nil, errMissingGroup
	}
	if sign == '+' {
		n += p.groups
	} else {
		n = p.groups - n + 1
	}
	if n <= 0 {
		return nil, errMissingGroup
	}
	return p.call(n), nil
}

func (p *parser) call(n int) *node {
	c := &node{op: opCall, n: n}
	p.calls = append(p.calls, c)
	return c
}

func (p *parser) callByName(name string) *node {
	c := p.call(-1)
	p.byName = append(p.byName, namedRef{c, name})
	return c
}

// content reads a group's content and closing parenthesis into n.
func (p *parser) content(n *node) (*node, error) {
	saved := p.flags
	sub, err := p.alternation()
	if err != nil {
		return nil, err
	}
	if !p.take(")") {
		return nil, errMissingParen
	}
	p.flags = saved
	n.subs = []*node{sub}
	return n, nil
}

func (p *parser) capture(name string) (*node, error) {
	p.groups++
	n := &node{op: opCapture, n: p.groups}
	if p.groups > maxGroups {
		return nil, errTooManyGroups
	}
	if name != "" {
		if old := p.names[name]; len(old) > 0 && !p.has(flagDupNames) && old[0] != n.n {
			return nil, errDuplicateName
		}
		p.names[name] = append(p.names[name], n.n)
	}
	n, err := p.content(n)
	if err == nil {
		p.bodies[n.n] = n
	}
	return n, err
}

func (p *parser) look(negative, behind bool) (*node, error) {
	p.leftMatters = true
	n, err := p.content(&node{op: opLook, negative: negative, behind: behind})
	if err == nil && behind && !n.subs[0].behindOK() {
		return nil, errLookbehind
	}
	return n, err
}

func (p *parser) comment() error {
	end := strings.IndexByte(p.s[p.pos:], ')')
	if end < 0 {
		return errComment
	}
	p.pos += end + 1
	return nil
}

// branchReset reads (?|…): the groups of each alternative are numbered from the
// same start.
func (p *parser) branchReset() (*node, error) {
	saved, start, most := p.flags, p.groups, p.groups
	var branches []*node
	for {
		p.groups = start
		b, err := p.branch()
		if err != nil {
			return nil, err
		}
		branches = append(branches, b)
		most = max(most, p.groups)
		if !p.take("|") {
			break
		}
	}
	p.groups = most
	if !p.take(")") {
		return nil, errMissingParen
	}
	p.flags = saved
	return &node{op: opGroup, subs: []*node{{op: opAlternate, subs: branches}}}, nil
}

// namedGroup reads (?<name>…), (?'name'…), (?P<name>…), (?P=name), (?P>name),
// and look-behind.
func (p *parser) namedGroup() (*node, error) {
	switch {
	case p.take("<="):
		return p.look(false, true)
	case p.take("<!"):
		return p.look(true, true)
	case p.take("P="):
		name, err := p.name(')')
		if err != nil {
			return nil, err
		}
		return p.backrefByName(name), nil
	case p.take("P>"):
		name, err := p.name(')')
		if err != nil {
			return nil, err
		}
		return p.callByName(name), nil
	}
	end := byte('>')
	switch {
	case p.take("P<"), p.take("<"):
	case p.take("'"):
		end = '\''
	default:
		return nil, errAfterParen
	}
	name, err := p.name(end)
	if err != nil {
		return nil, err
	}
	return p.capture(name)
}

// name reads a group name and the character that ends it.
func (p *parser) name(end byte) (string, error) {
	start := p.pos
	for p.pos < len(p.s) && (wordSet.contains(rune(p.s[p.pos])) || p.s[p.pos] >= 0x80) {
		p.pos++
	}
	name := p.s[start:p.pos]
	switch {
	case name == "":
		return "", errNameExpected
	case name[0] >= '0' && name[0] <= '9':
		return "", errNameExpected
	case len(name) > maxName:
		return "", errNameTooLong
	case !p.take(string(end)):
		return "", errName
	}
	return name, nil
}

// options reads (?imsx-imsx) and (?imsx-imsx:…).
func (p *parser) options() (*node, error) {
	set := p.flags
	if p.take("^") {
		set &^= flagFold | flagMultiline | flagDotAll | flagExtended | flagExtendedMore | flagNoCapture
	}
	clear := false
	for p.pos < len(p.s) {
		c := p.s[p.pos]
		p.pos++
		var f flags
		switch c {
		case ')':
			p.flags = set
			return nil, nil
		case ':':
			saved := p.flags
			p.flags = set
			n, err := p.content(&node{op: opGroup})
			p.flags = saved
			return n, err
		case '-':
			if clear {
				return nil, errAfterParen
			}
			clear = true
			continue
		case 'i':
			f = flagFold
		case 'm':
			f = flagMultiline
		case 's':
			f = flagDotAll
		case 'x':
			f = flagExtended
			if p.take("x") {
				f |= flagExtendedMore
			} else if clear {
				f |= flagExtendedMore
			}
		case 'n':
			f = flagNoCapture
		case 'U':
			f = flagUngreedy
		case 'J':
			f = flagDupNames
		default:
			return nil, errAfterParen
		}
		if clear {
			set &^= f
		} else {
			set |= f
		}
	}
	return nil, errMissingParen
}

// verb reads (*NAME).
func (p *parser) verb() (*node, error) {
	end := strings.IndexByte(p.s[p.pos:], ')')
	if end < 0 {
		return nil, errVerb
	}
	name := p.s[p.pos+1 : p.pos+end]
	base, _, _ := strings.Cut(name, ":")
	switch base {
	case "FAIL", "F":
		p.pos += end + 1
		return &node{op: opFail}, nil
	case "ACCEPT", "COMMIT", "PRUNE", "SKIP", "THEN", "MARK", "":
		return nil, errBacktrack
	case "pla", "positive_lookahead":
		return p.alphaLook(base, false, false)
	case "nla", "negative_lookahead":
		return p.alphaLook(base, true, false)
	case "plb", "positive_lookbehind":
		return p.alphaLook(base, false, true)
	case "nlb", "negative_lookbehind":
		return p.alphaLook(base, true, true)
	case "atomic":
		p.pos += len("*atomic:")
		return p.content(&node{op: opAtomic})
	}
	return nil, errVerb
}

func (p *parser) alphaLook(name string, negative, behind bool) (*node, error) {
	if p.pos += 1 + len(name); !p.take(":") {
		return nil, errVerb
	}
	return p.look(negative, behind)
}

// conditional reads (?(condition)yes|no), its "(?(" already read.
func (p *parser) conditional() (*node, error) {
	n := &node{op: opCond}
	define := false
	if n2, end, ok := p.number(p.pos); ok {
		p.pos = end
		n.n = n2
		p.refs = append(p.refs, n)
		if n2 == 0 || !p.take(")") {
			return nil, errCondition
		}
	} else if p.take("?") || strings.HasPrefix(p.s[p.pos:], "*") {
		look, err := p.conditionLook()
		if err != nil {
			return nil, err
		}
		n.look = look
	} else if p.take("DEFINE)") {
		define = true
	} else if err := p.conditionName(n); err != nil {
		return nil, err
	}
	n, err := p.content(n)
	if err != nil {
		return nil, err
	}
	body := n.subs[0]
	switch {
	case define && body.op == opAlternate:
		return nil, errConditionBranches
	case define:
		// Its groups are there to be called only.
		return &node{op: opGroup, subs: []*node{{op: opRepeat, subs: []*node{body}}}}, nil
	case body.op != opAlternate:
		n.subs = []*node{body, {op: opEmpty}}
	case len(body.subs) > 2:
		return nil, errConditionBranches
	default:
		n.subs = body.subs
	}
	return n, nil
}

func (p *parser) conditionLook() (*node, error) {
	p.depth++
	defer func() { p.depth-- }()
	switch {
	case p.take("="):
		return p.look(false, false)
	case p.take("!"):
		return p.look(true, false)
	case p.take("<="):
		return p.look(false, true)
	case p.take("<!"):
		return p.look(true, true)
	}
	if !strings.HasPrefix(p.s[p.pos:], "*") {
		return nil, errCondition
	}
	n, err := p.verb()
	if err != nil || n.op != opLook {
		return nil, errCondition
	}
	return n, nil
}

func (p *parser) conditionName(n *node) error {
	end := byte(')')
	switch {
	case p.take("<"):
		end = '>'
	case p.take("'"):
		end = '\''
	case strings.HasPrefix(p.s[p.pos:], "R"), strings.HasPrefix(p.s[p.pos:], "VERSION"):
		return errRecursion
	}
	name, err := p.name(end)
	if err != nil {
		return errCondition
	}
	if end != ')' && !p.take(")") {
		return errCondition
	}
	p.byName = append(p.byName, namedRef{n, name})
	return nil
}
