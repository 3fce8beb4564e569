package conformance

import (
	"encoding/json"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// unmentioned are the fields of a reply that a raw expectation never looks at.
var unmentioned = []string{"$clusterTime", "operationTime", "electionId", "opTime"}

// check returns nil when the reply meets the expectation. resolve fills cursor references in.
func (e *Expectation) check(reply bson.D, resolve func(any) (any, error)) (*mismatch, error) {
	expected := func(raw json.RawMessage) (any, error) {
		v, err := parseValue(raw)
		if err != nil {
			return nil, err
		}
		return resolve(v)
	}
	switch {
	case e.ErrorCode != nil:
		return e.checkError(reply), nil
	case e.Success:
		if f := failure(reply, e.NoWriteErrors); f != nil && !slices.Contains(e.OrCodes, f.code) {
			return failed(f, "success"), nil
		}
		return nil, nil
	}
	if f := failure(reply, false); f != nil {
		return failed(f, "success"), nil
	}
	switch {
	case e.FirstBatch != nil:
		want, err := expected(e.FirstBatch)
		if err != nil {
			return nil, err
		}
		return e.checkFirstBatch(want, reply), nil
	case e.Raw != nil:
		want, err := expected(e.Raw)
		if err != nil {
			return nil, err
		}
		r := rules{partial: e.Partial, nan: e.NaN}
		return r.compareTop(withoutUnmentioned(want), withoutUnmentioned(reply), e.IgnoreOrderIn), nil
	}
	return e.checkProperties(reply, expected)
}

func withoutUnmentioned(v any) any {
	d, ok := v.(bson.D)
	if !ok {
		return v
	}
	out := make(bson.D, 0, len(d))
	for _, f := range d {
		if !slices.Contains(unmentioned, f.Key) {
			out = append(out, f)
		}
	}
	return out
}

func (e *Expectation) checkFirstBatch(want any, reply bson.D) *mismatch {
	got, _ := at(reply, "cursor.firstBatch")
	w, ok1 := want.(bson.A)
	g, ok2 := got.(bson.A)
	if !ok1 || !ok2 {
		return differ("no cursor.firstBatch", want, reply).under("firstBatch")
	}
	r := rules{partial: e.Partial, nan: e.NaN}
	equal := func(w, g any) *mismatch { return r.compareTop(w, g, e.IgnoreOrderIn) }
	if e.IgnoreDocOrder {
		return r.compareMultisets(w, g, equal).under("firstBatch")
	}
	if r.partial && len(g) > len(w) {
		g = g[:len(w)]
	}
	for i := range min(len(w), len(g)) {
		if m := equal(w[i], g[i]); m != nil {
			return m.under(fmt.Sprintf("firstBatch[%d]", i))
		}
	}
	if len(w) != len(g) {
		return lengthMismatch(w, g).under("firstBatch")
	}
	return nil
}

// commandFailure is what a reply says went wrong.
type commandFailure struct {
	code     int32
	codeName string
	message  string
	where    string // "command", "write" or "write concern"
}

// failure returns nil for a reply that counts as success; write errors count as failures when asked.
func failure(reply bson.D, withWriteErrors bool) *commandFailure {
	if ok, _ := field(reply, "ok"); !isOne(ok) {
		return describe(reply, "command")
	}
	if !withWriteErrors {
		return nil
	}
	if d := firstWriteError(reply); d != nil {
		return describe(d, "write")
	}
	if v, ok := field(reply, "writeErrors"); ok {
		return &commandFailure{message: show(v, 200), where: "write"}
	}
	if v, ok := field(reply, "writeConcernError"); ok {
		d, _ := v.(bson.D)
		return describe(d, "write concern")
	}
	return nil
}

func firstWriteError(reply bson.D) bson.D {
	v, _ := at(reply, "writeErrors.0")
	d, _ := v.(bson.D)
	return d
}

func describe(d bson.D, where string) *commandFailure {
	f := &commandFailure{where: where}
	if v, ok := field(d, "code"); ok {
		f.code, _ = v.(int32)
	}
	if v, ok := field(d, "codeName"); ok {
		f.codeName, _ = v.(string)
	}
	if v, ok := field(d, "errmsg"); ok {
		f.message, _ = v.(string)
	}
	return f
}

func (f *commandFailure) String() string {
	name := ""
	if f.codeName != "" {
		name = " " + f.codeName
	}
	return fmt.Sprintf("%s error %d%s: %s", f.where, f.code, name, f.message)
}

func failed(f *commandFailure, want string) *mismatch {
	return &mismatch{
		kind: fmt.Sprintf("want %s, got error %d %s", want, f.code, digest(f.message)),
		text: fmt.Sprintf("want %s, got %s", want, f),
	}
}

func (e *Expectation) checkError(reply bson.D) *mismatch {
	want := fmt.Sprintf("error %d", *e.ErrorCode)
	var f *commandFailure
	if ok, _ := field(reply, "ok"); !isOne(ok) {
		f = describe(reply, "command")
	} else if d := firstWriteError(reply); d != nil {
		f = describe(d, "write")
	} else {
		return &mismatch{
			kind: fmt.Sprintf("want %s, got success", want),
			text: fmt.Sprintf("want %s, got success: %s", want, show(reply, 400)),
		}
	}
	if f.code != *e.ErrorCode {
		return failed(f, want)
	}
	if e.ErrMsg != nil && f.message != *e.ErrMsg {
		return &mismatch{kind: "message differs", text: fmt.Sprintf("want message %q, got %q", *e.ErrMsg, f.message)}
	}
	return nil
}

func (e *Expectation) checkProperties(reply bson.D, expected func(json.RawMessage) (any, error)) (*mismatch, error) {
	if e.Of == "reply" && e.PerDoc == nil {
		return checkAll(e.Properties, reply, expected)
	}
	if e.Of != "docs" {
		return nil, fmt.Errorf("properties of %q", e.Of)
	}
	v, _ := at(reply, "cursor.firstBatch")
	docs, ok := v.(bson.A)
	if !ok {
		return differ("no cursor.firstBatch", bson.A{}, reply), nil
	}
	if e.PerDoc != nil && len(docs) != len(e.PerDoc) {
		return &mismatch{
			kind: "number of documents differs",
			text: fmt.Sprintf("%d documents instead of %d: %s", len(docs), len(e.PerDoc), show(docs, 400)),
		}, nil
	}
	if e.PerDoc == nil && len(docs) == 0 {
		return &mismatch{kind: "no documents", text: "no documents"}, nil
	}
	for i, d := range docs {
		checks := e.Properties
		if e.PerDoc != nil {
			checks = e.PerDoc[i]
		}
		m, err := checkAll(checks, d, expected)
		if m != nil || err != nil {
			return m.under(fmt.Sprintf("docs[%d]", i)), err
		}
	}
	return nil, nil
}

func checkAll(checks []Check, root any, expected func(json.RawMessage) (any, error)) (*mismatch, error) {
	for _, c := range checks {
		args := bson.A{}
		if c.Args != nil {
			v, err := expected(c.Args)
			if err != nil {
				return nil, err
			}
			a, ok := v.(bson.A)
			if !ok {
				return nil, fmt.Errorf("check %s with arguments %s", c.Check, show(v, 200))
			}
			args = a
		}
		holds, err := c.holds(root, args)
		if err != nil {
			return nil, err
		}
		if !holds {
			got := "nothing"
			if v, ok := at(root, c.Path); ok {
				got = show(v, 400)
			}
			return &mismatch{
				kind: "check " + c.Check + " at " + c.Path,
				text: fmt.Sprintf("%q does not hold %s %s, got %s", c.Path, c.Check, show(args, 400), got),
			}, nil
		}
	}
	return nil, nil
}
