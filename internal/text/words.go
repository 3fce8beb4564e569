package text

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// sensitivity says what tells words apart beside their letters.
type sensitivity struct{ letterCase, diacritics bool }

// delimits says whether a character ends a word.
func (l *Language) delimits(r rune) bool {
	if r < utf8.RuneSelf {
		switch {
		case r == '\'':
			return !l.apostrophe
		case r == '_', r >= '0' && r <= '9', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z':
			return false
		case r > ' ' && r < 0x7f:
			return true
		}
		return r == 0 || unicode.IsSpace(r)
	}
	return unicode.In(r, unicode.White_Space, unicode.Dash, unicode.Hyphen, unicode.Quotation_Mark,
		unicode.Terminal_Punctuation, unicode.Pattern_Syntax)
}

// words calls use for every word of a text that counts, as it is searched for.
func (l *Language) words(s string, by sensitivity, use func(word string)) {
	for s != "" {
		start := strings.IndexFunc(s, func(r rune) bool { return !l.delimits(r) })
		if start < 0 {
			return
		}
		s = s[start:]
		end := strings.IndexFunc(s, l.delimits)
		if end < 0 {
			end = len(s)
		}
		raw := s[:end]
		s = s[end:]
		word := l.lower(raw)
		if l.stop[word] {
			continue
		}
		if by.letterCase {
			word = raw
		}
		if l.stem != nil {
			word = l.stem(word)
		}
		if !by.diacritics {
			word = stripDiacritics(word)
		}
		use(word)
	}
}

// lower is a string in lower case.
func (l *Language) lower(s string) string {
	if l.turkish {
		return strings.ToLowerSpecial(unicode.TurkishCase, s)
	}
	return strings.ToLower(s)
}

// fold removes from a text what does not tell texts apart.
func (l *Language) fold(s string, by sensitivity) string {
	if !by.letterCase {
		s = l.lower(s)
	}
	if !by.diacritics {
		s = stripDiacritics(s)
	}
	return s
}

// stripDiacritics removes marks above, below and through letters.
func stripDiacritics(s string) string {
	ascii := true
	for i := 0; i < len(s) && ascii; i++ {
		ascii = s[i] < utf8.RuneSelf
	}
	if ascii {
		return s
	}
	return norm.NFC.String(strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, norm.NFD.String(s)))
}
