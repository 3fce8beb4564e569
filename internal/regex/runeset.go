package regex

import (
	"slices"
	"unicode"
)

// runeSet is a set of code points: pairs of first and last, in order, apart
// from each other.
type runeSet []rune

func rangeSet(pairs ...rune) runeSet { return runeSet(pairs) }

// add returns the set with a range added; normalize it before use.
func (s runeSet) add(first, last rune) runeSet { return append(s, first, last) }

// normalize sorts and merges the ranges.
func (s runeSet) normalize() runeSet {
	type pair struct{ first, last rune }
	pairs := make([]pair, 0, len(s)/2)
	for i := 0; i < len(s); i += 2 {
		pairs = append(pairs, pair{s[i], s[i+1]})
	}
	slices.SortFunc(pairs, func(a, b pair) int { return int(a.first - b.first) })
	out := make(runeSet, 0, len(s))
	for _, p := range pairs {
		if n := len(out); n > 0 && p.first <= out[n-1]+1 {
			out[n-1] = max(out[n-1], p.last)
		} else {
			out = append(out, p.first, p.last)
		}
	}
	return out
}

// negate returns the complement of a normalized set.
func (s runeSet) negate() runeSet {
	var out runeSet
	next := rune(0)
	for i := 0; i < len(s); i += 2 {
		if s[i] > next {
			out = append(out, next, s[i]-1)
		}
		next = s[i+1] + 1
	}
	if next <= unicode.MaxRune {
		out = append(out, next, unicode.MaxRune)
	}
	return out
}

func (s runeSet) contains(r rune) bool {
	for i := 0; i < len(s); i += 2 {
		if r >= s[i] && r <= s[i+1] {
			return true
		}
	}
	return false
}

// lastCased is beyond the last code point that has another case.
const lastCased = 0x1E950

// foldCase adds the other cases of all members.
func (s runeSet) foldCase() runeSet {
	out := s
	for i := 0; i < len(s); i += 2 {
		for r := s[i]; r <= min(s[i+1], lastCased); r++ {
			for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
				out = append(out, f, f)
			}
		}
	}
	return out.normalize()
}

func tableSet(tables ...*unicode.RangeTable) runeSet {
	var s runeSet
	for _, t := range tables {
		for _, r := range t.R16 {
			s = addStride(s, rune(r.Lo), rune(r.Hi), rune(r.Stride))
		}
		for _, r := range t.R32 {
			s = addStride(s, rune(r.Lo), rune(r.Hi), rune(r.Stride))
		}
	}
	return s.normalize()
}

func addStride(s runeSet, lo, hi, stride rune) runeSet {
	if stride == 1 {
		return append(s, lo, hi)
	}
	for r := lo; r <= hi; r += stride {
		s = append(s, r, r)
	}
	return s
}

// union joins sets.
func union(sets ...runeSet) runeSet {
	var all runeSet
	for _, s := range sets {
		all = append(all, s...)
	}
	return all.normalize()
}

// The sets behind escapes and POSIX names.
var (
	newlineSet    = rangeSet('\n', '\n')
	digitSet      = rangeSet('0', '9')
	wordSet       = rangeSet('0', '9', 'A', 'Z', '_', '_', 'a', 'z')
	spaceSet      = rangeSet('\t', '\r', ' ', ' ')
	horizontalSet = rangeSet('\t', '\t', ' ', ' ', 0xA0, 0xA0, 0x1680, 0x1680, 0x180E, 0x180E,
		0x2000, 0x200A, 0x202F, 0x202F, 0x205F, 0x205F, 0x3000, 0x3000)
	verticalSet = rangeSet('\n', '\r', 0x85, 0x85, 0x2028, 0x2029)
)

func ucpWordSet() runeSet { return union(tableSet(unicode.L, unicode.N), rangeSet('_', '_')) }

func ucpSpaceSet() runeSet { return union(tableSet(unicode.Z), horizontalSet, verticalSet) }

// escapeSet returns the set of a class escape (d, w, s, h, v, N and their
// opposites).
func escapeSet(c byte, ucp bool) (runeSet, bool) {
	var s runeSet
	switch c | 0x20 {
	case 'd':
		s = digitSet
		if ucp {
			s = tableSet(unicode.Nd)
		}
	case 'w':
		s = wordSet
		if ucp {
			s = ucpWordSet()
		}
	case 's':
		s = spaceSet
		if ucp {
			s = ucpSpaceSet()
		}
	case 'h':
		s = horizontalSet
	case 'v':
		s = verticalSet
	default:
		return nil, false
	}
	if c&0x20 == 0 {
		s = s.negate()
	}
	return s, true
}

// posixSet returns the set of a POSIX class name.
func posixSet(name string, ucp bool) (runeSet, bool) {
	if ucp {
		if s, ok := posixUCPSet(name); ok {
			return s, true
		}
	}
	switch name {
	case "alpha":
		return rangeSet('A', 'Z', 'a', 'z'), true
	case "lower":
		return rangeSet('a', 'z'), true
	case "upper":
		return rangeSet('A', 'Z'), true
	case "alnum":
		return rangeSet('0', '9', 'A', 'Z', 'a', 'z'), true
	case "ascii":
		return rangeSet(0, 0x7F), true
	case "blank":
		return rangeSet('\t', '\t', ' ', ' '), true
	case "cntrl":
		return rangeSet(0, 0x1F, 0x7F, 0x7F), true
	case "digit":
		return digitSet, true
	case "graph":
		return rangeSet('!', '~'), true
	case "print":
		return rangeSet(' ', '~'), true
	case "punct":
		return rangeSet('!', '/', ':', '@', '[', '`', '{', '~'), true
	case "space":
		return spaceSet, true
	case "word":
		return wordSet, true
	case "xdigit":
		return rangeSet('0', '9', 'A', 'F', 'a', 'f'), true
	}
	return nil, false
}

func posixUCPSet(name string) (runeSet, bool) {
	switch name {
	case "alpha":
		return tableSet(unicode.L), true
	case "lower":
		return tableSet(unicode.Ll), true
	case "upper":
		return tableSet(unicode.Lu), true
	case "alnum":
		return tableSet(unicode.L, unicode.N), true
	case "blank":
		return horizontalSet, true
	case "cntrl":
		return tableSet(unicode.Cc), true
	case "digit":
		return tableSet(unicode.Nd), true
	case "space":
		return ucpSpaceSet(), true
	case "word":
		return ucpWordSet(), true
	case "graph":
		return tableSet(unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Cf), true
	case "print":
		return tableSet(unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Cf, unicode.Zs), true
	case "punct":
		return union(tableSet(unicode.P), rangeSet('$', '$', '+', '+', '<', '>', '^', '^', '`', '`', '|', '|', '~', '~')), true
	}
	return nil, false
}
