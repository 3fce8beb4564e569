package regex

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

func mustCompile(t *testing.T, pattern, options string) *Regex {
	t.Helper()
	r, err := Compile(pattern, options)
	if err != nil {
		t.Fatalf("%q %q: %v", pattern, options, err)
	}
	return r
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, options string
		yes, no          []string
	}{
		{"", "", []string{"", "a"}, nil},
		{"abc", "", []string{"abc", "xabcx"}, []string{"", "ab", "ABC"}},
		{"^abc", "", []string{"abc", "abcx"}, []string{"xabc", "\nabc"}},
		{"abc$", "", []string{"abc", "xabc", "abc\n"}, []string{"abcx", "abc\n\n"}},
		{"^abc$", "", []string{"abc", "abc\n"}, []string{"abc\n\n", "xabc"}},
		{"^a.c$", "", []string{"abc", "a©c\n"}, []string{"abc\nx", "a\nc"}},
		{`abc\Z`, "", []string{"abc", "abc\n"}, []string{"abcx"}},
		{`abc\z`, "", []string{"abc"}, []string{"abc\n"}},
		{`\Aabc`, "m", []string{"abc"}, []string{"x\nabc"}},
		{"^b", "m", []string{"b", "a\nb", "a\nb\n"}, []string{"ab"}},
		{"^$", "m", []string{"", "\n", "\n\n", "a\n\nb"}, []string{"a\n", "a"}},
		{"a$", "m", []string{"a", "a\nb", "a\n"}, []string{"ab"}},
		{"a.b", "s", []string{"a\nb"}, []string{"ab"}},
		{"a.b", "", []string{"axb", "a\rb", "a日b"}, []string{"a\nb"}},
		{"a b # c\nd", "x", []string{"abd"}, []string{"a bd"}},
		{`a\ b[ #]`, "x", []string{"a b ", "a b#"}, []string{"ab"}},
		{"(?x)a b", "", []string{"ab"}, []string{"a b"}},
		{"(?i)a(?-i)bc", "", []string{"abc", "Abc"}, []string{"aBC"}},
		{"(?i:abc)def", "", []string{"ABCdef"}, []string{"abcDEF"}},
		{"(a(?i)b|c)d", "", []string{"aBd", "Cd"}, []string{"ABd", "cD"}},
		{"istanbul", "i", []string{"Istanbul"}, []string{"İstanbul"}},
		{"straße", "i", []string{"Straße", "STRAẞE"}, []string{"STRASSE"}},
		{"^привет$", "i", []string{"Привет"}, []string{"Привеt"}},
		{"^[à-ö]$", "i", []string{"É", "é"}, []string{"E"}},
		{"^[^k]$", "i", []string{"a"}, []string{"k", "K", "\u212a"}},
		{`^\w$`, "i", []string{"k", "_"}, []string{"\u212a", "ſ", "é"}},
		{`^[\W]$`, "i", []string{"\u212a", "é", " "}, []string{"k"}},
		{`^\d+$`, "", []string{"123"}, []string{"١٢٣", ""}},
		{`(*UCP)^\d+$`, "", []string{"123", "١٢٣"}, []string{"x"}},
		{`(*UCP)^\w+$`, "", []string{"café", "日本語"}, []string{"a b"}},
		{`(*UTF)(*UCP)\byster`, "", []string{"yster"}, []string{"Öyster", "oyster"}},
		{`\byster`, "", []string{"Öyster", "yster"}, []string{"oyster"}},
		{`\Bcat`, "", []string{"concat"}, []string{"cat", "a cat"}},
		{`^[[:alpha:]]+$`, "", []string{"abc"}, []string{"é", "a1"}},
		{`(*UCP)^[[:alpha:]]+$`, "", []string{"abcé"}, []string{"1"}},
		{`^[[:^alpha:]x]+$`, "", []string{"1é", "x"}, []string{"a"}},
		{`^[[:upper:]]$`, "i", []string{"a", "A"}, []string{"1"}},
		{`^\s$`, "", []string{" ", "\t", "\v", "\n"}, []string{"\u00a0", "\u0085"}},
		{`^\h\H\v\V$`, "", []string{"\u00a0x\u2028y"}, []string{"xxxx"}},
		{`^a\Rb$`, "", []string{"a\r\nb", "a\nb", "a\u2028b"}, []string{"a\n\nb", "ab"}},
		{`^a\Nb$`, "s", []string{"axb"}, []string{"a\nb"}},
		{`^\p{Lu}\P{Lu}\pL\p{^L}$`, "", []string{"Aab1"}, []string{"aab1"}},
		{`^\p{Latin}\p{Greek}\p{script=Cyrillic}\p{L&}\p{Any}$`, "", []string{"aαяA!"}, []string{"ααяA!"}},
		{`^\p{Lu}$`, "i", []string{"a", "A"}, []string{"1"}},
		{`^[\p{Nd}x-z]+$`, "", []string{"x٣"}, []string{"w"}},
		{`^[]a]+$`, "", []string{"]a"}, []string{"b"}},
		{`^[^]a]+$`, "", []string{"b"}, []string{"]"}},
		{`^[a\-z]+$`, "", []string{"a-z"}, []string{"b"}},
		{`^[-a]+$`, "", []string{"a-"}, []string{"b"}},
		{`^[a-]+$`, "", []string{"a-"}, []string{"b"}},
		{`^[\Qa-]\E]+$`, "", []string{"a-]"}, []string{"b"}},
		{`^[\x41\x{42}\103\t\\]+$`, "", []string{"ABC\t\\"}, []string{"D"}},
		{`^[a-c-e]+$`, "", []string{"ab-e"}, []string{"d"}},
		{`^[&&[a]+$`, "", []string{"&[a"}, []string{"b"}},
		{`^[ a b]+$`, "x", []string{"a b"}, []string{"c"}},
		{`^(?xx)[a b]+$`, "", []string{"ab"}, []string{"a b"}},
		{`\Qa.b*\E+c`, "", []string{"a.b***c"}, []string{"axbc", "a.ba.bc"}},
		{`\Q^$`, "", []string{"x^$"}, []string{""}},
		{`a{2}b{1,}c{1,2}$`, "", []string{"aabbcc"}, []string{"abc", "aabccc"}},
		{`^a{,2}$`, "", []string{"a{,2}"}, []string{"aa"}},
		{`^a{x}{$`, "", []string{"a{x}{"}, []string{"a"}},
		{`^a{1001}$`, "", []string{strings.Repeat("a", 1001)}, []string{strings.Repeat("a", 1000)}},
		{`^(abc)\1$`, "", []string{"abcabc"}, []string{"abc"}},
		{`^(abc)\1$`, "i", []string{"abcABC"}, []string{"abcab"}},
		{`^(?<a>x)(?P<b>y)(?'c'z)\k<a>\k{b}(?P=c)\g{a}\g1\g{-1}$`, "", []string{"xyzxyzxxz"}, []string{"xyzxyz"}},
		{`^(a)?\1b$`, "", []string{"aab"}, []string{"b", "ab"}},
		{`foo(?=bar)`, "", []string{"foobar"}, []string{"foobaz"}},
		{`foo(?!bar)`, "", []string{"foobaz"}, []string{"foobar"}},
		{`(?<=foo|ba)r`, "", []string{"foor", "bar"}, []string{"fr"}},
		{`(?<!foo)bar`, "", []string{"bazbar"}, []string{"foobar"}},
		{`^(?>a+)ab`, "", nil, []string{"aaab"}},
		{`^(?>abc)+$`, "", []string{"abcabc"}, []string{"ab"}},
		{`a++b`, "", []string{"aaab"}, []string{"bbb"}},
		{`^a++a`, "", nil, []string{"aaa"}},
		{`^a{1,3}+a`, "", []string{"aaaa"}, []string{"aaa"}},
		{`^(a)?(?(1)b|c)$`, "", []string{"ab", "c"}, []string{"ac", "b"}},
		{`^(?<q>")?a(?(<q>)")$`, "", []string{`"a"`, "a"}, []string{`"a`, `a"`}},
		{`^(?(?=a)ab|cd)$`, "", []string{"ab", "cd"}, []string{"ad"}},
		{`^(?|(a)|(b))\1$`, "", []string{"aa", "bb"}, []string{"ab"}},
		{`foo\Kbar`, "", []string{"foobar"}, []string{"bar", "foo"}},
		{`^(\d+)-(?1)$`, "", []string{"12-345"}, []string{"12-"}},
		{`(?(DEFINE)(?<n>[0-9]{2}))^(?&n):(?P>n)$`, "", []string{"12:34"}, []string{"1:2"}},
		{`a(?#comment)b`, "", []string{"ab"}, []string{"a"}},
		{`a(?#c)+b`, "", []string{"aab"}, []string{"b"}},
		{`a(*FAIL)|b`, "", []string{"b"}, []string{"a"}},
		{`\x41\u`, "", nil, nil},
		{`\0\01\x{1F600}\o{101}\cA\e`, "", []string{"\x00\x01\U0001F600A\x01\x1b"}, []string{"x"}},
		{`^\X$`, "", []string{"e\u0301", "a"}, []string{"ab"}},
		{`(?U)^(a+)`, "", []string{"aa"}, nil},
		{`a.+?b`, "", []string{"aXb"}, []string{"ab"}},
		{`(?n)(a)(?<b>b)`, "", []string{"ab"}, nil},
		{`(?^)a`, "i", []string{"a"}, []string{"A"}},
		{"é", "", []string{"é"}, []string{"e\u0301"}},
		{`^(((((a)))))$`, "", []string{"a"}, []string{"b"}},
		{`[^\x{0}-\x{10FFFF}]`, "", nil, []string{"a", ""}},
		{"a", "u", []string{"a"}, nil},
		{"a", "iimm", []string{"A"}, nil},
		{"^a.*b", "", []string{"a\xffb", "ab"}, []string{"a\xff"}},
	} {
		if c.yes == nil && c.no == nil {
			continue
		}
		r := mustCompile(t, c.pattern, c.options)
		for i, s := range append(append([]string{}, c.yes...), c.no...) {
			got, err := r.Match(t.Context(), []byte(s))
			if err != nil {
				t.Errorf("%q %q: %v", c.pattern, s, err)
			}
			if want := i < len(c.yes); got != want {
				t.Errorf("%q (%s) matches %q: %v, want %v", c.pattern, c.options, s, got, want)
			}
			// The backtracking engine must agree with what chose another.
			slow, err := r.slow()
			if err != nil {
				t.Errorf("%q: %v", c.pattern, err)
				continue
			}
			if again, err := slow.MatchString(s); err != nil || again != got {
				t.Errorf("%q on %q: engines differ (%v, %v)", c.pattern, s, again, err)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		pattern, options string
		code             mongoerr.Code
		reason           string
	}{
		{"a", "g", 51108, " invalid flag in regex options: g"},
		{"a", "i m", 51108, " invalid flag in regex options:  "},
		{"a", "I", 51108, " invalid flag in regex options: I"},
		{"[invalid", "", 51091, "missing terminating ] for character class"},
		{"(unclosed", "", 51091, "missing closing parenthesis"},
		{"a)", "", 51091, "unmatched closing parenthesis"},
		{"*a", "", 51091, "quantifier does not follow a repeatable item"},
		{"a**", "", 51091, "quantifier does not follow a repeatable item"},
		{"{2}", "", 51091, "quantifier does not follow a repeatable item"},
		{"^*", "", 51091, "quantifier does not follow a repeatable item"},
		{"(?<=a+)b", "", 51091, "lookbehind assertion is not fixed length"},
		{"(?<=a(b|cd))b", "", 51091, "lookbehind assertion is not fixed length"},
		{`a\`, "", 51091, `\ at end of pattern`},
		{`\i`, "", 51091, `unrecognized character follows \`},
		{"a{2,1}", "", 51091, "numbers out of order in {} quantifier"},
		{"a{65536}", "", 51091, "number too big in {} quantifier"},
		{"[b-a]", "", 51091, "range out of order in character class"},
		{`[\d-z]`, "", 51091, "invalid range in character class"},
		{`[a-\d]`, "", 51091, "invalid range in character class"},
		{`[\B]`, "", 51091, "escape sequence is invalid in character class"},
		{`(a)\2`, "", 51091, "reference to non-existent subpattern"},
		{`(?&x)`, "", 51091, "reference to non-existent subpattern"},
		{"(?<n>a)(?<n>b)", "", 51091, "two named subpatterns have the same name (PCRE2_DUPNAMES not set)"},
		{"(?z)", "", 51091, "unrecognized character after (? or (?-"},
		{"[:alpha:]", "", 51091, "POSIX named classes are supported only within a class"},
		{"[[:foo:]]", "", 51091, "unknown POSIX class name"},
		{"[[.a.]]", "", 51091, "POSIX collating elements are not supported"},
		{`\p{Foo}`, "", 51091, `unknown property after \P or \p`},
		{`\p{Lu`, "", 51091, `malformed \P or \p sequence`},
		{`\x{110000}`, "", 51091, `character code point value in \x{} or \o{} is too large`},
		{`\x{d800}`, "", 51091, "disallowed Unicode code point (>= 0xd800 && <= 0xdfff)"},
		{"(?#a", "", 51091, "missing ) after (?# comment"},
		{"(?(1)a|b|c)", "", 51091, "conditional subpattern contains more than two branches"},
		{"(?R)", "", 51091, "recursion is not supported"},
		{"(a(?1))", "", 51091, "recursion is not supported"},
		{"(*CRLF)a", "", 51091, "newline conventions other than (*LF) are not supported"},
		{"(*FOO)a", "", 51091, "(*VERB) not recognized or malformed"},
		{"a\xff", "", 51091, "UTF-8 error: illegal byte"},
		{strings.Repeat("(", 251) + strings.Repeat(")", 251), "", 51091, "parentheses are too deeply nested"},
		{strings.Repeat("a", 16385), "", 51091, "pattern string is longer than the limit set by the application"},
	} {
		_, err := Compile(c.pattern, c.options)
		if !mongoerr.Is(err, c.code) || Reason(err) != c.reason {
			t.Errorf("%.30q: %v, want %d %s", c.pattern, err, c.code, c.reason)
		}
	}
	mustCompile(t, strings.Repeat("a", 16384), "")
	mustCompile(t, strings.Repeat("(", 250)+strings.Repeat(")", 250), "")
}

func TestFind(t *testing.T) {
	for _, c := range []struct {
		pattern, subject string
		start            int
		want             string
	}{
		{"b", "abcb", 0, "[1 2]"},
		{"b", "abcb", 2, "[3 4]"},
		{"^b", "abcb", 1, "[]"},
		{`\bb`, "ab b", 1, "[3 4]"},
		{"(a)|(b)", "xb", 0, "[1 2 -1 -1 1 2]"},
		{"(?=(ll))", "hello", 0, "[2 2 2 4]"},
		{`foo\K(b)ar`, "xfoobar", 0, "[4 7 4 5]"},
		{"é(b)", "aéb", 0, "[1 4 3 4]"},
		{"(a)$", "a\n", 0, "[0 1 0 1]"},
		{"(?<=é)b", "éb", 2, "[2 3]"},
		{"(a|b)*c", "abc", 0, "[0 3 1 2]"},
		{"(?P<w>[a-z]+)(?P<n>[0-9]+)", "abc123", 0, "[0 6 0 3 3 6]"},
		{"(?|(a)|(b))(c)", "bc", 0, "[0 2 0 1 1 2]"},
		{"x", "aaa", 3, "[]"},
	} {
		r := mustCompile(t, c.pattern, "")
		got, err := r.Find(t.Context(), []byte(c.subject), c.start)
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%q in %q from %d: %v %v, want %s", c.pattern, c.subject, c.start, got, err, c.want)
		}
	}
}

func TestFindAll(t *testing.T) {
	for _, c := range []struct{ pattern, subject, want string }{
		{"", "", "[[0 0]]"},
		{"", "héo", "[[0 0] [1 1] [3 3]]"},
		{"()", "abc", "[[0 0 0 0] [1 1 1 1] [2 2 2 2]]"},
		{"a*", "baaac", "[[0 0] [1 4] [4 4]]"},
		{"a+", "aaa", "[[0 3]]"},
		{"a+?", "aaa", "[[0 1] [1 2] [2 3]]"},
		{"(?=a)", "aba", "[[0 0] [2 2]]"},
		{"^a", "aa", "[[0 1]]"},
		{"$", "ab", "[[2 2]]"},
		{"abc", "", "[]"},
		{"(cat)|(dog)", "cat dog", "[[0 3 0 3 -1 -1] [4 7 -1 -1 4 7]]"},
	} {
		got, err := mustCompile(t, c.pattern, "").FindAll(t.Context(), []byte(c.subject))
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%q in %q: %v %v, want %s", c.pattern, c.subject, got, err, c.want)
		}
	}
}

func TestLiteralPrefix(t *testing.T) {
	for _, c := range []struct {
		pattern, options, prefix string
		exact                    bool
	}{
		{"^abc", "", "abc", true},
		{`\Aabc`, "", "abc", true},
		{`\Aabc`, "m", "abc", true},
		{"^abc", "m", "", false},
		{"^abc", "i", "", false},
		{"^(?i)abc", "", "", false},
		{"^ab c", "x", "abc", true},
		{"^abc.*", "", "abc", true},
		{"^abc.*", "s", "abc", true},
		{"^abc.", "", "abc", false},
		{"^abc$", "", "abc", false},
		{"^ab*", "", "a", false},
		{"^ab?c", "", "a", false},
		{"^abc|d", "", "", false},
		{"^(?:abc)d", "", "", false},
		{`^\Qa.b\E`, "", "a.b", true},
		{`^a\.b`, "", "a.b", true},
		{`^a\/é`, "", "a/é", true},
		{"^", "", "", true},
		{"abc", "", "", false},
	} {
		prefix, exact := mustCompile(t, c.pattern, c.options).LiteralPrefix()
		if prefix != c.prefix || exact != c.exact {
			t.Errorf("%q %s: %q %v, want %q %v", c.pattern, c.options, prefix, exact, c.prefix, c.exact)
		}
	}
}

func TestLiteral(t *testing.T) {
	for _, c := range []struct{ pattern, options, literal string }{
		{"abc", "", "abc"},
		{"^abc$", "", "abc"},
		{"ab.*cde", "", "cde"},
		{"(ab)cd?e", "", "c"},
		{"abc|d", "", ""},
		{"(?:abc|d)e", "", "e"},
		{"(?:abc)", "", "abc"},
		{"abc", "i", ""},
		{"(?i)abc(?-i)d", "", "d"},
		{"(abc)?(?!x)yz", "", "yz"},
		{"abc*", "", "ab"},
		{"é+x", "", "x"},
		{"", "", ""},
	} {
		if got := mustCompile(t, c.pattern, c.options).Literal(); got != c.literal {
			t.Errorf("%q %s: %q, want %q", c.pattern, c.options, got, c.literal)
		}
	}
}

func TestHostilePatternFails(t *testing.T) {
	r := mustCompile(t, `^(a|aa|aaa)*\1b`, "")
	subject := []byte(strings.Repeat("a", 100) + "!b")
	if _, err := r.Match(t.Context(), subject); !mongoerr.Is(err, 51156) {
		t.Errorf("want a match limit, got %v", err)
	}
	if r.MatchBytes(subject) {
		t.Error("matches")
	}
}

// TestDeadline ends a match at the deadline of its context, before its own limit.
func TestDeadline(t *testing.T) {
	r := mustCompile(t, `^(a|aa|aaa)*\1b`, "")
	subject := []byte(strings.Repeat("a", 100) + "!b")
	for name, match := range map[string]func(context.Context) error{
		"Match": func(ctx context.Context) error { _, err := r.Match(ctx, subject); return err },
		"Find":  func(ctx context.Context) error { _, err := r.Find(ctx, subject, 0); return err },
		"Each":  func(ctx context.Context) error { return r.Each(ctx, subject, func([]int) error { return nil }) },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		began := time.Now()
		err := match(ctx)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
	if ok, err := r.Match(nil, []byte("aab")); !ok || err != nil { //nolint:staticcheck // a nil context is allowed
		t.Errorf("without a context: %v, %v", ok, err)
	}
}

// TestEnginesAgree compares the engines on random patterns that both know, and
// our reading of them with Go's.
func TestEnginesAgree(t *testing.T) {
	const seed = 7
	rnd := rand.New(rand.NewPCG(seed, seed))
	parts := []string{"a", "b", "[ab]", "[^a]", ".", "(a)", "(?:b|c)", "(a|ab)", "^", "$", "*", "+?", "{1,2}", "|", `\b`, "(b*)", "c"}
	subjects := []string{"", "a", "b", "ab", "ba", "abab", "aabbc", "abc\n", "\n", "a b", "cab\nab"}
	for range 3000 {
		var b strings.Builder
		for range 1 + rnd.IntN(5) {
			b.WriteString(parts[rnd.IntN(len(parts))])
		}
		pattern := b.String()
		r, err := Compile(pattern, "")
		if err != nil {
			continue
		}
		theirs, theirErr := regexp.Compile(pattern)
		for _, s := range subjects {
			got, err := r.Find(t.Context(), []byte(s), 0)
			if err != nil {
				t.Fatalf("%q on %q: %v", pattern, s, err)
			}
			if ok := r.MatchBytes([]byte(s)); ok != (got != nil) {
				t.Fatalf("%q on %q: match %v, found %v", pattern, s, ok, got)
			}
			slow, err := r.findSlow(t.Context(), []byte(s), 0)
			if err != nil || fmt.Sprint(slow) != fmt.Sprint(got) {
				t.Fatalf("%q on %q: %v, backtracking %v (%v) (seed %d)", pattern, s, got, slow, err, seed)
			}
			if theirErr == nil && !strings.HasSuffix(s, "\n") && !r.capturesDiffer {
				if want := theirs.FindStringSubmatchIndex(s); fmt.Sprint(want) != fmt.Sprint(got) {
					t.Fatalf("%q on %q: %v, Go %v", pattern, s, got, want)
				}
			}
		}
	}
}

func TestFastPathDoesNotAllocate(t *testing.T) {
	subject := []byte("the quick brown fox")
	for _, pattern := range []string{"quick", "^the", "fox$", "^t.*x$", "q[a-z]+k"} {
		r := mustCompile(t, pattern, "")
		if n := testing.AllocsPerRun(100, func() { r.MatchBytes(subject) }); n != 0 {
			t.Errorf("%q: %v allocations", pattern, n)
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{`(?<=a|b)c`, `[\Qa\E-z]`, `(?(1)a|b)(c)`, `(?|(a)|(b))`, `\g{-1}(a)`, `(?(DEFINE)(?<n>a))(?&n)`, `a{2,3}+`, `(*UCP)\w`} {
		f.Add(s, "ix", []byte("abc\n"))
	}
	f.Fuzz(func(t *testing.T, pattern, options string, subject []byte) {
		if len(pattern) > 200 || len(subject) > 50 {
			return
		}
		r, err := Compile(pattern, options)
		if err != nil {
			if mongoerr.As(err) == nil {
				t.Fatalf("%q: %v", pattern, err)
			}
			return
		}
		prefix, _ := r.LiteralPrefix()
		ok, err := r.Match(t.Context(), subject)
		if err == nil && ok && !strings.HasPrefix(string(subject), prefix) {
			t.Fatalf("%q matches %q without prefix %q", pattern, subject, prefix)
		}
		if loc, findErr := r.Find(t.Context(), subject, 0); err == nil && findErr == nil && ok != (loc != nil) {
			t.Fatalf("%q on %q: match %v, found %v", pattern, subject, ok, loc)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	subject := []byte("the quick brown fox jumps over the lazy dog")
	for _, pattern := range []string{"lazy", "^the", "j[a-z]+s", "(?<=over )the"} {
		b.Run(pattern, func(b *testing.B) {
			r, err := Compile(pattern, "")
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				r.MatchBytes(subject)
			}
		})
	}
}
