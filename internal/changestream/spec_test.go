package changestream

import (
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func TestParse(t *testing.T) {
	mark := HighWaterMarkAt(5).String()
	invalid := Token{ClusterTime: 5, FromInvalidate: true, Fragment: Whole}.String()
	for doc, code := range map[string]mongoerr.Code{
		`{}`: 0,
		`{"fullDocument":"default","fullDocumentBeforeChange":"off"}`:                                                       0,
		`{"fullDocument":"updateLookup","allChangesForCluster":false,"showExpandedEvents":true,"showMigrationEvents":true}`: 0,
		`{"showSystemEvents":false,"matchCollectionUUIDForUpdateLookup":true,"showRawUpdateDescription":true}`:              0,
		`{"resumeAfter":{"_data":"` + mark + `"}}`:                                                                          0,
		`{"startAfter":{"_data":"` + invalid + `"}}`:                                                                        0,
		`{"startAtOperationTime":{"$timestamp":{"t":1,"i":1}}}`:                                                             0,
		`{"nope":1}`:             40415,
		`{"fullDocument":1}`:     mongoerr.TypeMismatch,
		`{"fullDocument":"off"}`: mongoerr.BadValue,
		`{"fullDocumentBeforeChange":"updateLookup"}`: mongoerr.BadValue,
		`{"showExpandedEvents":1}`:                    mongoerr.TypeMismatch,
		`{"resumeAfter":1}`:                           mongoerr.TypeMismatch,
		`{"resumeAfter":{}}`:                          40647,
		`{"startAtOperationTime":1}`:                  mongoerr.TypeMismatch,
		`{"showSystemEvents":true}`:                   mongoerr.NotImplemented,
		`{"showSystemEvents":1}`:                      mongoerr.TypeMismatch,
		`{"version":"v2"}`:                            mongoerr.NotImplemented,
		`{"resumeAfter":{"_data":"` + invalid + `"}}`: mongoerr.InvalidResumeToken,
		`{"resumeAfter":{"_data":"` + mark + `"},"startAfter":{"_data":"` + mark + `"}}`:               50865,
		`{"resumeAfter":{"_data":"` + mark + `"},"startAtOperationTime":{"$timestamp":{"t":1,"i":1}}}`: 40674,
	} {
		_, err := Parse(bsonval.Document(js(t, doc)))
		if code == 0 && err != nil || code != 0 && !mongoerr.Is(err, code) {
			t.Errorf("%s: %v, want %d", doc, err, code)
		}
	}
	if _, err := Parse(one); !mongoerr.Is(err, 50808) {
		t.Errorf("%v", err)
	}
	twice := bsonval.NewBuilder().Bool("showExpandedEvents", true).Bool("showExpandedEvents", true).Build()
	if _, err := Parse(bsonval.Document(twice)); !mongoerr.Is(err, 40413) {
		t.Errorf("%v", err)
	}
}

func TestTarget(t *testing.T) {
	cluster := `{"allChangesForCluster":true}`
	for _, c := range []struct {
		spec, db, coll string
		want           Target
		code           mongoerr.Code
	}{
		{`{}`, "db", "c", Target{"db", "c"}, 0},
		{`{}`, "db", "", Target{DB: "db"}, 0},
		{cluster, "admin", "", Target{}, 0},
		{cluster, "db", "", Target{}, mongoerr.InvalidOptions},
		{cluster, "admin", "tmp", Target{}, mongoerr.InvalidOptions},
		{`{}`, "admin", "tmp", Target{}, mongoerr.InvalidNamespace},
		{`{}`, "admin", "", Target{}, mongoerr.InvalidNamespace},
		{`{}`, "local", "tmp", Target{}, mongoerr.InvalidNamespace},
		{`{}`, "config", "tmp", Target{}, mongoerr.InvalidNamespace},
		{`{}`, "db", "system.views", Target{}, mongoerr.InvalidNamespace},
		{`{}`, "db", "system.profile", Target{}, mongoerr.InvalidNamespace},
		{`{}`, "db", "systems", Target{"db", "systems"}, 0},
	} {
		got, err := spec(t, c.spec).Target(c.db, c.coll)
		if got != c.want || c.code == 0 && err != nil || c.code != 0 && !mongoerr.Is(err, c.code) {
			t.Errorf("%s on %s.%s: %v, %v", c.spec, c.db, c.coll, got, err)
		}
	}
	if !mongoerr.Is(ErrView("db", "v"), mongoerr.CommandNotSupportedOnView) || !mongoerr.Is(ErrStandalone(), 40573) {
		t.Error("the errors of views and of standalone servers")
	}
}

func FuzzParseSpec(f *testing.F) {
	f.Add([]byte(js(f, `{"fullDocument":"required","resumeAfter":{"_data":"82635019A0000000012B0429296E1404"}}`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if bsonval.Validate(b) != nil {
			return
		}
		if s, err := Parse(bsonval.Document(b)); err == nil {
			_ = s.Start(1).Token()
		} else if mongoerr.As(err) == nil {
			t.Fatalf("an error without a code: %v", err)
		}
	})
}
