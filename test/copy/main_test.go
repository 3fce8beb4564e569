package copy

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// start starts a server with a storage engine: "" is Pebble in a folder of the test.
func start(t *testing.T, storage string) *harness.Server {
	t.Helper()
	addr := harness.FreeAddr(t)
	args := []string{"--listen", addr}
	if storage == "" {
		args = append(args, "--data", t.TempDir())
	} else {
		args = append(args, "--storage", storage)
	}
	return harness.StartWith(t, harness.Build(t), addr, nil, args...)
}

func connect(t *testing.T, s *harness.Server) *mongo.Client {
	t.Helper()
	return harness.Connect(t, options.Client().ApplyURI(s.URI()))
}

// copying is a running `archelon copy`.
type copying struct{ *harness.Program }

// begin starts a copy from one server to another.
func begin(t *testing.T, from, to *harness.Server, args ...string) copying {
	t.Helper()
	args = append([]string{"copy", "--from", from.URI(), "--to", to.URI()}, args...)
	return copying{harness.Run(t, exec.Command(harness.Build(t), args...))}
}

// ended waits for the end and checks how it came.
func (c copying) ended(t *testing.T, well bool) string {
	t.Helper()
	select {
	case <-c.Done():
	case <-time.After(time.Minute):
		c.Signal(t, syscall.SIGQUIT)
		t.Fatal("the copy did not end")
	}
	if (c.Err() == nil) != well {
		t.Fatalf("the copy ended with %v", c.Err())
	}
	return c.Log()
}

// await waits until the copy has said something.
func (c copying) await(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !strings.Contains(c.Log(), text); time.Sleep(5 * time.Millisecond) { //nolint:forbidigo // it is the condition that is waited for
		select {
		case <-c.Done():
			t.Fatalf("the copy ended (%v) and had not said %q", c.Err(), text)
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("the copy has not said %q", text)
		}
	}
}

// content is what a server has, by the names of its collections: options, indexes and documents.
func content(t *testing.T, client *mongo.Client) map[string]string {
	t.Helper()
	ctx, out := t.Context(), map[string]string{}
	dbs, err := client.ListDatabaseNames(ctx, bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range dbs {
		if name == "admin" || name == "local" || name == "config" || name == "archelon_copy" {
			continue
		}
		db := client.Database(name)
		specs, err := db.ListCollectionSpecifications(ctx, bson.D{})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range specs {
			if strings.HasPrefix(s.Name, "system.") {
				continue
			}
			var b strings.Builder
			fmt.Fprintf(&b, "%s %v\n", s.Type, s.Options)
			if s.Type == "collection" {
				contentOf(ctx, t, db.Collection(s.Name), &b)
			}
			out[name+"."+s.Name] = b.String()
		}
	}
	return out
}

func contentOf(ctx context.Context, t *testing.T, coll *mongo.Collection, b *strings.Builder) {
	t.Helper()
	cur, err := coll.Indexes().List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var indexes []string
	for cur.Next(ctx) {
		// The order of an index's options is nobody's matter.
		var fields []string
		elements, _ := cur.Current.Elements()
		for _, e := range elements {
			fields = append(fields, e.String())
		}
		sort.Strings(fields)
		indexes = append(indexes, strings.Join(fields, ", "))
	}
	sort.Strings(indexes)
	fmt.Fprintln(b, strings.Join(indexes, "\n"))
	docs, err := coll.Find(ctx, bson.D{}, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetBatchSize(5000))
	if err != nil {
		t.Fatal(err)
	}
	for docs.Next(ctx) {
		fmt.Fprintf(b, "%x\n", []byte(docs.Current))
	}
	if docs.Err() != nil {
		t.Fatal(docs.Err())
	}
}

// compare checks that two servers have the same.
func compare(t *testing.T, from, to map[string]string) {
	t.Helper()
	for name, a := range from {
		b, ok := to[name]
		if !ok {
			t.Errorf("%s is not on the target", name)
			continue
		}
		if a != b {
			t.Errorf("%s differs: %s", name, firstDifference(a, b))
		}
	}
	for name := range to {
		if _, ok := from[name]; !ok {
			t.Errorf("%s is on the target only", name)
		}
	}
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("line %d of %d and %d\n%s\n%s", i, len(x), len(y), readable(x[i]), readable(y[i]))
		}
	}
	return fmt.Sprintf("%d and %d lines", len(x), len(y))
}

// readable prints a document of content.
func readable(line string) string {
	var raw []byte
	if _, err := fmt.Sscanf(line, "%x", &raw); err != nil {
		return line
	}
	return bson.Raw(raw).String()
}

func d(pairs ...any) bson.D {
	out := bson.D{}
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, bson.E{Key: pairs[i].(string), Value: pairs[i+1]})
	}
	return out
}

// must fails the test for the error of a call.
func must(t *testing.T) func(any, error) {
	return func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}
