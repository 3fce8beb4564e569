package update

// LoggedPaths are the paths whose values the operation log has whole: those that
// operators name. Positional components stand as "$" and "$[]". A $push that only
// appends is left out, since the log has the appended elements instead. Nil if the
// update is no list of operators.
func (p *Program) LoggedPaths() []string {
	if p.kind != Operators {
		return nil
	}
	return p.root.loggedPaths([]string{}, "")
}

func (n *node) loggedPaths(dst []string, path string) []string {
	if n.leaf != nil {
		if push, ok := n.leaf.(*pushOp); !ok || push.hasPosition || push.hasSlice || push.order != nil {
			dst = append(dst, path)
		}
	}
	for _, c := range n.children {
		dst = c.node.loggedPaths(dst, joinPath(path, c.name))
	}
	if n.positional != nil {
		dst = n.positional.loggedPaths(dst, joinPath(path, "$"))
	}
	for _, f := range n.filtered {
		dst = f.node.loggedPaths(dst, joinPath(path, "$[]"))
	}
	return dst
}
