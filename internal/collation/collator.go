package collation

import (
	"bytes"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/collate"
	"golang.org/x/text/unicode/norm"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// Collator orders strings. It is safe for concurrent use.
type Collator struct {
	spec  Spec
	kana  bool // hiragana and katakana differ at the fourth level only
	plain bool // text needs no look before it is weighed
	ascii func() *asciiWeights
	pool  sync.Pool
}

var _ bsonval.Collator = (*Collator)(nil)

// Collator makes the collation's collator; nil for the simple collation.
func (s *Spec) Collator() bsonval.Collator {
	if s == nil {
		return nil
	}
	c := &Collator{spec: *s}
	c.kana = strings.HasPrefix(s.Locale, "ja")
	c.plain = !c.kana && !s.NumericOrdering && s.Alternate != Shifted
	tag := languageTag(s.Locale)
	c.pool.New = func() any { return newKeyer(collate.New(tag)) }
	c.ascii = sync.OnceValue(func() *asciiWeights { return newASCIIWeights(s.Locale, collate.New(tag)) })
	return c
}

// CompareStrings compares the sort keys of two strings.
func (c *Collator) CompareStrings(a, b []byte) int {
	if bytes.Equal(a, b) {
		return 0
	}
	k := c.pool.Get().(*keyer)
	k.scratch = c.appendKey(k.scratch[:0], a, k)
	n := len(k.scratch)
	k.scratch = c.appendKey(k.scratch, b, k)
	r := bytes.Compare(k.scratch[:n], k.scratch[n:])
	c.pool.Put(k)
	return r
}

// AppendKey appends the sort key of s.
func (c *Collator) AppendKey(dst, s []byte) []byte {
	k := c.pool.Get().(*keyer)
	dst = c.appendKey(dst, s, k)
	c.pool.Put(k)
	return dst
}

// keyer weighs text. It is used by one goroutine at a time.
type keyer struct {
	weights *collate.Collator
	buf     collate.Buffer
	zero    []byte // primary weight of "0"

	text, chunk, bare, scratch []byte

	primary, secondary, cases, tertiary, quaternary []byte
}

func newKeyer(weights *collate.Collator) *keyer {
	k := &keyer{weights: weights}
	k.zero, _, _ = splitLevels(weights.Key(&k.buf, []byte("0")))
	k.zero = bytes.Clone(k.zero)
	k.buf.Reset()
	return k
}

func (c *Collator) appendKey(dst, s []byte, k *keyer) []byte {
	k.primary, k.secondary, k.cases = k.primary[:0], k.secondary[:0], k.cases[:0]
	k.tertiary, k.quaternary = k.tertiary[:0], k.quaternary[:0]
	text := s
	if !isASCII(s) {
		k.text = norm.NFD.Append(k.text[:0], s...)
		text = k.text
	}
	if c.plain && isASCII(s) {
		c.weigh(k, text)
	} else {
		c.walk(k, text)
	}
	return c.join(dst, k, text)
}

// join writes the levels that the collation's strength asks for.
func (c *Collator) join(dst []byte, k *keyer, text []byte) []byte {
	dst = append(dst, k.primary...)
	if c.spec.Strength >= 2 {
		dst = append(dst, 0, 0)
		if c.spec.Backwards {
			for i := len(k.secondary) - 2; i >= 0; i -= 2 {
				dst = append(dst, k.secondary[i], k.secondary[i+1])
			}
		} else {
			dst = append(dst, k.secondary...)
		}
	}
	if c.spec.CaseLevel {
		dst = append(dst, 0, 0)
		for _, t := range k.cases {
			dst = append(dst, c.caseWeight(t))
		}
	}
	if c.spec.Strength >= 3 {
		dst = append(dst, 0, 0)
		for _, t := range k.tertiary {
			dst = append(dst, c.tertiaryWeight(t))
		}
	}
	if c.spec.Strength >= 4 {
		dst = append(append(dst, 0), k.quaternary...)
	}
	if c.spec.Strength >= 5 {
		dst = append(append(dst, 0), text...)
	}
	return dst
}

// isUpper tells the tertiary weights of capital letters
// (https://www.unicode.org/reports/tr10/, table 17).
func isUpper(t byte) bool { return t >= 0x08 && t <= 0x0C || t == 0x1D }

func (c *Collator) caseWeight(t byte) byte {
	if isUpper(t) == (c.spec.CaseFirst == CaseFirstUpper) {
		return 1
	}
	return 2
}

// tertiaryWeight moves capital letters where caseFirst wants them. On a case
// level of their own they need no move.
func (c *Collator) tertiaryWeight(t byte) byte {
	if c.spec.CaseLevel || c.spec.CaseFirst == CaseFirstOff {
		return t
	}
	if isUpper(t) == (c.spec.CaseFirst == CaseFirstUpper) {
		return t
	}
	return t | 0x40
}

// walk weighs text piece by piece: what the options treat apart is cut out.
func (c *Collator) walk(k *keyer, text []byte) {
	k.chunk = k.chunk[:0]
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		switch {
		case c.spec.Alternate == Shifted && c.variable(r):
			c.flush(k)
			p, _, _ := splitLevels(k.weights.Key(&k.buf, text[i:i+n]))
			k.quaternary = append(k.quaternary, p...)
			k.buf.Reset()
			for n < len(text)-i { // marks on what is ignored are ignored, too
				mark, m := utf8.DecodeRune(text[i+n:])
				if !unicode.Is(unicode.Mn, mark) {
					break
				}
				n += m
			}
		case c.spec.NumericOrdering && unicode.Is(unicode.Nd, r):
			c.flush(k)
			n = c.number(k, text[i:])
		case r >= 0x1F000 && unicode.In(r, unicode.S):
			c.flush(k)
			c.symbol(k, r, text[i:i+n])
		case c.kana && r >= 0x30A1 && r <= 0x30F6:
			k.chunk = utf8.AppendRune(k.chunk, r-0x60)
			c.fourth(k, r, 0xFE)
		default:
			k.chunk = append(k.chunk, text[i:i+n]...)
			c.fourth(k, r, 0xFD)
		}
		i += n
	}
	c.flush(k)
}

// fourth adds r's weight of the fourth level: katakana after all else, or, under
// shifted, anything above what it shifts there.
func (c *Collator) fourth(k *keyer, r rune, w byte) {
	if c.spec.Strength >= 4 && (c.kana || c.spec.Alternate == Shifted) && !unicode.In(r, unicode.Mn, unicode.C) {
		k.quaternary = append(k.quaternary, w)
	}
}

// variable tells the characters that alternate shifted ignores.
func (c *Collator) variable(r rune) bool {
	return unicode.IsSpace(r) || unicode.Is(unicode.Z, r) || c.spec.MaxVariable == MaxVariable && unicode.IsPunct(r)
}

func (c *Collator) flush(k *keyer) {
	if len(k.chunk) > 0 {
		c.weigh(k, k.chunk)
		k.chunk = k.chunk[:0]
	}
}

// weigh appends the weights of text.
func (c *Collator) weigh(k *keyer, text []byte) {
	if isASCII(text) {
		if table := c.ascii(); table != nil {
			table.weigh(k, text, c.spec.CaseLevel)
			return
		}
	}
	p, s, t := splitLevels(k.weights.Key(&k.buf, text))
	k.primary = append(k.primary, p...)
	k.secondary = append(k.secondary, s...)
	k.tertiary = append(k.tertiary, t...)
	k.buf.Reset()
	if !c.spec.CaseLevel {
		return
	}
	// Marks have no case: the third level of the text without them is that of
	// its letters.
	k.bare = k.bare[:0]
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if !unicode.Is(unicode.Mn, r) {
			k.bare = append(k.bare, text[i:i+n]...)
		}
		i += n
	}
	_, _, t = splitLevels(k.weights.Key(&k.buf, k.bare))
	k.cases = append(k.cases, t...)
	k.buf.Reset()
}

// number weighs the digits at the start of text as one number and returns their
// length: the weight of "0", the number of digits, the digits.
func (c *Collator) number(k *keyer, text []byte) int {
	k.primary = append(k.primary, k.zero...)
	at, digits, n := len(k.primary), 0, 0
	for n < len(text) {
		r, size := utf8.DecodeRune(text[n:])
		if !unicode.Is(unicode.Nd, r) {
			break
		}
		n += size
		d := digitValue(r)
		if d == 0 && digits == 0 {
			continue // leading zeros do not count
		}
		if digits == 0 {
			k.primary = append(k.primary, 0, 0, 0, 0)
		}
		k.primary = append(k.primary, d+1)
		digits++
	}
	if digits == 0 {
		k.primary = append(k.primary, 0, 0, 0, 0)
	}
	count := k.primary[at : at+4]
	count[0], count[1], count[2], count[3] = byte(digits>>24)+1, byte(digits>>16), byte(digits>>8), byte(digits)
	k.secondary = append(k.secondary, 0, 0x20)
	k.tertiary = append(k.tertiary, 2)
	k.cases = append(k.cases, 2)
	c.fourth(k, '0', 0xFD)
	return n
}

// digitValue is a decimal digit's value: blocks of digits start at zero.
func digitValue(r rune) byte {
	for _, b := range unicode.Nd.R16 {
		if r >= rune(b.Lo) && r <= rune(b.Hi) {
			return byte((r - rune(b.Lo)) % 10)
		}
	}
	for _, b := range unicode.Nd.R32 {
		if r >= rune(b.Lo) && r <= rune(b.Hi) {
			return byte((r - rune(b.Lo)) % 10)
		}
	}
	return 0
}

// symbol weighs one symbol of the higher planes. Those newer than the tables
// have weights of unassigned letters there; they belong before the digits.
func (c *Collator) symbol(k *keyer, r rune, text []byte) {
	p, _, _ := splitLevels(k.weights.Key(&k.buf, text))
	known := len(p) > 0 && p[0] < 0x80
	k.buf.Reset()
	c.fourth(k, r, 0xFD)
	if known {
		c.weigh(k, text)
		return
	}
	k.primary = append(k.primary, k.zero[0], k.zero[1]-1, byte(r>>16), byte(r>>8), byte(r))
	k.secondary = append(k.secondary, 0, 0x20)
	k.tertiary = append(k.tertiary, 2)
	k.cases = append(k.cases, 2)
}

// splitLevels cuts a key of x/text into its levels: primary weights of two
// bytes (three if the first has its high bit set), secondary ones of two, and
// tertiary ones of one, with two zeros between.
func splitLevels(key []byte) (primary, secondary, tertiary []byte) {
	i := 0
	for i+1 < len(key) && (key[i] != 0 || key[i+1] != 0) {
		if key[i]&0x80 != 0 {
			i++
		}
		i += 2
	}
	primary = key[:min(i, len(key))]
	i = min(i+2, len(key))
	start := i
	for i+1 < len(key) && (key[i] != 0 || key[i+1] != 0) {
		i += 2
	}
	secondary = key[start:i]
	return primary, secondary, key[min(i+2, len(key)):]
}

func isASCII(s []byte) bool {
	for _, b := range s {
		if b >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
