package update

import (
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// maxBackfill is how many nulls may fill an array up to a new position.
const maxBackfill = 1500000

// action is what an operation does to a value.
type action uint8

const (
	keep action = iota
	set
	remove
)

// leafOp is an operation at the end of a path.
type leafOp interface {
	// apply gives what becomes of a value, which is missing if the path does not
	// exist.
	apply(a *application, n *node, old bsonval.Value) (bsonval.Value, action, error)
	// demand says whether a missing path is created, and whether one that cannot
	// be created is an error.
	demand(a *application) (create, viable bool)
}

// application is one update of one document.
type application struct {
	p       *Program
	doc     bsonval.Doc
	in      Input
	dst     []byte
	changed bool
	moved   []bsonval.Value // values of the renames; missing for none
}

func (a *application) run() (bsonval.Doc, error) {
	if len(a.p.renames) > 0 {
		if err := a.findRenames(); err != nil {
			return nil, err
		}
	}
	a.dst = slices.Grow(a.in.Room[:0], len(a.doc)+64)
	if err := a.document(a.p.root, a.doc); err != nil {
		return nil, err
	}
	return a.dst, nil
}

// document writes a document updated by n.
func (a *application) document(n *node, d bsonval.Doc) error {
	n, err := n.resolve(a)
	if err != nil {
		return err
	}
	if len(n.filtered) > 0 {
		return mongoerr.New(mongoerr.BadValue, "Cannot apply array updates to non-array element %s: %s",
			n.path, bsonval.FormatDoc(d))
	}
	at := 0
	a.dst, at = bsonval.BeginDoc(a.dst)
	var seen bitset
	it := d.Iter()
	for it.Next() {
		i := n.findBytes(it.Key())
		if i < 0 || seen.has(i) {
			a.dst = append(a.dst, it.Raw()...)
			continue
		}
		seen.add(i)
		if err := a.element(n.children[i].node, it.Key(), it.Value(), false); err != nil {
			return err
		}
	}
	for i := range n.children {
		if !seen.has(i) {
			if err := a.create(n.children[i].node, n.children[i].name); err != nil {
				return err
			}
		}
	}
	a.dst = bsonval.EndDoc(a.dst, at)
	return nil
}

// element writes an existing element updated by n.
func (a *application) element(n *node, key []byte, v bsonval.Value, inArray bool) error {
	if n.leaf != nil {
		return a.leaf(n, key, v, inArray)
	}
	switch v.Type() {
	case bsonval.TypeDocument:
		a.dst = append(append(append(a.dst, byte(bsonval.TypeDocument)), key...), 0)
		return a.document(n, v.Doc())
	case bsonval.TypeArray:
		a.dst = append(append(append(a.dst, byte(bsonval.TypeArray)), key...), 0)
		return a.array(n, v.Doc())
	}
	if len(n.filtered) > 0 {
		return mongoerr.New(mongoerr.BadValue, "Cannot apply array updates to non-array element %s: %s",
			key, bsonval.Format(v))
	}
	n, err := n.resolve(a)
	if err != nil {
		return err
	}
	if _, viable := n.demand(a); viable {
		return notViable(n, string(key), v)
	}
	a.dst = bsonval.AppendElementBytes(a.dst, key, v)
	return nil
}

func notViable(n *node, key string, v bsonval.Value) error {
	name := "$"
	if len(n.children) > 0 {
		name = n.children[0].name
	}
	return mongoerr.New(mongoerr.PathNotViable, "Cannot create field '%s' in element {%s: %s}",
		name, key, bsonval.Format(v))
}

func (a *application) leaf(n *node, key []byte, v bsonval.Value, inArray bool) error {
	r, act, err := n.leaf.apply(a, n, v)
	if err != nil {
		return err
	}
	switch {
	case act == keep:
		a.dst = bsonval.AppendElementBytes(a.dst, key, v)
		return nil
	case act == remove && inArray:
		if v.Type() != bsonval.TypeNull {
			a.changed = true
		}
		a.dst = bsonval.AppendElementBytes(a.dst, key, bsonval.Null)
	case act == remove:
		a.changed = true
	default:
		a.changed = true
		a.dst = bsonval.AppendElementBytes(a.dst, key, r)
	}
	return nil
}

// create writes a path that does not exist.
func (a *application) create(n *node, name string) error {
	if n.leaf != nil {
		r, act, err := n.leaf.apply(a, n, bsonval.Missing)
		if err != nil || act != set {
			return err
		}
		a.changed = true
		a.dst = bsonval.AppendElement(a.dst, name, r)
		return nil
	}
	if len(n.filtered) > 0 {
		return mongoerr.New(mongoerr.BadValue,
			"The path '%s' must exist in the document in order to apply array updates.", n.path)
	}
	n, err := n.resolve(a)
	if err != nil {
		return err
	}
	if create, _ := n.demand(a); !create {
		return nil
	}
	at := 0
	a.dst, at = bsonval.BeginElement(a.dst, bsonval.TypeDocument, name)
	for i := range n.children {
		if err := a.create(n.children[i].node, n.children[i].name); err != nil {
			return err
		}
	}
	a.changed = true
	a.dst = bsonval.EndDoc(a.dst, at)
	return nil
}

// array writes an array updated by n.
func (a *application) array(n *node, arr bsonval.Doc) error {
	n, err := n.resolve(a)
	if err != nil {
		return err
	}
	if len(n.filtered) > 0 {
		return a.filteredArray(n, arr)
	}
	at, length := 0, 0
	a.dst, at = bsonval.BeginDoc(a.dst)
	var seen bitset
	it := arr.Iter()
	for ; it.Next(); length++ {
		i := n.findBytes(it.Key())
		if i < 0 {
			a.dst = append(a.dst, it.Raw()...)
			continue
		}
		seen.add(i)
		if err := a.element(n.children[i].node, it.Key(), it.Value(), true); err != nil {
			return err
		}
	}
	for i := range n.children {
		if seen.has(i) {
			continue
		}
		if length, err = a.extend(n, n.children[i], arr, length); err != nil {
			return err
		}
	}
	a.dst = bsonval.EndDoc(a.dst, at)
	return nil
}

// extend creates an element past the end of an array, after nulls up to it.
func (a *application) extend(n *node, c child, arr bsonval.Doc, length int) (int, error) {
	create, viable := c.node.demand(a)
	position := match.Position(c.name)
	switch {
	case position < 0 && viable:
		return length, mongoerr.New(mongoerr.PathNotViable, "Cannot create field '%s' in element {%s: %s}",
			c.name, n.path, bsonval.Format(bsonval.Array(arr)))
	case position < 0 || !create:
		return length, nil
	case position-length > maxBackfill:
		return length, mongoerr.New(mongoerr.CannotBackfillArray,
			"can't backfill more than %d elements", maxBackfill)
	}
	for ; length < position; length++ {
		a.dst = append(a.dst, byte(bsonval.TypeNull))
		a.dst = append(bsonval.AppendIndexKey(a.dst, length), 0)
	}
	return length + 1, a.create(c.node, c.name)
}

// filteredArray applies the nodes of array filters to the elements that they
// match.
func (a *application) filteredArray(n *node, arr bsonval.Doc) error {
	if len(n.children) > 0 {
		return conflict(n.path, n.path)
	}
	at := 0
	a.dst, at = bsonval.BeginDoc(a.dst)
	it := arr.Iter()
	for it.Next() {
		var target *node
		for _, f := range n.filtered {
			ok, err := a.p.filterMatches(f.index, it.Value())
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if target == nil {
				target = f.node
			} else if target, err = merge(target, f.node); err != nil {
				return err
			}
		}
		if target == nil {
			a.dst = append(a.dst, it.Raw()...)
		} else if err := a.element(target, it.Key(), it.Value(), true); err != nil {
			return err
		}
	}
	a.dst = bsonval.EndDoc(a.dst, at)
	return nil
}

// describe names the document in messages.
func (a *application) describe() string {
	return "{_id: " + bsonval.Format(a.doc.Lookup("_id")) + "}"
}

// bitset is the children of a node met so far.
type bitset struct {
	low  uint64
	more map[int]bool
}

func (s *bitset) add(i int) {
	if i < 64 {
		s.low |= 1 << i
		return
	}
	if s.more == nil {
		s.more = map[int]bool{}
	}
	s.more[i] = true
}

func (s *bitset) has(i int) bool {
	if i < 64 {
		return s.low&(1<<i) != 0
	}
	return s.more[i]
}
