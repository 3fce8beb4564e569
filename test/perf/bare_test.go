package perf

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/test/harness"
)

// bareEnv makes the test binary the bare server on the folder it names.
const bareEnv = "ARCHELON_PERF_BARE"

func TestMain(m *testing.M) {
	for env, serve := range map[string]func(string) error{bareEnv: serveBare, relayEnv: serveRelay} {
		if on := os.Getenv(env); on != "" {
			if err := serve(on); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	os.Exit(harness.Main(m))
}

// startBare starts the bare server on a folder. It ends with the test.
func startBare(t testing.TB, dir string) target { return startSelf(t, bareEnv, dir) }

// startSelf starts the test binary as what a variable makes it. It ends with the test.
func startSelf(t testing.TB, env, on string) target {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), env+"="+on)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%s: the process did not start: %v", env, err)
	}
	return target{strings.TrimSpace(addr), cmd.Process.Pid}
}

// serveBare serves until standard input ends.
func serveBare(dir string) error {
	b := &bare{}
	var err error
	if b.db, err = pebble.Open(dir, bareOptions()); err != nil {
		return err
	}
	m := server.NewMux()
	m.HandleFunc("learn", b.learn)
	m.HandleFunc("find", b.find)
	m.HandleFunc("insert", b.insert)
	m.HandleFunc("scan", b.scan)
	m.HandleFunc("group", b.group)
	s, err := server.Listen(server.Config{
		Addresses: []string{"127.0.0.1:0"}, Handler: m, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, s.Addr())
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	if err := s.Serve(ctx); err != nil {
		return err
	}
	return b.db.Close()
}

// bareOptions are the store's own settings, so that the difference is not in
// Pebble's.
func bareOptions() *pebble.Options {
	o := &pebble.Options{
		Logger:    quiet{},
		CacheSize: 1 << 30, FormatMajorVersion: pebble.FormatNewest,
		MemTableSize: 16 << 20, MemTableStopWritesThreshold: 4, L0CompactionThreshold: 8, L0StopWritesThreshold: 24,
		LBaseMaxBytes: 64 << 20, BytesPerSync: 1 << 20,
		CompactionConcurrencyRange: func() (int, int) { return 1, max(1, runtime.GOMAXPROCS(0)/2) },
	}
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionBalanced })
	for i := range o.Levels {
		o.Levels[i].BlockSize, o.Levels[i].IndexBlockSize = 8<<10, 64<<10
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return o
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

// bare does by hand, and only that, what is measured.
type bare struct {
	db     *pebble.DB
	canned atomic.Pointer[[]byte]
}

// learn keeps the reply that find is to answer.
func (b *bare) learn(_ context.Context, req *server.Request, _ *server.Reply) error {
	d := req.Body.Lookup("reply").Doc()
	elements := []byte(d[4 : len(d)-1].Clone())
	b.canned.Store(&elements)
	return nil
}

func (b *bare) find(_ context.Context, _ *server.Request, reply *server.Reply) error {
	reply.Buf = append(reply.Buf, *b.canned.Load()...)
	return nil
}

// insert writes each document under its _id in one synced batch.
func (b *bare) insert(_ context.Context, req *server.Request, reply *server.Reply) error {
	batch := b.db.NewBatch()
	seq, _ := req.Sequence("documents")
	for d := range seq.Documents() {
		key := binary.BigEndian.AppendUint64([]byte{'b'}, uint64(bsonval.Doc(d).Lookup("_id").Int64()))
		if err := batch.Set(key, d, nil); err != nil {
			return err
		}
	}
	if err := batch.Commit(pebble.Sync); err != nil {
		return err
	}
	reply.Buf = bsonval.AppendElement(reply.Buf, "n", bsonval.Int32(int32(seq.Count)))
	return batch.Close()
}

// records calls f with each record of the last table of the folder, which is a copy
// of the database's: the tables before it are the oplog's.
func (b *bare) records(f func(d bsonval.Doc)) error {
	it, err := b.db.NewIter(&pebble.IterOptions{LowerBound: []byte{'t'}, UpperBound: []byte{'u'}})
	if err != nil {
		return err
	}
	it.Last()
	var table []byte
	if it.Valid() {
		table = append(table, it.Key()[:5]...)
	}
	for ok := it.SeekGE(table); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		f(v)
	}
	return it.Close()
}

// scan counts the documents whose score lies in [low, high).
func (b *bare) scan(_ context.Context, req *server.Request, reply *server.Reply) error {
	low, high := req.Body.Lookup("low").Double(), req.Body.Lookup("high").Double()
	docs, n := 0, 0
	err := b.records(func(d bsonval.Doc) {
		docs++
		if s := d.Lookup("score").Double(); s >= low && s < high {
			n++
		}
	})
	reply.Buf = bsonval.AppendElement(reply.Buf, "docs", bsonval.Int64(int64(docs)))
	reply.Buf = bsonval.AppendElement(reply.Buf, "n", bsonval.Int64(int64(n)))
	return err
}

// group sums the scores by region.
func (b *bare) group(_ context.Context, _ *server.Request, reply *server.Reply) error {
	sums := map[string]*float64{}
	err := b.records(func(d bsonval.Doc) {
		region := d.Lookup("region").Bytes()
		sum := sums[string(region)]
		if sum == nil {
			sum = new(float64)
			sums[string(region)] = sum
		}
		*sum += d.Lookup("score").Double()
	})
	for region, sum := range sums {
		reply.Buf = bsonval.AppendElement(reply.Buf, region, bsonval.Double(*sum))
	}
	return err
}
