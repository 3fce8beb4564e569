package service

import (
	"errors"
	"slices"
	"strings"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// driverError is what the errors of the official driver that come from a server have in common.
type driverError interface {
	error
	ErrorCodes() []int
	HasErrorLabel(label string) bool
}

// knownLabels are the labels that drivers act on.
var knownLabels = []string{
	mongoerr.LabelTransientTransaction, mongoerr.LabelUnknownTransactionCommit, mongoerr.LabelRetryableWrite,
	mongoerr.LabelSystemOverloaded, mongoerr.LabelRetryable, mongoerr.LabelNonResumableChangeStream, mongoerr.LabelResumableChangeStream,
}

// fromDriver is the error that another server answered to a handler that called it by the official driver, so that it
// reaches our client as it was; nil if err is no such error.
func fromDriver(err error) *mongoerr.Error {
	var d driverError
	if !errors.As(err, &d) {
		return nil
	}
	codes := d.ErrorCodes()
	if len(codes) == 0 || codes[0] == 0 {
		return nil
	}
	e := &mongoerr.Error{Code: mongoerr.Code(codes[0]), Message: d.Error()}
	// The driver writes the code's name before the message.
	if name, rest, ok := strings.Cut(strings.TrimPrefix(e.Message, "("), ") "); ok && strings.HasPrefix(e.Message, "(") {
		e.Message = rest
		if name != e.Code.Name() {
			e.Name = name
		}
	}
	for _, label := range knownLabels {
		if d.HasErrorLabel(label) {
			e.Labels = append(e.Labels, label)
		}
	}
	return e
}

// errorDoc is the error document that a client gets for err.
func errorDoc(err error) bsonval.Doc {
	b, at := bsonval.BeginDoc(nil)
	return bsonval.EndDoc(server.AppendError(b, err), at)
}

// errorOf is the error of an error document, nil if the document tells of success.
func errorOf(d bsonval.Doc) *mongoerr.Error {
	if ok := d.Lookup("ok"); ok.Truthy() || ok.IsMissing() {
		return nil
	}
	return parseError(d)
}

// parseError reads the fields of an error document, which may lack its `ok`.
func parseError(d bsonval.Doc) *mongoerr.Error {
	b, at := bsonval.BeginDoc(make([]byte, 0, len(d)+16))
	b = bsonval.AppendElement(b, "ok", bsonval.Double(0))
	it := d.Iter()
	for it.Next() {
		switch it.KeyStr() {
		case "ok", "$clusterTime", "operationTime":
		default:
			b = append(b, it.Raw()...)
		}
	}
	return mongoerr.As(egress.CommandError(bsonval.EndDoc(b, at)))
}

func hasLabel(e *mongoerr.Error, label string) bool { return slices.Contains(e.Labels, label) }
