package importer

import (
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// column is a node of the header's tree: a cell, or a sub-document for headers with dots ("address.city").
type column struct {
	name     string
	cell     int // index of the cell, -1 for a sub-document
	convert  func(string) (any, error)
	typed    bool // a type was asked for that has no empty value
	children []*column
}

// csvDecoder builds documents from the cells of a record.
type csvDecoder struct {
	root         column
	names        []string
	delim        byte
	ignoreBlanks bool
}

func newCSVDecoder(names []string, types map[string]string, delim byte, ignoreBlanks bool) (*csvDecoder, error) {
	d := &csvDecoder{root: column{cell: -1}, names: names, delim: delim, ignoreBlanks: ignoreBlanks}
	for i, name := range names {
		typeName, listed := types[name]
		if !listed {
			typeName = "auto"
		}
		if err := d.root.add(strings.Split(name, "."), i, converters[typeName], typeName != "auto" && typeName != "string"); err != nil {
			return nil, fmt.Errorf("column %d %q: %w", i+1, name, err)
		}
	}
	for name := range types {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("a type is given for %q, but the columns are %s", name, strings.Join(names, ", "))
		}
	}
	return d, nil
}

func (c *column) add(path []string, cell int, convert func(string) (any, error), typed bool) error {
	if path[0] == "" || strings.IndexByte(path[0], 0) >= 0 {
		return fmt.Errorf("not a field name")
	}
	var child *column
	for _, x := range c.children {
		if x.name == path[0] {
			child = x
		}
	}
	if child != nil && (len(path) == 1 || child.cell >= 0) {
		return fmt.Errorf("the name is taken by another column")
	}
	if child == nil {
		child = &column{name: path[0], cell: -1}
		c.children = append(c.children, child)
	}
	if len(path) > 1 {
		return child.add(path[1:], cell, convert, typed)
	}
	child.cell, child.convert, child.typed = cell, convert, typed
	return nil
}

func (d *csvDecoder) decode(data []byte) (bson.Raw, error) {
	cells, quoted, err := splitCells(data, d.delim)
	if err != nil {
		return nil, err
	}
	if len(cells) > len(d.names) {
		return nil, fmt.Errorf("%d cells, but the header has %d columns", len(cells), len(d.names))
	}
	if len(cells) < len(d.names) {
		return nil, fmt.Errorf("only %d cells, but the header has %d columns", len(cells), len(d.names))
	}
	out, _, err := d.build(&d.root, cells, quoted)
	return out, err
}

// build writes the document of a node; empty says that no field was written.
func (d *csvDecoder) build(c *column, cells []string, quoted []bool) (doc bson.Raw, empty bool, err error) {
	out := make([]byte, 4, 128)
	for _, child := range c.children {
		if child.cell < 0 {
			sub, none, err := d.build(child, cells, quoted)
			if err != nil {
				return nil, false, err
			}
			if none {
				continue
			}
			out = append(append(out, byte(bson.TypeEmbeddedDocument)), child.name...)
			out = append(append(out, 0), sub...)
			continue
		}
		text := cells[child.cell]
		if text == "" && (child.typed || d.ignoreBlanks && !quoted[child.cell]) {
			continue
		}
		v, err := child.convert(text)
		if err != nil {
			return nil, false, fmt.Errorf("column %q: %w", d.names[child.cell], err)
		}
		if out, err = appendField(out, child.name, v); err != nil {
			return nil, false, fmt.Errorf("column %q: %w", d.names[child.cell], err)
		}
	}
	return finish(out), len(out) == 4, nil
}
