package service

import (
	"errors"
	"slices"
	"strings"

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

// parseError reads the fields of an error document.
func parseError(d bsonval.Doc) *mongoerr.Error {
	e := &mongoerr.Error{Code: mongoerr.UnknownError}
	extra, at := bsonval.BeginDoc(nil)
	it := d.Iter()
	for it.Next() {
		v := it.Value()
		switch it.KeyStr() {
		case "ok":
		case "errmsg":
			if v.Type() == bsonval.TypeString {
				e.Message = strings.Clone(v.Str())
			}
		case "code":
			if n, ok := v.AsInt64(); v.IsNumber() && ok && n == int64(int32(n)) && n != 0 {
				e.Code = mongoerr.Code(n)
			}
		case "codeName":
			if v.Type() == bsonval.TypeString {
				e.Name = strings.Clone(v.Str())
			}
		case "errorLabels":
			if v.Type() != bsonval.TypeArray {
				continue
			}
			for _, l := range v.Doc().Values(nil) {
				if l.Type() == bsonval.TypeString {
					e.Labels = append(e.Labels, strings.Clone(l.Str()))
				}
			}
		case "$clusterTime", "operationTime":
		default:
			extra = append(extra, it.Raw()...)
		}
	}
	if e.Name == e.Code.Name() {
		e.Name = ""
	}
	if len(extra) > 4 {
		e.Extra = bsonval.EndDoc(extra, at)
	}
	return e
}

func hasLabel(e *mongoerr.Error, label string) bool { return slices.Contains(e.Labels, label) }
