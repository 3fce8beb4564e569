package database

import (
	"context"
	"testing"
	"time"
)

func TestNearTmp(t *testing.T) {
	d := open(t)
	addIndex(t, d, `{"loc": "2dsphere"}`, `{}`)
	insert(t, d, doc(t, `{"_id": 1, "loc": {"type":"Point","coordinates":[0,0]}}`))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	cur, err := d.Find(ctx, d.NewOp(ctx), ns, &FindQuery{Filter: doc(t, `{"loc":{"$near":{"$geometry":{"type":"Point","coordinates":[0,0]}}}}`)})
	t.Log(results(t, cur, err))
}
