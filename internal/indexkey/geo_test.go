package indexkey

import (
	"testing"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

func TestGeoKeys(t *testing.T) {
	for _, tc := range []struct {
		spec, doc string
		keys      int // -1: more than one
		multikey  uint32
		code      mongoerr.Code
	}{
		{`{"key": {"g": "2dsphere"}}`, `{"g": [1, 2]}`, 1, 0, 0},
		{`{"key": {"g": "2dsphere"}}`, `{"g": {"x": 1, "y": 2, "z": 3}}`, 1, 0, 0},
		{`{"key": {"g": "2dsphere"}}`, `{"g": {"type": "MultiPoint", "coordinates": [[1, 2], [50, 50]]}}`, -1, 1, 0},
		{`{"key": {"g": "2dsphere"}}`, `{"a": 1}`, 0, 0, 0},
		{`{"key": {"g": "2dsphere"}}`, `{"g": null}`, 0, 0, 0},
		{`{"key": {"g": "2dsphere"}, "2dsphereIndexVersion": 1}`, `{"g": null}`, 1, 0, 0},
		{`{"key": {"g": "2dsphere"}}`, `{"g": [[1, 2], [3, 4]]}`, 0, 0, 16755},
		{`{"key": {"a": 1, "g": "2dsphere"}}`, `{"g": [1, 2], "a": [1, 2, 3]}`, 3, 1, 0},
		{`{"key": {"a": 1, "g": "2dsphere"}}`, `{"g": [1, 2], "a": []}`, 1, 1, 0},
		{`{"key": {"a": 1, "g": "2dsphere"}}`, `{"a": 1}`, 0, 0, 0},
		{`{"key": {"a.g": "2dsphere", "a.b": 1}}`, `{"a": [{"g": [1, 2], "b": 1}, {"g": [3, 4], "b": 2}]}`, 4, 3, 0},
		{`{"key": {"g": "2dsphere", "h": "2dsphere"}}`, `{"h": [1, 2]}`, 1, 0, 0},
		{`{"key": {"p": "2d"}}`, `{"p": [1, 2]}`, 1, 0, 0},
		{`{"key": {"p": "2d"}}`, `{"p": {"lng": 1, "lat": 2}}`, 1, 0, 0},
		{`{"key": {"p": "2d"}}`, `{"p": [[1, 2], {"x": 3, "y": 4}, []]}`, 2, 1, 0},
		{`{"key": {"p": "2d", "a": 1}}`, `{"p": [1, 2], "a": [1, 2]}`, 2, 2, 0},
		{`{"key": {"p": "2d"}}`, `{"p": []}`, 0, 0, 0},
		{`{"key": {"p": "2d"}}`, `{"p": "x"}`, 0, 0, 0},
		{`{"key": {"p": "2d"}}`, `{"p": ["x", 1]}`, 0, 0, 16804},
		{`{"key": {"p": "2d"}, "min": 0, "max": 10}`, `{"p": [10, 0]}`, 1, 0, 0},
		{`{"key": {"p": "2d"}, "min": 0, "max": 10}`, `{"p": [11, 0]}`, 0, 0, 13027},
	} {
		var k Keys
		err := k.Of(generator(t, tc.spec), doc(t, tc.doc), nil)
		var code mongoerr.Code
		if e := mongoerr.As(err); e != nil {
			code = e.Code
		}
		if code != tc.code || err == nil && (len(k.List) != tc.keys && (tc.keys >= 0 || len(k.List) < 2) || k.Multikey != tc.multikey) {
			t.Errorf("%s %s: %d keys, multikey %b, error %v", tc.spec, tc.doc, len(k.List), k.Multikey, err)
		}
	}
}
