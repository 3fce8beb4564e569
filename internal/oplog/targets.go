package oplog

import "strings"

// Targets are the paths that an update's operators name. Build them once for an
// update; a nil *Targets names nothing.
type Targets struct {
	whole bool                // an operator's path ends here
	next  map[string]*Targets // by path component
	every *Targets            // behind $, $[] and $[name]: any element
}

// NewTargets makes the targets of dotted paths. The positional components $, $[]
// and $[name] stand for any element.
//
// The path of a $push that only appends is left out: MongoDB logs the appended
// elements.
func NewTargets(paths ...string) *Targets {
	root := &Targets{}
	for _, p := range paths {
		t := root
		for c := range strings.SplitSeq(p, ".") {
			t = t.under(c)
		}
		t.whole = true
	}
	return root
}

func (t *Targets) under(c string) *Targets {
	if c == "$" || strings.HasPrefix(c, "$[") {
		if t.every == nil {
			t.every = &Targets{}
		}
		return t.every
	}
	if t.next == nil {
		t.next = map[string]*Targets{}
	}
	if t.next[c] == nil {
		t.next[c] = &Targets{}
	}
	return t.next[c]
}

// here says whether an operator's path ends here.
func (t *Targets) here() bool { return t != nil && t.whole }

// fills says whether operators name elements by position, which fill an array up
// with nulls.
func (t *Targets) fills() bool { return t != nil && len(t.next) > 0 }

// noTarget is where no path leads.
var noTarget = Targets{}

// field is what is named under a field or element. Of a nil t it is nil; else
// never nil.
func (t *Targets) field(key []byte) *Targets {
	if t == nil {
		return nil
	}
	named, ok := t.next[string(key)]
	switch {
	case !ok && t.every == nil:
		return &noTarget
	case !ok:
		return t.every
	case t.every != nil:
		return t.both(named)
	}
	return named
}

// both joins what is named for any element with what is named for one.
func (t *Targets) both(named *Targets) *Targets {
	m := &Targets{whole: named.whole || t.every.whole, next: map[string]*Targets{}, every: t.every.every}
	for k, v := range t.every.next {
		m.next[k] = v
	}
	for k, v := range named.next {
		m.next[k] = v
	}
	if named.every != nil {
		m.every = named.every
	}
	return m
}
