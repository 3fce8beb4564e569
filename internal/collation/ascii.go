package collation

import (
	"slices"
	"strings"

	"golang.org/x/text/collate"
)

// asciiWeights are the weights of the ASCII characters where each stands for
// itself, whatever its neighbours.
type asciiWeights [128]struct {
	primary   [2]byte
	secondary [2]byte
	tertiary  byte // 0 for an ignorable character
}

// singleLetters are the languages whose rules know no letter of several ASCII
// characters (as "ch" is one in Czech).
var singleLetters = strings.Fields("ar bg de el en es fa fi fr he hi id it ja ko nl pl pt ru sv th tr uk zh")

// newASCIIWeights returns a locale's table; nil if it has none.
func newASCIIWeights(locale string, weights *collate.Collator) *asciiWeights {
	base, variant := splitLocale(locale)
	lang, _, _ := strings.Cut(base, "_")
	if variant != "" || !slices.Contains(singleLetters, lang) {
		return nil
	}
	var table asciiWeights
	var buf collate.Buffer
	for i := range table {
		p, s, t := splitLevels(weights.Key(&buf, []byte{byte(i)}))
		switch {
		case len(t) == 0 && len(p) == 0 && len(s) == 0:
		case len(p) == 2 && len(s) == 2 && len(t) == 1:
			table[i].primary, table[i].secondary, table[i].tertiary = [2]byte(p), [2]byte(s), t[0]
		default:
			return nil
		}
		buf.Reset()
	}
	return &table
}

// weigh appends the weights of ASCII text.
func (a *asciiWeights) weigh(k *keyer, text []byte, caseLevel bool) {
	for _, b := range text {
		w := &a[b&0x7F]
		if w.tertiary == 0 {
			continue
		}
		k.primary = append(k.primary, w.primary[0], w.primary[1])
		k.secondary = append(k.secondary, w.secondary[0], w.secondary[1])
		k.tertiary = append(k.tertiary, w.tertiary)
		if caseLevel {
			k.cases = append(k.cases, w.tertiary)
		}
	}
}
