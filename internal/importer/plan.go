package importer

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// plan is a file made ready for reading: where records come from and how they become documents.
type plan struct {
	input  *input
	source source
	decode decoder
	ids    identifier
	first  *record // read ahead to know the file; next returns it first
	early  []error // bad records before it
}

func prepare(c *Config) (*plan, error) {
	in, err := open(c)
	if err != nil {
		return nil, err
	}
	p := &plan{input: in}
	seed, err := p.choose(c)
	if err != nil {
		in.close()
		return nil, err
	}
	for {
		rec, err := p.source.next()
		if isBad(err) {
			p.early = append(p.early, err)
			continue
		}
		if err != nil && err != io.EOF {
			in.close()
			return nil, err
		}
		if err == nil {
			p.first = &rec
			seed = append(seed, rec.data...)
		}
		p.ids = newIdentifier(c.IDField, seed)
		return p, nil
	}
}

// choose sets the source and the decoder by the format; seed is what of the file's head is no record.
func (p *plan) choose(c *Config) (seed []byte, err error) {
	switch p.input.format {
	case "json":
		p.source, p.decode = newJSONSource(p.input.r), retyped(decodeJSON, c.Types)
	case "jsonl":
		p.source, p.decode = &linesSource{lines: lineReader{r: p.input.r}}, retyped(decodeJSON, c.Types)
	case "bson":
		p.source, p.decode = &bsonSource{r: p.input.r}, retyped(decodeBSON, c.Types)
	default:
		return p.chooseCSV(c)
	}
	if len(c.Fields) > 0 || c.Delimiter != "" || c.IgnoreBlanks {
		return nil, fmt.Errorf("--fields, --delimiter and --ignore-blanks are for CSV files, %s is %s", c.File, p.input.format)
	}
	return nil, nil
}

func (p *plan) chooseCSV(c *Config) ([]byte, error) {
	delim := byte(',')
	if p.input.format == "tsv" {
		delim = '\t'
	}
	if c.Delimiter != "" {
		delim = c.Delimiter[0]
	}
	src := &csvSource{lines: lineReader{r: p.input.r}, delim: delim}
	names := slices.Clone(c.Fields)
	if len(names) == 0 {
		head, err := src.next()
		if err == io.EOF {
			return nil, errors.New("the file is empty: a CSV file begins with its header")
		}
		if err != nil {
			return nil, fmt.Errorf("header: %w", err)
		}
		if names, _, err = splitCells(head.data, delim); err != nil {
			return nil, fmt.Errorf("header: %w", err)
		}
		src.number = 0
	}
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	d, err := newCSVDecoder(names, c.Types, delim, c.IgnoreBlanks)
	if err != nil {
		return nil, err
	}
	p.source, p.decode = src, d.decode
	return []byte(strings.Join(names, "\x00")), nil
}

// next yields the records that were read ahead, then the rest.
func (p *plan) next() (record, error) {
	if len(p.early) > 0 {
		err := p.early[0]
		p.early = p.early[1:]
		return record{}, err
	}
	if p.first != nil {
		rec := *p.first
		p.first = nil
		return rec, nil
	}
	return p.source.next()
}
