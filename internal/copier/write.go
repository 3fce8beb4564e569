package copier

import (
	"context"
	"fmt"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// refused is a statement of a write command that failed.
type refused struct {
	index   int
	code    mongoerr.Code
	message string
	id      bool // about the uniqueness of _id
}

// byID is a filter for one document. $eq, as an _id may be a document whose fields look like operators.
func byID(id bsonval.Value) Doc {
	return bsonval.NewBuilder().StartDoc("_id").Value("$eq", id).End().Build()
}

// replacement is the statement that puts a document where one with its _id is, or makes it.
func replacement(d Doc) Doc {
	return bsonval.NewBuilderIn(make([]byte, 0, len(d)+128)).Doc("q", byID(d.Lookup("_id"))).Doc("u", d).Bool("upsert", true).Build()
}

// removal is the statement that deletes a document.
func removal(id bsonval.Value) Doc {
	return bsonval.NewBuilder().Doc("q", byID(id)).Int32("limit", 1).Build()
}

// send runs a write command and returns the statements that failed.
func (p *peer) send(ctx context.Context, to namespace, name, list string, docs []Doc, ordered, emptyTimes bool) ([]refused, error) {
	b := bsonval.NewBuilder().Str(name, to.coll).Bool("ordered", ordered)
	if name != "delete" {
		b.Bool("bypassDocumentValidation", true)
		if emptyTimes {
			// Else the server puts its clock where a document has an empty timestamp.
			b.Bool("bypassEmptyTsReplacement", true)
		}
	}
	reply, _, err := p.run(ctx, command{db: to.db, body: b.Build(), list: list, docs: docs})
	if err != nil {
		return nil, fmt.Errorf("write to %s: %w", to, err)
	}
	if wc := reply.Lookup("writeConcernError"); wc.Type() == bsonval.TypeDocument {
		return nil, fmt.Errorf("write to %s: write concern: %s", to, bsonval.FormatDoc(wc.Doc()))
	}
	var out []refused
	for it := documentOf(reply.Lookup("writeErrors")).Iter(); it.Next(); {
		out = append(out, refusedOf(documentOf(it.Value())))
	}
	return out, nil
}

func refusedOf(d Doc) refused {
	var r refused
	n, _ := d.Lookup("index").AsInt64()
	code, _ := d.Lookup("code").AsInt64()
	r.index, r.code = int(n), mongoerr.Code(code)
	if m := d.Lookup("errmsg"); m.Type() == bsonval.TypeString {
		r.message = string(m.Bytes())
	}
	pattern := documentOf(d.Lookup("keyPattern"))
	first, _, _ := pattern.First()
	r.id = r.code == mongoerr.DuplicateKey && pattern.Len() == 1 && first == "_id"
	return r
}

// chunks cuts documents into pieces of so many documents, and as many bytes as one command may have.
func chunks(docs []Doc, most int, yield func([]Doc) error) error {
	from, size := 0, 0
	for i, d := range docs {
		if i > from && (i-from >= most || size+len(d) > maxWriteBytes) {
			if err := yield(docs[from:i]); err != nil {
				return err
			}
			from, size = i, 0
		}
		size += len(d)
	}
	if from == len(docs) {
		return nil
	}
	return yield(docs[from:])
}

// insert inserts documents; those whose _id is there already are left as they are.
func (p *peer) insert(ctx context.Context, to namespace, docs []Doc, ordered bool) error {
	empty := false
	for _, d := range docs {
		empty = empty || hasEmptyTime(d)
	}
	failed, err := p.send(ctx, to, "insert", "documents", docs, ordered, empty)
	if err != nil {
		return err
	}
	for _, f := range failed {
		if !f.id {
			return refusal(to, docs[min(f.index, len(docs)-1)], f)
		}
	}
	return nil
}

func refusal(to namespace, d Doc, f refused) error {
	return fmt.Errorf("the target refuses document %s of %s: %s (code %d)", bsonval.Format(d.Lookup("_id")), to, f.message, f.code)
}

func refusedDelete(to namespace, f refused) error {
	return fmt.Errorf("the target refuses to delete from %s: %s (code %d)", to, f.message, f.code)
}

// hasEmptyTime tells documents with an empty timestamp in a field of their own.
func hasEmptyTime(d Doc) bool {
	for it := d.Iter(); it.Next(); {
		if v := it.Value(); v.Type() == bsonval.TypeTimestamp && v.Int64() == 0 {
			return true
		}
	}
	return false
}

// hasOperator tells documents that an update would take for operators: a field's name begins with a dollar sign.
func hasOperator(d Doc) bool {
	for it := d.Iter(); it.Next(); {
		if k := it.Key(); len(k) > 0 && k[0] == '$' {
			return true
		}
	}
	return false
}
