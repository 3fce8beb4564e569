package text

import (
	"strings"
	"unicode/utf8"
)

// stemEnglish is the Porter2 stemmer
// (https://snowballstem.org/algorithms/english/stemmer.html), for lower-case words.
func stemEnglish(word string) string {
	if utf8.RuneCountInString(word) < 3 {
		return word
	}
	if stem, ok := irregularStems[word]; ok {
		return stem
	}
	s := stemmer{b: []byte(strings.TrimPrefix(word, "'"))}
	s.markConsonantY()
	s.findRegions()
	s.possessive()
	s.plural()
	if !fixedAfterPlural[string(s.b)] {
		s.pastAndGerund()
		s.finalY()
		s.apply(derivations, s.r1)
		s.apply(adjectives, s.r1)
		s.apply(remainders, s.r2)
		s.finalE()
	}
	return strings.ReplaceAll(string(s.b), "Y", "y")
}

// irregularStems are the words that the rules would get wrong.
var irregularStems = map[string]string{
	"skis": "ski", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "idly": "idl", "gently": "gentl",
	"ugly": "ugli", "early": "earli", "only": "onli", "singly": "singl", "sky": "sky", "news": "news", "howe": "howe",
	"atlas": "atlas", "cosmos": "cosmos", "bias": "bias", "andes": "andes",
}

// fixedAfterPlural are words that stay as they are once a plural is taken off.
var fixedAfterPlural = wordSet("inning outing canning herring earring proceed exceed succeed")

// stemmer is a word on its way to its stem. A consonant y is written Y.
type stemmer struct {
	b      []byte
	r1, r2 int // where the regions R1 and R2 begin
}

func vowel(c byte) bool {
	switch c {
	case 'a', 'e', 'i', 'o', 'u', 'y':
		return true
	}
	return false
}

func (s *stemmer) markConsonantY() {
	for i, c := range s.b {
		if c == 'y' && (i == 0 || vowel(s.b[i-1])) {
			s.b[i] = 'Y'
		}
	}
}

func (s *stemmer) findRegions() {
	s.r1 = s.region(0)
	for _, prefix := range []string{"gener", "commun", "arsen"} {
		if strings.HasPrefix(string(s.b), prefix) {
			s.r1 = len(prefix)
		}
	}
	s.r2 = s.region(s.r1)
}

// region begins after the first consonant that follows a vowel.
func (s *stemmer) region(from int) int {
	for i := from + 1; i < len(s.b); i++ {
		if !vowel(s.b[i]) && vowel(s.b[i-1]) {
			return i + 1
		}
	}
	return len(s.b)
}

func (s *stemmer) ends(suffix string) bool {
	n := len(s.b) - len(suffix)
	return n >= 0 && string(s.b[n:]) == suffix
}

// cut takes n bytes off the end and adds others.
func (s *stemmer) cut(n int, with string) { s.b = append(s.b[:len(s.b)-n], with...) }

func (s *stemmer) possessive() {
	for _, suffix := range []string{"'s'", "'s", "'"} {
		if s.ends(suffix) {
			s.cut(len(suffix), "")
			return
		}
	}
}

func (s *stemmer) plural() {
	switch {
	case s.ends("sses"):
		s.cut(2, "")
	case s.ends("ied"), s.ends("ies"):
		if len(s.b) > 4 {
			s.cut(2, "")
		} else {
			s.cut(1, "")
		}
	case s.ends("us"), s.ends("ss"):
	case s.ends("s") && len(s.b) > 2 && hasVowel(s.b[:len(s.b)-2]):
		s.cut(1, "")
	}
}

func hasVowel(b []byte) bool {
	for _, c := range b {
		if vowel(c) {
			return true
		}
	}
	return false
}

func (s *stemmer) pastAndGerund() {
	for _, suffix := range []string{"eedly", "eed"} {
		if s.ends(suffix) {
			if len(s.b)-len(suffix) >= s.r1 {
				s.cut(len(suffix), "ee")
			}
			return
		}
	}
	for _, suffix := range []string{"ingly", "edly", "ing", "ed"} {
		if !s.ends(suffix) {
			continue
		}
		if !hasVowel(s.b[:len(s.b)-len(suffix)]) {
			return
		}
		s.cut(len(suffix), "")
		switch {
		case s.ends("at"), s.ends("bl"), s.ends("iz"):
			s.cut(0, "e")
		case s.doubled():
			s.cut(1, "")
		case s.r1 >= len(s.b) && shortSyllable(s.b):
			s.cut(0, "e")
		}
		return
	}
}

// doubled says whether the word ends in a doubled consonant that loses one.
func (s *stemmer) doubled() bool {
	n := len(s.b)
	return n > 1 && s.b[n-1] == s.b[n-2] && strings.IndexByte("bdfgmnprt", s.b[n-1]) >= 0
}

// shortSyllable says whether b ends in a short syllable.
func shortSyllable(b []byte) bool {
	n := len(b)
	switch {
	case n == 2:
		return vowel(b[0]) && !vowel(b[1])
	case n < 2:
		return false
	}
	last := b[n-1]
	return !vowel(b[n-3]) && vowel(b[n-2]) && !vowel(last) && last != 'w' && last != 'x' && last != 'Y'
}

func (s *stemmer) finalY() {
	n := len(s.b)
	if n > 2 && (s.b[n-1] == 'y' || s.b[n-1] == 'Y') && !vowel(s.b[n-2]) {
		s.b[n-1] = 'i'
	}
}

// ending is a suffix and what takes its place.
type ending struct{ suffix, with string }

// derivations, adjectives and remainders are the suffixes of steps 2, 3 and 4.
var (
	derivations = []ending{
		{"ization", "ize"}, {"ational", "ate"}, {"fulness", "ful"}, {"ousness", "ous"}, {"iveness", "ive"},
		{"tional", "tion"}, {"biliti", "ble"}, {"lessli", "less"}, {"entli", "ent"}, {"ation", "ate"}, {"alism", "al"},
		{"aliti", "al"}, {"ousli", "ous"}, {"iviti", "ive"}, {"fulli", "ful"}, {"enci", "ence"}, {"anci", "ance"},
		{"abli", "able"}, {"izer", "ize"}, {"ator", "ate"}, {"alli", "al"}, {"bli", "ble"}, {"ogi", "og"}, {"li", ""},
	}
	adjectives = []ending{
		{"ational", "ate"}, {"tional", "tion"}, {"alize", "al"}, {"icate", "ic"}, {"iciti", "ic"}, {"ative", ""},
		{"ical", "ic"}, {"ness", ""}, {"ful", ""},
	}
	remainders = []ending{
		{"ement", ""}, {"ance", ""}, {"ence", ""}, {"able", ""}, {"ible", ""}, {"ment", ""}, {"ant", ""}, {"ent", ""},
		{"ism", ""}, {"ate", ""}, {"iti", ""}, {"ous", ""}, {"ive", ""}, {"ize", ""}, {"ion", ""}, {"al", ""},
		{"er", ""}, {"ic", ""},
	}
)

// apply replaces the longest suffix in a list, if it lies in a region.
func (s *stemmer) apply(list []ending, region int) {
	for _, e := range list {
		if !s.ends(e.suffix) {
			continue
		}
		at := len(s.b) - len(e.suffix)
		if at >= region && s.allows(e.suffix, at) {
			s.cut(len(e.suffix), e.with)
		}
		return
	}
}

// allows checks the letter before suffixes that need a certain one.
func (s *stemmer) allows(suffix string, at int) bool {
	before := byte(0)
	if at > 0 {
		before = s.b[at-1]
	}
	switch suffix {
	case "ogi":
		return before == 'l'
	case "li":
		return strings.IndexByte("cdeghkmnrt", before) >= 0
	case "ion":
		return before == 's' || before == 't'
	case "ative":
		return at >= s.r2
	}
	return true
}

func (s *stemmer) finalE() {
	n := len(s.b) - 1
	switch {
	case s.ends("e") && (n >= s.r2 || n >= s.r1 && !shortSyllable(s.b[:n])):
		s.cut(1, "")
	case s.ends("ll") && n >= s.r2:
		s.cut(1, "")
	}
}
