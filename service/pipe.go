package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

const (
	// maxLine bounds a line that a subprocess writes: a document of 16 MiB of binary data has a third more as Extended JSON.
	maxLine = 64 << 20
	// maxAhead bounds the bytes that a subprocess streams ahead of the client.
	maxAhead = 16 << 20
	// queuedLines is how many requests wait for a subprocess to read them; further calls wait for their place.
	queuedLines = 64
)

// pipe is a running subprocess as its callers see it.
type pipe struct {
	canonical bool
	out       chan []byte
	dead      chan struct{} // closed when the process has ended

	mu sync.Mutex // guards the fields below
	// requests are those that wait for something, by id.
	requests map[int64]*request
	lastID   int64
}

func newPipe(canonical bool) *pipe {
	return &pipe{canonical: canonical, out: make(chan []byte, queuedLines), dead: make(chan struct{}), requests: map[int64]*request{}}
}

// write writes what is sent until the process has ended.
func (p *pipe) write(w io.WriteCloser) {
	for {
		select {
		case line := <-p.out:
			if _, err := w.Write(line); err != nil {
				<-p.dead // the process ends, or is about to
				return
			}
		case <-p.dead:
			return
		}
	}
}

// die tells all who wait that the process has ended. It is called once.
func (p *pipe) die() { close(p.dead) }

// request is a call that a subprocess works on.
type request struct {
	pipe *pipe
	id   int64

	mu sync.Mutex // guards the fields below
	// queue has the documents that have come, err what came after them: io.EOF for the end of a stream.
	queue []bsonval.Doc
	size  int
	err   error
	news  chan struct{} // has an element if something has come
	ended bool
}

// send sends a call.
func (p *pipe) send(ctx context.Context, c *Call) (*request, error) {
	r := &request{pipe: p, news: make(chan struct{}, 1)}
	p.mu.Lock()
	p.lastID++
	r.id = p.lastID
	p.requests[r.id] = r
	p.mu.Unlock()
	line, err := p.encode(r.id, c)
	if err == nil {
		select {
		case p.out <- line:
			return r, nil
		case <-p.dead:
			err = errSubprocessGone
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	p.drop(r.id)
	return nil, err
}

func (p *pipe) encode(id int64, c *Call) ([]byte, error) {
	db, err := json.Marshal(c.db)
	if err != nil {
		return nil, err
	}
	command, err := bson.MarshalExtJSON(bson.Raw(c.args), p.canonical, false)
	if err != nil {
		return nil, err
	}
	b := strconv.AppendInt([]byte(`{"id":`), id, 10)
	b = append(append(b, `,"db":`...), db...)
	b = append(append(b, `,"command":`...), command...)
	if c.maxTimeMS > 0 {
		b = strconv.AppendInt(append(b, `,"maxTimeMS":`...), c.maxTimeMS, 10)
	}
	return append(b, "}\n"...), nil
}

// next waits for the next document; nil is the end of a stream.
func (r *request) next(ctx context.Context) (bsonval.Doc, error) {
	for {
		if doc, err, ok := r.take(); ok {
			return doc, err
		}
		select {
		case <-r.news:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-r.pipe.dead:
			// What has come is still to be had.
			if doc, err, ok := r.take(); ok {
				return doc, err
			}
			return nil, mongoerr.New(mongoerr.HostUnreachable, "the program behind the command ended while it ran")
		}
	}
}

func (r *request) take() (doc bsonval.Doc, err error, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) > 0 {
		doc, r.queue = r.queue[0], r.queue[1:]
		r.size -= len(doc)
		return doc, nil, true
	}
	if errors.Is(r.err, io.EOF) {
		return nil, nil, true
	}
	return nil, r.err, r.err != nil
}

// forget ends the request; the process is told if it works on it still.
func (r *request) forget() {
	r.pipe.drop(r.id)
	r.mu.Lock()
	ended := r.ended
	r.mu.Unlock()
	if ended {
		return
	}
	line := append(strconv.AppendInt([]byte(`{"id":`), r.id, 10), ",\"cancel\":true}\n"...)
	select {
	case r.pipe.out <- line:
	case <-r.pipe.dead:
	}
}

func (p *pipe) drop(id int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.requests, id)
}

// message is a line that a subprocess writes.
type message struct {
	ID    int64    `bson:"id"`
	Reply bson.Raw `bson:"reply"`
	Error bson.Raw `bson:"error"`
	Item  bson.Raw `bson:"item"`
	End   bool     `bson:"end"`
}

// receive takes a line. An error is one of the protocol.
func (p *pipe) receive(line []byte) error {
	if len(bytes.TrimSpace(line)) == 0 {
		return nil
	}
	m, err := parseMessage(line)
	if err != nil {
		return fmt.Errorf("a line that is not of the protocol: %w", err)
	}
	p.mu.Lock()
	r := p.requests[m.ID]
	p.mu.Unlock()
	if r != nil { // else it was cancelled
		r.put(m)
	}
	return nil
}

// parseMessage reads a line. It holds exactly one of reply, error, item and end.
func parseMessage(line []byte) (message, error) {
	var m message
	if err := bson.UnmarshalExtJSON(line, false, &m); err != nil {
		return m, err
	}
	n := 0
	for _, has := range []bool{m.Reply != nil, m.Error != nil, m.Item != nil, m.End} {
		if has {
			n++
		}
	}
	if n != 1 || m.ID <= 0 {
		return m, errors.New("it has to have an id and one of reply, error, item, end")
	}
	for _, d := range []bson.Raw{m.Reply, m.Error, m.Item} {
		if d == nil {
			continue
		}
		if err := bsonval.Validate(bsonval.Doc(d)); err != nil {
			return m, err
		}
	}
	return m, nil
}

// put adds what has come.
func (r *request) put(m message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil || r.ended {
		return
	}
	switch {
	case m.Reply != nil:
		r.queue, r.ended = append(r.queue, bsonval.Doc(m.Reply)), true
	case m.Error != nil:
		r.err, r.ended = parseError(bsonval.Doc(m.Error)), true
	case m.End:
		r.err, r.ended = io.EOF, true
	case r.size > maxAhead:
		r.err = mongoerr.New(mongoerr.ExceededMemoryLimit, "the program streams more than %d bytes ahead of the client", maxAhead)
	default:
		r.queue = append(r.queue, bsonval.Doc(m.Item))
		r.size += len(m.Item)
	}
	select {
	case r.news <- struct{}{}:
	default:
	}
}
