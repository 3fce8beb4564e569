// Package regex matches Perl-compatible regular expressions as MongoDB's $regex
// and its relatives do: PCRE2 in UTF mode, newline is LF.
//
// A pattern is parsed here, with PCRE2's rules and error messages, into a tree.
// The tree is then written out for one of two engines:
//
//   - Go's regexp, in linear time, when the tree holds only what means the same
//     there. Literals and literal prefixes and suffixes skip even that.
//   - regexp2, a backtracking engine, for look-around, back-references, atomic
//     groups and the like, with a limit on time and memory per match.
//
// Character classes are computed here as sets of code points, so that \d, \w, \s,
// POSIX names, (*UCP) and case folding mean the same in both engines. Where Go's
// engine lacks a meaning only for some subjects ("$" before a last newline), the
// subject chooses the engine.
//
// A Regex is immutable and safe for concurrent use. Not supported, and refused
// when compiling: recursion into a group that is still open, callouts,
// backtracking verbs other than (*FAIL), newline conventions other than LF.
package regex
