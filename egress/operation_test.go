package egress

import (
	"errors"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

func bsonDoc(t *testing.T, v any) Doc {
	t.Helper()
	raw, err := bson.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func operationOf(t *testing.T, body bson.D) *Operation {
	t.Helper()
	return &Operation{Command: Command{DB: "db", Body: bsonDoc(t, body)}}
}

func TestPlan(t *testing.T) {
	one, many := bson.D{{Key: "multi", Value: false}}, bson.D{{Key: "multi", Value: true}}
	sequence := func(op *Operation, name string, docs ...bson.D) *Operation {
		s := Sequence{Name: name}
		for _, d := range docs {
			s.Documents = append(s.Documents, bsonDoc(t, d))
		}
		op.Sequences = append(op.Sequences, s)
		return op
	}
	for _, test := range []struct {
		name                 string
		op                   *Operation
		repeatable, numbered bool
		write                bool
	}{
		{"find", operationOf(t, bson.D{{Key: "find", Value: "c"}}), true, false, false},
		{"unknown", operationOf(t, bson.D{{Key: "frobnicate", Value: 1}}), false, false, false},
		{"getMore", operationOf(t, bson.D{{Key: "getMore", Value: 1}}), false, false, false},
		{"$out", operationOf(t, bson.D{{Key: "aggregate", Value: "c"}, {Key: "pipeline", Value: bson.A{bson.D{{Key: "$merge", Value: "x"}}}}}), false, false, true},
		{"aggregate", operationOf(t, bson.D{{Key: "aggregate", Value: "c"}, {Key: "pipeline", Value: bson.A{1, bson.D{{Key: "$match", Value: 1}}}}}), true, false, false},
		{"create", operationOf(t, bson.D{{Key: "create", Value: "c"}}), false, false, true},
		{"insert", operationOf(t, bson.D{{Key: "insert", Value: "c"}}), true, true, true},
		{"update one", operationOf(t, bson.D{{Key: "update", Value: "c"}, {Key: "updates", Value: bson.A{one}}}), true, true, true},
		{"update many", operationOf(t, bson.D{{Key: "update", Value: "c"}, {Key: "updates", Value: bson.A{one, many}}}), false, false, true},
		{"update sequence", sequence(operationOf(t, bson.D{{Key: "update", Value: "c"}}), "updates", one), true, true, true},
		{"update many in a sequence", sequence(operationOf(t, bson.D{{Key: "update", Value: "c"}}), "updates", one, many), false, false, true},
		{"delete one", operationOf(t, bson.D{{Key: "delete", Value: "c"}, {Key: "deletes", Value: bson.A{bson.D{{Key: "limit", Value: 1}}}}}), true, true, true},
		{"delete many", operationOf(t, bson.D{{Key: "delete", Value: "c"}, {Key: "deletes", Value: bson.A{bson.D{{Key: "limit", Value: 0}}}}}), false, false, true},
		{"bulkWrite", sequence(operationOf(t, bson.D{{Key: "bulkWrite", Value: 1}}), "ops", bson.D{{Key: "insert", Value: 0}}), true, true, true},
		{"bulkWrite many", sequence(operationOf(t, bson.D{{Key: "bulkWrite", Value: 1}}), "ops", bson.D{{Key: "update", Value: 0}, {Key: "multi", Value: true}}), false, false, true},
		{"commit", operationOf(t, bson.D{{Key: "commitTransaction", Value: 1}, {Key: "autocommit", Value: false}}), true, false, true},
		{"find in a transaction", operationOf(t, bson.D{{Key: "find", Value: "c"}, {Key: "autocommit", Value: false}}), false, false, true},
	} {
		c := &Client{}
		p := c.plan(test.op)
		if p.repeatable != test.repeatable || p.numbered != test.numbered || (p.selector.preference == nil) != test.write {
			t.Errorf("%s: repeatable %v, numbered %v, write %v", test.name, p.repeatable, p.numbered, p.selector.preference == nil)
		}
		c.cfg.NoRetryReads, c.cfg.NoRetryWrites = true, true
		if p = c.plan(test.op); p.repeatable != (test.name == "commit") {
			t.Errorf("%s: repeatable though retries are off", test.name)
		}
	}
}

func TestNetworkErrorLabels(t *testing.T) {
	for name, want := range map[string][]string{
		"insert":            {mongoerr.LabelRetryableWrite},
		"find":              nil,
		"commitTransaction": {mongoerr.LabelRetryableWrite, mongoerr.LabelUnknownTransactionCommit},
		"abortTransaction":  {mongoerr.LabelRetryableWrite},
		"count":             {mongoerr.LabelTransientTransaction},
	} {
		body := bson.D{{Key: name, Value: 1}}
		if name == "count" {
			body = append(body, bson.E{Key: "autocommit", Value: false})
		}
		p := (&Client{}).plan(operationOf(t, body))
		for _, e := range []*StatusError{
			{Code: mongoerr.HostUnreachable, Phase: PhaseCommand}, {Code: mongoerr.PooledConnectionsDropped, Phase: PhaseLocal},
		} {
			p.label(e)
			p.label(e)
			if !slices.Equal(e.Labels, want) {
				t.Errorf("%s: %v", name, e.Labels)
			}
		}
		e := &StatusError{Code: mongoerr.CallbackCanceled, Phase: PhaseCommand}
		if p.label(e); e.Labels != nil {
			t.Errorf("%s: canceled, and labeled %v", name, e.Labels)
		}
	}
}

func TestCommandError(t *testing.T) {
	for _, reply := range []bson.D{
		{{Key: "ok", Value: 1}}, {{Key: "ok", Value: 1.0}}, {{Key: "ok", Value: int64(1)}}, {{Key: "ok", Value: true}},
	} {
		if err := CommandError(bsonDoc(t, reply)); err != nil {
			t.Errorf("%v: %v", reply, err)
		}
	}
	for code, reply := range map[Code]bson.D{
		mongoerr.CommandResultSchemaViolation: {{Key: "n", Value: 1}},
		mongoerr.UnknownError:                 {{Key: "ok", Value: 0}, {Key: "code", Value: "x"}, {Key: "errmsg", Value: 1}, {Key: "errorLabels", Value: 1}},
		5739101:                               {{Key: "$err", Value: "gone"}, {Key: "code", Value: 5739101}, {Key: "ok", Value: 0.0}},
	} {
		if err := CommandError(bsonDoc(t, reply)); CodeOf(err) != code {
			t.Errorf("%v: %v", reply, err)
		}
	}
	concern := bsonDoc(t, bson.D{{Key: "ok", Value: 1}, {Key: "writeConcernError", Value: bson.D{{Key: "code", Value: 91}, {Key: "errmsg", Value: "bye"}}}})
	if err := writeConcernError(concern); CodeOf(err) != mongoerr.ShutdownInProgress || err.Error() != "bye" {
		t.Error(err)
	}
}

// TestStatusErrorIsAnswered: a server that hands on a failure of this side answers with its code and labels.
func TestStatusErrorIsAnswered(t *testing.T) {
	cause := errors.New("cause")
	err := error(&StatusError{Code: mongoerr.HostUnreachable, Host: "h:1", Message: "connect", Labels: []string{"L"}, Err: cause})
	e := mongoerr.As(err)
	if e == nil || e.Code != mongoerr.HostUnreachable || !HasLabel(err, "L") || !errors.Is(err, cause) ||
		e.Message != "HostUnreachable: connect (h:1): cause" {
		t.Errorf("%+v", e)
	}
	if CodeOf(nil) != 0 || CodeOf(cause) != 0 || HasLabel(nil, "L") {
		t.Error("codes of what has none")
	}
}

func TestNewCommand(t *testing.T) {
	raw := bsonDoc(t, bson.D{{Key: "ping", Value: 1}})
	for _, body := range []any{bson.D{{Key: "ping", Value: 1}}, raw, bson.Raw(raw), []byte(raw), struct{ Ping int32 }{1}} {
		c, err := NewCommand("db", body)
		if err != nil || c.Name() != "ping" {
			t.Errorf("%T: %v, %v", body, c.Name(), err)
		}
	}
	if _, err := NewCommand("db", 7); err == nil {
		t.Error("a number is no command")
	}
	c := Command{DB: "db", Body: raw, Metadata: bsonDoc(t, bson.D{{Key: "lsid", Value: 1}}), Sequences: []Sequence{{Name: "s", Documents: []Doc{raw}}}}
	want := bson.D{
		{Key: "ping", Value: int32(1)}, {Key: "lsid", Value: int32(1)},
		{Key: "s", Value: bson.A{bson.D{{Key: "ping", Value: int32(1)}}}}, {Key: "$db", Value: "db"},
	}
	if got := c.Document(); string(got) != string(bsonDoc(t, want)) {
		t.Errorf("%v", bson.Raw(got))
	}
}
