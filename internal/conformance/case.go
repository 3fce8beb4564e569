package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// verdict is how one case went; reason and kind are empty when it passed.
type verdict struct {
	kind   string // the reason without values, for counting
	reason string
	broken bool // the connection must not be used again
}

func (v verdict) passed() bool { return v.reason == "" }

// play runs one case on a connection. Its databases are dropped before and after; the time-out bounds the whole case.
func play(c *client, tc *Case, timeout time.Duration) verdict {
	c.deadline(time.Now().Add(timeout))
	if err := dropAll(c, tc.Databases); err != nil {
		return verdict{kind: "drop before the case", reason: "drop before the case: " + err.Error(), broken: true}
	}
	v := playCommands(c, tc)
	if v.broken {
		return v
	}
	c.deadline(time.Now().Add(timeout))
	if err := dropAll(c, tc.Databases); err != nil {
		v.broken = true
		if v.passed() {
			v.kind, v.reason = "drop after the case", "drop after the case: "+err.Error()
		}
	}
	return v
}

func dropAll(c *client, databases []string) error {
	for _, db := range databases {
		reply, err := c.run(db, bson.D{{Key: "dropDatabase", Value: int32(1)}})
		if err != nil {
			return err
		}
		if f := failure(reply, false); f != nil {
			return fmt.Errorf("%s", f)
		}
	}
	return nil
}

// cleanUp drops what a case whose connection broke may have left, over a fresh connection.
func cleanUp(c *client, tc *Case, timeout time.Duration) error {
	c.deadline(time.Now().Add(timeout))
	return dropAll(c, tc.Databases)
}

func broken(where string, err error) verdict {
	return verdict{kind: "connection: " + digest(err.Error()), reason: where + ": " + err.Error(), broken: true}
}

func faulty(where string, err error) verdict {
	return verdict{kind: "case cannot be played", reason: where + ": " + err.Error()}
}

func playCommands(c answerer, tc *Case) verdict {
	for i, s := range tc.Setup {
		where := fmt.Sprintf("setup %d", i)
		command, err := commandOf(s.Command, nil)
		if err != nil {
			return faulty(where, err)
		}
		reply, err := c.run(s.DB, command)
		if err != nil {
			return broken(where+" "+show(command, 200), err)
		}
		if f := failure(reply, true); f != nil && !slices.Contains(s.OrCodes, f.code) {
			return verdict{
				kind:   fmt.Sprintf("setup error %d %s", f.code, digest(f.message)),
				reason: fmt.Sprintf("%s %s: %s", where, show(command, 300), f),
			}
		}
	}
	return playSteps(c, tc)
}

// commandOf reads a command, which may name cursors of earlier replies.
func commandOf(text json.RawMessage, replies []bson.D) (bson.D, error) {
	v, err := parseValue(text)
	if err == nil {
		v, err = resolveCursors(v, replies)
	}
	if err != nil {
		return nil, err
	}
	command, ok := v.(bson.D)
	if !ok {
		return nil, fmt.Errorf("command is a %s", typeName(v))
	}
	return command, nil
}

func playSteps(c answerer, tc *Case) verdict {
	replies := make([]bson.D, 0, len(tc.Steps))
	resolve := func(v any) (any, error) { return resolveCursors(v, replies) }
	for i := range tc.Steps {
		s := &tc.Steps[i]
		where := fmt.Sprintf("step %d", i)
		command, err := commandOf(s.Command, replies)
		if err != nil {
			return faulty(where, err)
		}
		reply, err := c.run(s.DB, command)
		if err != nil {
			return broken(where+" "+show(command, 200), err)
		}
		replies = append(replies, reply)
		for j := range s.Expect {
			m, err := s.Expect[j].check(reply, resolve)
			if err != nil {
				return faulty(where, err)
			}
			if m != nil {
				return verdict{kind: m.kind, reason: fmt.Sprintf("%s %s: %s", where, show(command, 300), m)}
			}
		}
	}
	return verdict{}
}

// resolveCursors replaces cursor references by the cursor ids of earlier replies. Values without one are returned as
// they are.
func resolveCursors(v any, replies []bson.D) (any, error) {
	switch v := v.(type) {
	case cursorRef:
		if int(v) < 0 || int(v) >= len(replies) {
			return nil, fmt.Errorf("cursor of step %d, which has no reply yet", int(v))
		}
		id, _ := at(replies[v], "cursor.id")
		if _, ok := id.(int64); !ok {
			return nil, fmt.Errorf("step %d returned no cursor: %s", int(v), show(replies[v], 300))
		}
		return id, nil
	case bson.D:
		for i := range v {
			r, err := resolveCursors(v[i].Value, replies)
			if err != nil {
				return nil, err
			}
			v[i].Value = r
		}
	case bson.A:
		for i := range v {
			r, err := resolveCursors(v[i], replies)
			if err != nil {
				return nil, err
			}
			v[i] = r
		}
	}
	return v, nil
}

// reach dials until the server answers or patience ends.
func reach(ctx context.Context, addr string, patience time.Duration) (*client, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		c, err := dial(ctx, addr)
		if err == nil {
			return c, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}
