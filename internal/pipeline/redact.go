package pipeline

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var redactRows = []row{
	{name: "$redact", doc: "Keeps, prunes or descends into each level of the documents.", parse: parseRedact, streaming: true},
}

// The results that $$KEEP, $$PRUNE and $$DESCEND stand for.
const (
	redactDescend = "descend"
	redactPrune   = "prune"
	redactKeep    = "keep"
)

type redactStage struct {
	spec bsonval.Value
	e    expr.Expr
	slot [3]int // of the variables DESCEND, PRUNE, KEEP
	root int    // of CURRENT
}

var redactNames = [3]string{redactDescend, redactPrune, redactKeep}

func parseRedact(p *parser, arg bsonval.Value) ([]stage, error) {
	s := &redactStage{spec: arg}
	closeScope := p.c.Scope()
	defer closeScope()
	s.root = p.c.Declare("CURRENT")
	for i, n := range [3]string{"DESCEND", "PRUNE", "KEEP"} {
		s.slot[i] = p.c.Declare(n)
	}
	e, err := p.c.Compile(arg)
	s.e = e
	return []stage{s}, err
}

func (s *redactStage) name() string           { return "$redact" }
func (s *redactStage) explain() bsonval.Value { return s.spec }
func (s *redactStage) needs() needs           { return needsAll }
func (s *redactStage) open(_ context.Context, r *run, src Source) (Source, error) {
	return &redactSource{input: newInput(r, src), s: s}, nil
}

type redactSource struct {
	input
	s   *redactStage
	buf []byte
}

func (x *redactSource) Next(ctx context.Context) (bsonval.Doc, error) {
	for {
		d, err := x.nextBound(ctx)
		if err != nil {
			return nil, err
		}
		for i, slot := range x.s.slot {
			x.r.c.Vars[slot] = bsonval.String(redactNames[i])
		}
		out, kept, err := x.redact(x.buf[:0], d)
		x.buf = out
		if err != nil {
			return nil, err
		}
		if kept {
			return out, nil
		}
	}
}

// redact appends what is left of a document.
func (x *redactSource) redact(dst []byte, d bsonval.Doc) ([]byte, bool, error) {
	x.r.c.Vars[x.s.root] = bsonval.Document(d)
	v, err := x.s.e.Eval(x.r.c)
	if err != nil {
		return dst, false, err
	}
	verdict := ""
	if v.Type() == bsonval.TypeString {
		verdict = v.Str()
	}
	switch verdict {
	case redactKeep:
		return append(dst, d...), true, nil
	case redactPrune:
		return dst, false, nil
	case redactDescend:
		dst, at := bsonval.BeginDoc(dst)
		it := d.Iter()
		for it.Next() {
			if dst, err = x.descend(dst, it.Key(), it.Value()); err != nil {
				return dst, false, err
			}
		}
		return bsonval.EndDoc(dst, at), true, nil
	}
	return dst, false, mongoerr.New(17053, "$redact's expression should not return anything aside from the variables $$KEEP, $$DESCEND, and $$PRUNE, but returned %s", bsonval.Format(v))
}

// descend appends an element if its value survives.
func (x *redactSource) descend(dst, key []byte, v bsonval.Value) ([]byte, error) {
	start := len(dst)
	dst = append(append(append(dst, byte(v.Type())), key...), 0)
	out, kept, err := x.value(dst, v)
	if err != nil || !kept {
		return dst[:start], err
	}
	return out, nil
}

func (x *redactSource) value(dst []byte, v bsonval.Value) ([]byte, bool, error) {
	switch v.Type() {
	case bsonval.TypeDocument:
		return x.redact(dst, v.Doc())
	case bsonval.TypeArray:
		return x.array(dst, v.Doc())
	}
	return bsonval.AppendValue(dst, v), true, nil
}

func (x *redactSource) array(dst []byte, a bsonval.Doc) ([]byte, bool, error) {
	dst, at := bsonval.BeginDoc(dst)
	n := 0
	it := a.Iter()
	for it.Next() {
		start := len(dst)
		dst = append(dst, byte(it.Value().Type()))
		dst = append(bsonval.AppendIndexKey(dst, n), 0)
		out, kept, err := x.value(dst, it.Value())
		if err != nil {
			return dst, false, err
		}
		if dst = dst[:start]; kept {
			dst = out
			n++
		}
	}
	return bsonval.EndDoc(dst, at), true, nil
}
