package gateway

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/internal/bsonval"
)

// maxRecordLine bounds a line of a record: a command and two replies of the greatest size, as Extended JSON.
const maxRecordLine = 512 << 20

// Recorder writes commands and replies to a file: a line of canonical Extended JSON for each, {time, db, command, reply}
// and, where two servers were asked, the other reply and the differences. Nil records nothing. It is safe for concurrent
// use.
type Recorder struct {
	mu   sync.Mutex // guards the fields below
	file *os.File
	w    *bufio.Writer
	err  error // the first failure; nothing is written after it
}

// NewRecorder opens a file for writing; what it has is kept.
func NewRecorder(name string) (*Recorder, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return &Recorder{file: f, w: bufio.NewWriter(f)}, nil
}

// entry is a line of a record.
type entry struct {
	Time    time.Time `bson:"time"`
	DB      string    `bson:"db"`
	Command bson.Raw  `bson:"command"`
	Reply   bson.Raw  `bson:"reply"`
	Other   bson.Raw  `bson:"other,omitempty"`
	Diff    string    `bson:"diff,omitempty"`
}

// write appends a line.
func (r *Recorder) write(db string, command, reply, other bsonval.Doc, diff string) {
	if r == nil || !command.Lookup("pwd").IsMissing() { // no passwords in files
		return
	}
	e := entry{Time: time.Now(), DB: db, Command: bson.Raw(command), Reply: bson.Raw(reply), Other: bson.Raw(other), Diff: diff}
	line, err := bson.MarshalExtJSON(e, true, false)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil && err == nil {
		_, err = r.w.Write(append(line, '\n'))
	}
	r.err = errors.Join(r.err, err)
}

// Close writes what is left and closes the file. The error is the first that any write met.
func (r *Recorder) Close() error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.err, r.w.Flush(), r.file.Close())
}

// ReplayResult counts what came of a replay.
type ReplayResult struct {
	Commands, Different, Failed int
}

// Replay runs the commands of a record against a deployment, one after the other, and writes to out where replies differ
// from those recorded. Cursors and sessions get ids of their own, so that a record can be replayed again.
func Replay(ctx context.Context, record io.Reader, uri string, out io.Writer) (ReplayResult, error) {
	var result ReplayResult
	client, err := egress.Open(uri)
	if err != nil {
		return result, err
	}
	defer func() {
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		client.Close(bye)
	}()
	p := &player{client: client, cursors: map[int64]place{}, sessions: map[string][]byte{}}
	lines := bufio.NewScanner(record)
	lines.Buffer(make([]byte, 64<<10), maxRecordLine)
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var e entry
		if err := bson.UnmarshalExtJSON(lines.Bytes(), true, &e); err != nil {
			return result, fmt.Errorf("line %d: %w", n, err)
		}
		if ctx.Err() != nil {
			return result, ctx.Err()
		}
		result.Commands++
		diff, err := p.play(ctx, &e)
		name, v, _ := bsonval.Doc(e.Command).First()
		switch {
		case err != nil:
			result.Failed++
			fmt.Fprintf(out, "line %d: %s %s on %s failed: %v\n", n, name, bsonval.Format(v), e.DB, err)
		case len(diff) > 0:
			result.Different++
			fmt.Fprintf(out, "line %d: %s %s on %s\n%s\n", n, name, bsonval.Format(v), e.DB, FormatDiff(diff, "recorded", "now"))
		}
	}
	return result, lines.Err()
}

// place is where a cursor of the replay is.
type place struct {
	id     int64
	target egress.Host
}

// player runs recorded commands.
type player struct {
	client   *egress.Client
	cursors  map[int64]place
	sessions map[string][]byte // ids recorded to those of the replay
	alike    aliases
}

// play runs one command.
func (p *player) play(ctx context.Context, e *entry) ([]Difference, error) {
	command := bsonval.Doc(e.Command)
	body, target := p.translate(command)
	op := egress.Operation{Command: egress.Command{DB: e.DB, Body: body}, Target: target, NoRetry: true}
	var c call
	if v := command.Lookup("$readPreference"); !v.IsMissing() {
		if err := c.field("$readPreference", v); err != nil {
			return nil, err
		}
		op.ReadPreference = c.preference
	}
	p.alike.recorded = e.Time
	r := p.client.Run(ctx, &op)
	if r.Status != nil {
		return nil, r.Status
	}
	old, now := bsonval.Doc(e.Reply).LookupPath("cursor", "id"), r.Body.LookupPath("cursor", "id")
	if old.Type() == bsonval.TypeInt64 && old.Int64() != 0 && now.Type() == bsonval.TypeInt64 {
		p.cursors[old.Int64()] = place{now.Int64(), r.Target}
	}
	return diffWith(command, bsonval.Doc(e.Reply), r.Body, &p.alike), nil
}

// translate puts the replay's cursors and sessions in the place of those recorded, and drops times.
func (p *player) translate(command bsonval.Doc) (bsonval.Doc, egress.Host) {
	var target egress.Host
	cursor := func(v bsonval.Value) bsonval.Value {
		if at, ok := p.cursors[v.Int64()]; ok && v.Type() == bsonval.TypeInt64 {
			target = at.target
			return bsonval.Int64(at.id)
		}
		return v
	}
	b := bsonval.NewBuilder()
	for it := command.Iter(); it.Next(); {
		switch key, v := it.KeyStr(), it.Value(); {
		case key == "$clusterTime", key == "$db", key == "recoveryToken":
		case key == "getMore":
			b.Value("getMore", cursor(v))
		case key == "cursors" && v.Type() == bsonval.TypeArray:
			b.StartArray("cursors")
			for ids := v.Doc().Iter(); ids.Next(); {
				b.Add(cursor(ids.Value()))
			}
			b.End()
		case key == "lsid" && v.Type() == bsonval.TypeDocument:
			b.Doc("lsid", p.session(v.Doc()))
		case (key == "endSessions" || key == "killSessions") && v.Type() == bsonval.TypeArray:
			b.StartArray(string(it.Key()))
			for ids := v.Doc().Iter(); ids.Next(); {
				b.Add(bsonval.Document(p.session(ids.Value().Doc())))
			}
			b.End()
		case key == "readConcern" && v.Type() == bsonval.TypeDocument:
			b.Doc("readConcern", concernAt(v.Doc(), 0))
		default:
			b.Value(string(it.Key()), v)
		}
	}
	return b.Build(), target
}

// session is the replay's session for a recorded one.
func (p *player) session(recorded bsonval.Doc) bsonval.Doc {
	key := string(recorded.Lookup("id").Bytes())
	id, ok := p.sessions[key]
	if !ok {
		id = make([]byte, uuidLen)
		rand.Read(id)
		p.sessions[key] = id
	}
	const uuidSubtype = 4
	return bsonval.NewBuilder().Value("id", bsonval.Binary(uuidSubtype, id)).Build()
}
