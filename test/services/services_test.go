package services

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"image/png"
	"os"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/internal/command"
	"github.com/archelon-db/archelon/service"
	"github.com/archelon-db/archelon/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// patience bounds how long an example may take for what it is asked.
const patience = 20 * time.Second

// example is a running example.
type example struct {
	*harness.Server
	client *mongo.Client
}

// start builds an example and runs it until the test ends, when it has to leave in order.
func start(t *testing.T, name string, args ...string) *example {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and runs programs: run without -short")
	}
	addr := harness.FreeAddr(t)
	s := harness.Serve(t, addr, harness.Compile(t, "./examples/"+name), append([]string{"-listen", addr}, args...)...)
	return &example{s, harness.Connect(t, options.Client().ApplyURI(s.URI()))}
}

func (e *example) run(t *testing.T, command bson.D) (bson.Raw, error) {
	t.Helper()
	return e.client.Database("test").RunCommand(t.Context(), command).Raw()
}

func TestSameVersionAsTheDatabase(t *testing.T) {
	if service.MongoVersion != command.MongoVersion {
		t.Errorf("services say %s, the database %s", service.MongoVersion, command.MongoVersion)
	}
}

// TestEcho is the source of the idea: one command, called from everywhere.
func TestEcho(t *testing.T) {
	e := start(t, "echo")
	t.Run("go", func(t *testing.T) {
		reply, err := e.run(t, bson.D{{Key: "ping", Value: 1}, {Key: "hello", Value: "world"}})
		want := `{"pong": {"ping": {"$numberInt":"1"},"hello": "world"},"ok": {"$numberDouble":"1.0"}}`
		if err != nil || reply.String() != want {
			t.Errorf("%s, %v", reply, err)
		}
	})
	tl := harness.InstallTools(t)
	t.Run("mongosh", func(t *testing.T) { tl.Mongosh(t, e.URI(), "echo.js") })
	t.Run("python", func(t *testing.T) { tl.Script(t, harness.Python, "echo.py", e.URI()) })
}

func picture(t *testing.T, w, h int) []byte {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.Set(x, y, color.RGBA{uint8(255 * x / w), uint8(255 * y / h), 100, 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestThumbnailer(t *testing.T) {
	e := start(t, "thumbnailer")
	commands := e.client.Database("test").Collection("$cmd")
	watch, err := commands.Find(t.Context(), bson.D{{Key: "watch", Value: 1}}, options.Find().SetCursorType(options.TailableAwait))
	if err != nil {
		t.Fatal(err)
	}
	cur, err := commands.Find(t.Context(), bson.D{{Key: "thumbnail", Value: "sky.png"}, {Key: "image", Value: picture(t, 400, 300)}, {Key: "sizes", Value: bson.A{40, 80}}})
	if err != nil {
		t.Fatal(err)
	}
	var stages []string
	for cur.Next(t.Context()) {
		var step struct {
			Stage         string
			Size, Percent int
			Width, Height int
			Image         []byte
		}
		if err := cur.Decode(&step); err != nil {
			t.Fatal(err)
		}
		if len(stages) == 0 || stages[len(stages)-1] != step.Stage {
			stages = append(stages, step.Stage)
		}
		if step.Stage != "done" {
			continue
		}
		img, err := png.Decode(bytes.NewReader(step.Image))
		if err != nil || img.Bounds().Dx() != step.Size || img.Bounds().Dy() != step.Size*3/4 {
			t.Errorf("size %d: %v %v", step.Size, img.Bounds(), err)
		}
		if r, _, b, _ := img.At(step.Size-1, 0).RGBA(); r < 0xf000 || b>>8 != 100 {
			t.Errorf("size %d: the colors are others", step.Size)
		}
	}
	if got := strings.Join(stages, " "); got != "decoded scaling done scaling done" || cur.Err() != nil {
		t.Errorf("%s, %v", got, cur.Err())
	}
	for _, size := range []int{40, 80} {
		var news struct {
			Name        string
			Size, Bytes int
		}
		if !watch.Next(t.Context()) || watch.Decode(&news) != nil || news.Name != "sky.png" || news.Size != size || news.Bytes == 0 {
			t.Errorf("%+v %v", news, watch.Err())
		}
	}
	if err := watch.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		image any
		sizes bson.A
		code  int32
	}{{[]byte("x"), bson.A{5}, 10000100}, {[]byte("x"), bson.A{0}, 2}, {[]byte("x"), bson.A{"5"}, 14}, {"x", bson.A{5}, 14}} {
		_, err := e.run(t, bson.D{{Key: "thumbnail", Value: "x"}, {Key: "image", Value: c.image}, {Key: "sizes", Value: c.sizes}})
		var ce mongo.CommandError
		if !errors.As(err, &ce) || ce.Code != c.code {
			t.Errorf("%v: %v", c, err)
		}
	}
}

func TestPython(t *testing.T) {
	e := start(t, "python", "-python", harness.Python, "-database", "mongodb://somewhere/")
	reply, err := e.run(t, bson.D{{Key: "words", Value: "the quick fox and the lazy dog"}})
	if want := `{"words": {"$numberInt":"7"},"distinct": {"$numberInt":"6"},"most": "the","ok": {"$numberDouble":"1.0"}}`; err != nil || reply.String() != want {
		t.Errorf("%s, %v", reply, err)
	}
	if reply, err := e.run(t, bson.D{{Key: "where", Value: 1}}); err != nil || reply.Lookup("uri").StringValue() != "mongodb://somewhere/" {
		t.Errorf("%s, %v", reply, err)
	}
	for name, c := range map[string]struct {
		command bson.D
		code    int32
	}{
		"NoWords":          {bson.D{{Key: "words", Value: " "}}, 10000200},
		"TypeMismatch":     {bson.D{{Key: "words", Value: 5}}, 14},
		"MaxTimeMSExpired": {bson.D{{Key: "sleep", Value: 60}, {Key: "maxTimeMS", Value: 50}}, 50},
	} {
		_, err := e.run(t, c.command)
		var ce mongo.CommandError
		if !errors.As(err, &ce) || ce.Code != c.code || ce.Name != name {
			t.Errorf("%v: %v", c.command, err)
		}
	}
	cur, err := e.client.Database("test").RunCommandCursor(t.Context(), bson.D{{Key: "primes", Value: 1}, {Key: "below", Value: 2000}})
	if err != nil {
		t.Fatal(err)
	}
	var primes []struct{ Prime int }
	if err := cur.All(t.Context(), &primes); err != nil || len(primes) != 303 || primes[302].Prime != 1999 {
		t.Errorf("%d primes, %v", len(primes), err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for tick := time.NewTicker(10 * time.Millisecond); !strings.Contains(e.Log(), "a nap was interrupted"); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the program does not know that nobody waits\n%s", e.Log())
		}
	}
}
