package match_test

import (
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/match"
)

func TestFailure(t *testing.T) {
	tests := []struct{ filter, doc, want string }{
		{`{"a":{"$gt":5}}`, `{"a":3}`,
			`{"operatorName":"$gt","specifiedAs":{"a":{"$gt":5}},"reason":"comparison failed","consideredValue":3}`},
		{`{"a":1}`, `{}`, `{"operatorName":"$eq","specifiedAs":{"a":{"$eq":1}},"reason":"field was missing"}`},
		{`{"$jsonSchema":{"required":["a","b"],"properties":{"a":{"bsonType":"string","description":"d"}}}}`, `{"a":1}`,
			`{"operatorName":"$jsonSchema","schemaRulesNotSatisfied":[` +
				`{"operatorName":"required","specifiedAs":{"required":["a","b"]},"missingProperties":["b"]},` +
				`{"operatorName":"properties","propertiesNotSatisfied":[{"propertyName":"a","description":"d","details":[` +
				`{"operatorName":"bsonType","specifiedAs":{"bsonType":"string"},"reason":"type did not match",` +
				`"consideredValue":1,"consideredType":"int"}]}]}]}`},
		{`{"$jsonSchema":{"properties":{"a":{}},"additionalProperties":false}}`, `{"a":1,"x":1}`,
			`{"operatorName":"$jsonSchema","schemaRulesNotSatisfied":[{"operatorName":"additionalProperties",` +
				`"specifiedAs":{"additionalProperties":false},"additionalProperties":["x"]}]}`},
		{`{"$or":[{"a":1},{"b":{"$not":{"$lt":3}}}]}`, `{"a":2,"b":1}`,
			`{"operatorName":"$or","clausesNotSatisfied":[` +
				`{"index":0,"details":{"operatorName":"$eq","specifiedAs":{"a":{"$eq":1}},"reason":"comparison failed","consideredValue":2}},` +
				`{"index":1,"details":{"operatorName":"$not","details":{"operatorName":"$lt","specifiedAs":{"b":{"$lt":3}},` +
				`"reason":"comparison succeeded","consideredValue":1}}}]}`},
	}
	for _, tt := range tests {
		got := compile(t, tt.filter).Failure(nil, parse(t, tt.doc))
		if string(got) != string(parse(t, tt.want)) {
			t.Errorf("%s on %s:\n got %s\nwant %s", tt.filter, tt.doc, bsonval.FormatDoc(got), tt.want)
		}
	}
}

func TestToBSON(t *testing.T) {
	tests := []struct{ filter, want string }{
		{`{"a":1,"b":{"$in":[2,1]}}`, `{"$and":[{"a":{"$eq":1}},{"b":{"$in":[1,2]}}]}`},
		{`{"a":{"$ne":1}}`, `{"a":{"$not":{"$eq":1}}}`},
		{`{"a":{"$elemMatch":{"$gt":1,"$ne":3}}}`, `{"a":{"$elemMatch":{"$gt":1,"$not":{"$eq":3}}}}`},
		{`{"$nor":[{"a":1},{"b":1}]}`, `{"$nor":[{"a":{"$eq":1}},{"b":{"$eq":1}}]}`},
		{`{}`, `{}`},
	}
	for _, tt := range tests {
		got := match.ToBSON(compile(t, tt.filter).Root())
		if string(got) != string(parse(t, tt.want)) {
			t.Errorf("%s: got %s", tt.filter, bsonval.FormatDoc(got))
		}
		if _, err := match.Compile(got, match.Options{}); err != nil {
			t.Errorf("%s does not compile again: %v", tt.filter, err)
		}
	}
}
