package loadgen

import (
	"bytes"
	"context"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"
)

func TestGenerate(t *testing.T) {
	const n = 2000
	kinds, customers, regions := map[string]int{}, map[int64]int{}, map[string]int{}
	i, size := 0, 0
	for doc := range Generate(7, n) {
		if err := doc.Validate(); err != nil {
			t.Fatalf("document %d: %v", i, err)
		}
		if id := doc.Lookup("_id").Int64(); id != int64(i) {
			t.Fatalf("_id %d at position %d", id, i)
		}
		kinds[doc.Lookup("kind").StringValue()]++
		customers[doc.Lookup("customer").Int64()]++
		regions[doc.Lookup("region").StringValue()]++
		i, size = i+1, size+len(doc)
	}
	if i != n || kinds["user"] != 600 || kinds["order"] != 800 || kinds["event"] != 600 {
		t.Errorf("%d documents: %v", i, kinds)
	}
	if len(customers) != n/perCustomer || customers[3] != perCustomer || len(regions) != len(Regions()) {
		t.Errorf("%d customers, %d of customer 3, regions %v", len(customers), customers[3], regions)
	}
	if mean := size / n; mean < 150 || mean > 600 {
		t.Errorf("mean size %d", mean)
	}
}

func TestGeneratorIsPredictable(t *testing.T) {
	a, b, other := NewGenerator(1, 100), NewGenerator(1, 100), NewGenerator(2, 100)
	a.Document(17)
	if !bytes.Equal(slices.Clone(a.Document(42)), b.Document(42)) {
		t.Error("the document depends on what was made before")
	}
	if bytes.Equal(a.Document(42), other.Document(42)) {
		t.Error("the document does not depend on the seed")
	}
}

func TestOrderTotals(t *testing.T) {
	doc := NewGenerator(1, 100).Document(3)
	var order struct {
		Items []struct {
			Quantity int32
			Price    bson.Decimal128
		}
		Total bson.Decimal128
	}
	if err := bson.Unmarshal(doc, &order); err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	for _, item := range order.Items {
		cents, exp, err := item.Price.BigInt()
		if err != nil || exp != -2 {
			t.Fatalf("price %s: %v", item.Price, err)
		}
		sum += int64(item.Quantity) * cents.Int64()
	}
	if total, exp, _ := order.Total.BigInt(); total.Int64() != sum || exp != -2 || len(order.Items) == 0 {
		t.Errorf("total %s, the items make %d", order.Total, sum)
	}
}

func TestHistogram(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(0, math.MaxInt64/1024), 1, 300).Draw(t, "values")
		var h, half histogram
		for i, v := range values {
			if i%2 == 0 {
				h.record(time.Duration(v))
			} else {
				half.record(time.Duration(v))
			}
		}
		h.merge(&half)
		slices.Sort(values)
		for _, q := range []float64{0, 0.5, 0.95, 0.99, 1} {
			exact := values[min(int(q*float64(len(values))), len(values)-1)]
			got := int64(h.quantile(q))
			if got < exact || float64(got) > float64(exact)*33/32+1 {
				t.Fatalf("quantile %v of %d values is %d, exactly %d", q, len(values), got, exact)
			}
		}
		if h.n != int64(len(values)) || int64(h.max) != values[len(values)-1] {
			t.Fatalf("n %d, max %d", h.n, h.max)
		}
	})
}

func TestRunRefuses(t *testing.T) {
	err := Run(context.Background(), Config{Workloads: []string{"juggle"}}, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "find_id") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkGenerate(b *testing.B) {
	g := NewGenerator(1, b.N)
	b.ReportAllocs()
	for i := range b.N {
		b.SetBytes(int64(len(g.Document(i))))
	}
}
