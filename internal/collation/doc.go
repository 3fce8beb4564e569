// Package collation reads collation documents and orders strings by them.
//
// A [Spec] is a collation document with all defaults filled in, as MongoDB
// stores and reports it. Its [Collator] orders strings by the locale's rules at
// the asked strength; locale "simple" has none, and strings order by bytes.
//
// # Keys
//
// Order is defined by sort keys alone: CompareStrings compares the keys that
// AppendKey makes, so an index over keys and a comparison in memory never
// disagree. A key is a list of levels, each ended by a zero weight, so that a
// string sorts before its extensions at each level:
//
//	primary (letters)  secondary (accents)  case  tertiary (variants)  quaternary  identical
//
// Weights of letters come from golang.org/x/text/collate. The options that it
// does not know are applied here, on the canonically decomposed text before it
// (numbers, ignored punctuation, kana) and on the weights after it (case,
// direction of accents).
//
// Keys are stored in collated indexes: a change of weights needs a rebuild, so
// the package's tests hold golden keys.
//
// # Deviations
//
// Weights are those of CLDR 23, MongoDB's of CLDR 29: symbols and letters added
// since differ in place, and scripts are not reordered for languages that are
// not written in Latin letters.
package collation
