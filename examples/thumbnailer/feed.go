package main

import (
	"context"
	"iter"
	"sync"
)

// missed is how many items a subscriber may be behind; it misses later ones.
const missed = 100

// feed hands items to all who subscribe.
type feed[T any] struct {
	mu   sync.Mutex // guards subs
	subs map[chan T]struct{}
}

func newFeed[T any]() *feed[T] { return &feed[T]{subs: map[chan T]struct{}{}} }

func (f *feed[T]) publish(item T) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for sub := range f.subs {
		select {
		case sub <- item:
		default:
		}
	}
}

// subscribe yields what is published until ctx ends.
func (f *feed[T]) subscribe(ctx context.Context) iter.Seq[T] {
	return func(yield func(T) bool) {
		sub := make(chan T, missed)
		f.mu.Lock()
		f.subs[sub] = struct{}{}
		f.mu.Unlock()
		defer func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			delete(f.subs, sub)
		}()
		for {
			select {
			case item := <-sub:
				if !yield(item) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}
