package streams

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// lives is how often the server is started.
func lives(t *testing.T) int { return harness.Rounds(t, "ARCHELON_STREAM_ROUNDS", 4, 4) }

// seed is that of this run.
func seed(t *testing.T) uint64 { return harness.Seed(t, "ARCHELON_STREAM_SEED") }

// patient is for clients that outlive servers, hasty for those that stop when theirs does.
const (
	patient = 20 * time.Second
	hasty   = 300 * time.Millisecond
)

// dial makes a client without retries of writes, for the caller to disconnect.
func dial(t testing.TB, s *harness.Server, patience time.Duration) (client *mongo.Client, disconnect func()) {
	t.Helper()
	opts := options.Client().ApplyURI(s.URI()).SetDirect(true).SetRetryWrites(false).SetServerSelectionTimeout(patience)
	client, err := mongo.Connect(opts)
	if err != nil {
		t.Fatal(err)
	}
	return client, func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = client.Disconnect(ctx)
	}
}

func hasCode(err error, code int) bool {
	var se mongo.ServerError
	return errors.As(err, &se) && se.HasErrorCode(code)
}

// wrong is a finding, as opposed to the error of a connection.
type wrong struct{ error }

// broken says whether an error is that of a server that is gone or going.
func broken(err error) bool {
	var found *wrong
	if errors.As(err, &found) {
		return false
	}
	var se mongo.ServerError
	if !errors.As(err, &se) {
		return true
	}
	return mongo.IsNetworkError(err) || se.HasErrorCode(0) || se.HasErrorCode(91) || se.HasErrorCode(11600) // 0: the driver's own
}

func d(pairs ...any) bson.D {
	out := bson.D{}
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, bson.E{Key: pairs[i].(string), Value: pairs[i+1]})
	}
	return out
}
