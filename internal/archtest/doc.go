// Package archtest holds the tests of the architecture: which package may import
// which (see docs/architecture.md), that dependencies stay in their rooms, and
// that every package says what it is for.
package archtest
