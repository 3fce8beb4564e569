package database

import (
	"context"
	"sync"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/changestream"
	"github.com/archelon-db/archelon/internal/oplog"
)

// logged is an entry of the log that streams have in common, and the events that it
// makes for each kind of stream, made for the first who asks.
type logged struct {
	doc   bsonval.Doc
	entry oplog.Entry // a view on doc

	mu     sync.Mutex // guards events
	events []eventsOf
}

type eventsOf struct {
	shape changestream.Shape
	list  []changestream.Event
}

// keep copies an entry.
func keep(doc bsonval.Doc) (*logged, error) {
	l := &logged{doc: doc.Clone()}
	var err error
	l.entry, err = oplog.Parse(l.doc)
	return l, err
}

// eventsFor are the entry's events for a stream. Nobody may change them.
func (l *logged) eventsFor(ctx context.Context, shape changestream.Shape, s *changestream.Stream) ([]changestream.Event, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if e.shape == shape {
			return e.list, nil
		}
	}
	var list []changestream.Event
	err := s.Events(ctx, &l.entry, func(e changestream.Event) bool {
		list = append(list, e)
		return true
	})
	if err != nil {
		return list, err
	}
	l.events = append(l.events, eventsOf{shape, list})
	return list, nil
}
