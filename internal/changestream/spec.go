package changestream

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// stageName is how error messages call the stage.
const stageName = "$changeStream"

// Image says when events have a document's image.
type Image uint8

// The values of fullDocument and fullDocumentBeforeChange.
const (
	ImageOff           Image = iota // "default" or "off"
	ImageLookup                     // "updateLookup": the document as it is now
	ImageWhenAvailable              // "whenAvailable": null where there is none
	ImageRequired                   // "required": an error where there is none
)

// Spec is a $changeStream stage's argument.
type Spec struct {
	FullDocument         Image
	BeforeChange         Image
	ResumeAfter          *Token
	StartAfter           *Token
	StartAt              uint64 // startAtOperationTime; 0: none
	hasStartAt           bool
	Cluster              bool // allChangesForCluster
	Expanded             bool // showExpandedEvents
	RawUpdateDescription bool // showRawUpdateDescription
	MatchUUID            bool // matchCollectionUUIDForUpdateLookup
}

var fullDocumentModes = map[string]Image{
	"default": ImageOff, "updateLookup": ImageLookup, "whenAvailable": ImageWhenAvailable, "required": ImageRequired,
}

var beforeChangeModes = map[string]Image{
	"off": ImageOff, "whenAvailable": ImageWhenAvailable, "required": ImageRequired,
}

// options are the stage's options.
var options = map[string]func(s *Spec, name string, v bsonval.Value) error{
	"fullDocument": func(s *Spec, name string, v bsonval.Value) error {
		return setMode(&s.FullDocument, fullDocumentModes, name, v)
	},
	"fullDocumentBeforeChange": func(s *Spec, name string, v bsonval.Value) error {
		return setMode(&s.BeforeChange, beforeChangeModes, name, v)
	},
	"resumeAfter":              func(s *Spec, name string, v bsonval.Value) error { return setToken(&s.ResumeAfter, name, v) },
	"startAfter":               func(s *Spec, name string, v bsonval.Value) error { return setToken(&s.StartAfter, name, v) },
	"startAtOperationTime":     setStartAt,
	"allChangesForCluster":     func(s *Spec, name string, v bsonval.Value) error { return setBool(&s.Cluster, name, v) },
	"showExpandedEvents":       func(s *Spec, name string, v bsonval.Value) error { return setBool(&s.Expanded, name, v) },
	"showRawUpdateDescription": func(s *Spec, name string, v bsonval.Value) error { return setBool(&s.RawUpdateDescription, name, v) },
	"matchCollectionUUIDForUpdateLookup": func(s *Spec, name string, v bsonval.Value) error {
		return setBool(&s.MatchUUID, name, v)
	},
	// There are no chunks that migrate, so there is nothing to show or to hide.
	"showMigrationEvents":    func(_ *Spec, name string, v bsonval.Value) error { return setBool(new(bool), name, v) },
	"showSystemEvents":       refuseTrue,
	"allowToRunOnConfigDB":   refuseTrue,
	"allowToRunOnSystemNS":   refuseTrue,
	"ignoreRemovedShards":    refuseTrue,
	"supportedEvents":        refuse,
	"version":                refuse,
	"resumeAfterClusterTime": refuse,
}

// Parse reads the stage's argument.
func Parse(arg bsonval.Value) (*Spec, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(50808, "$changeStream stage expects a document as argument.")
	}
	s := &Spec{}
	seen := map[string]bool{}
	it := arg.Doc().Iter()
	for it.Next() {
		name := it.KeyStr()
		set, ok := options[name]
		if !ok {
			return nil, mongoerr.New(40415, "BSON field '%s.%s' is an unknown field.", stageName, name)
		}
		if seen[name] {
			return nil, mongoerr.New(40413, "BSON field '%s.%s' is a duplicate field", stageName, name)
		}
		seen[name] = true
		if err := set(s, name, it.Value()); err != nil {
			return nil, err
		}
	}
	return s, s.checkStart()
}

// checkStart refuses more than one starting point, and resumeAfter behind an
// invalidate event.
func (s *Spec) checkStart() error {
	switch {
	case s.ResumeAfter != nil && s.StartAfter != nil:
		return mongoerr.New(50865, "Do not specify both 'resumeAfter' and 'startAfter' in a $changeStream stage")
	case s.hasStartAt && (s.ResumeAfter != nil || s.StartAfter != nil):
		return mongoerr.New(40674, "Only one type of resume option is allowed, but multiple were found.")
	case s.ResumeAfter != nil && s.ResumeAfter.FromInvalidate:
		return mongoerr.New(mongoerr.InvalidResumeToken,
			"Attempting to resume a change stream using 'resumeAfter' is not allowed from an invalidate notification.")
	}
	return nil
}

func errType(name string, v bsonval.Value, want string) error {
	return mongoerr.New(mongoerr.TypeMismatch, "BSON field '%s.%s' is the wrong type '%s', expected type '%s'",
		stageName, name, v.Type(), want)
}

func setBool(b *bool, name string, v bsonval.Value) error {
	if v.Type() != bsonval.TypeBool {
		return errType(name, v, "bool")
	}
	*b = v.Bool()
	return nil
}

func setMode(m *Image, modes map[string]Image, name string, v bsonval.Value) error {
	if v.Type() != bsonval.TypeString {
		return errType(name, v, "string")
	}
	mode, ok := modes[v.Str()]
	if !ok {
		return mongoerr.New(mongoerr.BadValue, "Enumeration value '%s' for field '%s.%s' is not a valid value.", v.Str(), stageName, name)
	}
	*m = mode
	return nil
}

func setToken(t **Token, name string, v bsonval.Value) error {
	if v.Type() != bsonval.TypeDocument {
		return errType(name, v, "object")
	}
	token, err := DecodeDoc(v.Doc())
	*t = &token
	return err
}

func setStartAt(s *Spec, name string, v bsonval.Value) error {
	if v.Type() != bsonval.TypeTimestamp {
		return errType(name, v, "timestamp")
	}
	s.StartAt, s.hasStartAt = uint64(v.Int64()), true
	return nil
}

// refuse is for options of MongoDB's own components.
func refuse(_ *Spec, name string, _ bsonval.Value) error {
	return mongoerr.New(mongoerr.NotImplemented, "$changeStream option '%s' is not implemented", name)
}

// refuseTrue is refuse for options that may be false.
func refuseTrue(s *Spec, name string, v bsonval.Value) error {
	on := false
	if err := setBool(&on, name, v); err != nil || !on {
		return err
	}
	return refuse(s, name, v)
}

// Target is what a stream watches: a collection, a database (no Coll), or
// everything (no DB).
type Target struct{ DB, Coll string }

// Target checks that a stream with these options may be opened on a namespace; a
// database's has no collection. The caller refuses views ([ErrView]).
func (s *Spec) Target(db, coll string) (Target, error) {
	if s.Cluster {
		if db != "admin" || coll != "" {
			return Target{}, mongoerr.New(mongoerr.InvalidOptions,
				"A $changeStream with 'allChangesForCluster:true' may only be opened on the 'admin' database, and with no collection name; found %s", join(db, coll))
		}
		return Target{}, nil
	}
	if isInternalDB(db) {
		return Target{}, mongoerr.New(mongoerr.InvalidNamespace, "$changeStream may not be opened on the internal %s database", db)
	}
	if isSystem(coll) {
		return Target{}, mongoerr.New(mongoerr.InvalidNamespace, "$changeStream may not be opened on the internal %s collection", join(db, coll))
	}
	return Target{db, coll}, nil
}

func join(db, coll string) string {
	if coll == "" {
		return db
	}
	return db + "." + coll
}

// isInternalDB tells the databases that nobody watches.
func isInternalDB(db string) bool { return db == "admin" || db == "local" || db == "config" }

// isSystem tells the collections that nobody watches.
func isSystem(coll string) bool { return strings.HasPrefix(coll, "system.") }

// ErrView refuses a stream on a view.
func ErrView(db, coll string) error {
	return mongoerr.New(mongoerr.CommandNotSupportedOnView, "Namespace %s is a view, not a collection", join(db, coll))
}

// ErrStandalone refuses a stream where there is no oplog.
func ErrStandalone() error {
	return mongoerr.New(40573, "The $changeStream stage is only supported on replica sets")
}
