package update

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// arrayFilter is a condition on array elements, by name.
type arrayFilter struct {
	name    string
	matcher *match.Matcher
	used    bool
}

func (p *Program) compileFilters(o Options) error {
	for _, d := range o.ArrayFilters {
		m, err := match.Compile(d, match.Options{Compiler: o.Compiler, Ban: match.AllFeatures})
		if err != nil {
			if e := mongoerr.As(err); e != nil {
				return e.Wrap("Error parsing array filter :: caused by :: ")
			}
			return err
		}
		name, err := filterName(m.Root())
		if err != nil {
			return err
		}
		for _, f := range p.filters {
			if f.name == name {
				return mongoerr.New(mongoerr.FailedToParse,
					"Found multiple array filters with the same top-level field name %s", name)
			}
		}
		p.filters = append(p.filters, arrayFilter{name: name, matcher: m})
	}
	return nil
}

// filterName is the one name that all the paths of a filter begin with.
func filterName(root match.Node) (string, error) {
	name, other := "", ""
	match.Walk(root, func(n match.Node) bool {
		f, ok := n.(interface{ FieldPath() string })
		if !ok {
			return true
		}
		first, _, _ := strings.Cut(f.FieldPath(), ".")
		switch {
		case name == "":
			name = first
		case name != first:
			other = first
		}
		return false
	})
	switch {
	case name == "":
		return "", mongoerr.New(mongoerr.FailedToParse,
			"Cannot use an expression without a top-level field name in arrayFilters")
	case other != "":
		return "", mongoerr.New(mongoerr.FailedToParse, "Error parsing array filter :: caused by ::"+
			" Expected a single top-level field name, found '%s' and '%s'", name, other)
	case !isFilterName(name):
		return "", mongoerr.New(mongoerr.BadValue, "Error parsing array filter :: caused by :: The top-level field name"+
			" must be an alphanumeric string beginning with a lowercase letter, found '%s'", name)
	}
	return name, nil
}

func isFilterName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		lower := c >= 'a' && c <= 'z'
		if !lower && (i == 0 || !(c >= 'A' && c <= 'Z' || c >= '0' && c <= '9')) {
			return false
		}
	}
	return s != ""
}

// filterMatches says whether an array filter matches an element; -1 is "$[]".
func (p *Program) filterMatches(index int, v bsonval.Value) (bool, error) {
	if index < 0 {
		return true, nil
	}
	f := &p.filters[index]
	return f.matcher.Match(nil, wrap(f.name, v))
}

// wrap makes {name: v}.
func wrap(name string, v bsonval.Value) bsonval.Doc {
	dst, at := bsonval.BeginDoc(make([]byte, 0, 64))
	return bsonval.EndDoc(bsonval.AppendElement(dst, name, v), at)
}
