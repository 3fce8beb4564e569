package match

import "github.com/archelon-db/archelon/internal/mongoerr"

// checkSpecial checks where $near and $text stand, which only an index can
// answer: one of either, and $near not under an $or or a negation.
func checkSpecial(root Node, o Options) error {
	texts, nears := 0, 0
	Walk(root, func(n Node) bool {
		switch n.(type) {
		case *Text:
			texts++
		case *GeoNear:
			nears++
		}
		return true
	})
	if texts == 0 && nears == 0 {
		return nil
	}
	direct := 0
	conjuncts := []Node{root}
	if and, ok := root.(*And); ok {
		conjuncts = and.Nodes
	}
	for _, n := range conjuncts {
		if _, ok := n.(*GeoNear); ok {
			direct++
		}
	}
	switch {
	case texts > 1:
		return mongoerr.New(mongoerr.BadValue, "Too many text expressions")
	case nears > 1:
		return mongoerr.New(mongoerr.BadValue, "Too many geoNear expressions")
	case texts > 0 && nears > 0:
		return mongoerr.New(mongoerr.BadValue, "text and geoNear not allowed in same query")
	case nears > direct:
		return mongoerr.New(mongoerr.BadValue, "geo $near must be top-level expr")
	case texts > 0 && underNegation(root):
		return mongoerr.New(mongoerr.BadValue, "text expression not allowed in nor")
	case texts > 0 && o.TextIndex == nil:
		return errNoTextIndex()
	}
	return nil
}

// underNegation says whether a $text stands in a $nor.
func underNegation(root Node) bool {
	found := false
	Walk(root, func(n Node) bool {
		switch n.(type) {
		case *Nor, *Not:
			Walk(n, func(n Node) bool {
				_, text := n.(*Text)
				found = found || text
				return true
			})
			return false
		}
		return true
	})
	return found
}
