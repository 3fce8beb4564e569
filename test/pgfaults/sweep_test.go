package pgfaults

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/test/harness"
	"github.com/archelon-db/archelon/test/pgharness"
)

// TestSweep cuts the connections of each command at each of its messages to PostgreSQL, in every way, sends it again when a driver
// would, and compares what was replied, what is there and what the change stream tells with what they are without a cut.
//
// Which message is the n-th depends a little on what the process does besides; all are met within some n.
func TestSweep(t *testing.T) {
	both := harness.Rounds(t, "ARCHELON_PGFAULTS_SWEEP", 1, 1) > 1
	cases := sweepCases()
	for part := range sweepParts {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			w := newSweep(t, "")
			for i := part; i < len(cases); i += sweepParts {
				t.Run(cases[i].name, func(t *testing.T) {
					w.t = t
					w.sweep(cases[i], both)
				})
			}
			w.t = t
			w.checkQuiet()
		})
	}
	t.Run("alone", func(t *testing.T) {
		t.Parallel()
		w := newSweep(t, "&shared=false")
		for _, c := range cases {
			if slices.Contains(alone, c.name) || both {
				t.Run(c.name, func(t *testing.T) {
					w.t = t
					w.sweep(c, false)
				})
			}
		}
	})
}

// alone are the cases that are run in a store which the process has alone, too, where it remembers more.
var alone = []string{"insert of one", "insert that creates", "deletes", "create", "drop", "dropIndexes", "collMod", "transaction that creates"}

const (
	// sweepParts is how many processes share the work: most of it is waiting.
	sweepParts = 4

	// maxMessages is more than any command needs.
	maxMessages = 200

	// closely is up to which message all ways are tried.
	closely = 8

	// sweepLate is after how long a message arrives whose connection was cut, sweepMute how long a reply is waited for that is
	// not passed on.
	sweepLate = 30 * time.Millisecond
	sweepMute = 50 * time.Millisecond

	// maxAttempts is how often a transaction is begun again.
	maxAttempts = 200

	// unhindered is how long a write may take that nobody stands in the way of, in milliseconds.
	unhindered = 8000

	// sweepConns is more than the connections that a process with one client needs.
	sweepConns = 8
)

// sweepCase is what is done while connections are cut.
type sweepCase struct {
	name  string
	fresh bool                    // the collection is new each time
	again bool                    // what failed and is done again may be told of twice
	setup func(w *sweep)          // makes what is there besides the collection; may be nil
	run   func(w *sweep) []bson.D // sends commands as a driver does, and returns what they replied in the end
}

// sweep is a process on a PostgreSQL, with a line in between, and its client.
type sweep struct {
	t      *testing.T
	url    string // of the PostgreSQL, without the line
	line   *pgharness.Line
	conn   *harness.Conn
	number int64 // the last txnNumber
	mark   int32 // the last mark

	// What is found in a run:
	began    bson.Timestamp
	inspects bool     // what has been done is looked at before a command is sent again
	errors   []string // that were replied
	written  int      // by commands that are through
	repeated bool     // a command that cannot be retried was sent again
	faults   []string // what is wrong

	mu   sync.Mutex // guards the rest
	left int        // messages up to the one that is cut; 0: none is
	cut  pgharness.Cut
}

// sweepResult is what a run leaves behind, as text.
type sweepResult struct{ replies, state, events string }

func newSweep(t *testing.T, parameters string) *sweep {
	t.Helper()
	w := &sweep{t: t, url: database(t, "sweep") + parameters}
	var err error
	if w.line, err = pgharness.NewLine(server.Address(), w.decide); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.line.Close)
	w.conn = harness.Dial(t, serve(t, strings.Replace(w.url, server.Address(), w.line.Addr, 1)).Addr)
	w.must(bson.D{{Key: "create", Value: "marks"}})
	return w
}

func (w *sweep) decide() pgharness.Cut {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.left == 0 {
		return pgharness.Cut{}
	}
	if w.left--; w.left > 0 {
		return pgharness.Cut{}
	}
	return w.cut
}

// arm has the n-th message from now on cut.
func (w *sweep) arm(n int, cut pgharness.Cut) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left, w.cut = n, cut
}

// disarm says whether that has happened.
func (w *sweep) disarm() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	fired := w.left == 0
	w.left = 0
	return fired
}

// sweep cuts a command in all ways: one connection and all of them in turns, and those of its messages that come late in one way;
// or each in all ways.
func (w *sweep) sweep(c sweepCase, both bool) {
	began := time.Now()
	plain, _ := w.once(c, 0, pgharness.Cut{})
	runs, noticed := 0, 0
	for i, how := range []pgharness.How{pgharness.Lost, pgharness.Mute, pgharness.Late} {
		more := true
		for n := 1; more; n++ {
			if n > maxMessages {
				w.t.Fatalf("%s: there is no end of messages", c.name)
			}
			if !both && n > closely && n%3 != i {
				continue
			}
			for _, all := range []bool{false, true} {
				if !both && all != ((n+i)%2 == 0) {
					continue
				}
				cut := pgharness.Cut{How: how, All: all, Delay: sweepMute}
				if how == pgharness.Late {
					cut.Delay = sweepLate
				}
				var got sweepResult
				got, more = w.once(c, n, cut)
				w.compare(c, plain, got)
				w.report(fmt.Sprintf("%s, message %d, all: %v, way %d", c.name, n, all, how))
				runs++
				if len(w.errors) > 0 {
					noticed++
				}
			}
		}
	}
	if noticed == 0 {
		w.t.Errorf("%s: no cut was noticed, which tests nothing", c.name)
	}
	w.t.Logf("%-32s %3d runs, %3d with errors, %s", c.name, runs, noticed, time.Since(began).Round(time.Millisecond))
}

// once runs a case with the n-th message cut, and says whether there were so many.
func (w *sweep) once(c sweepCase, n int, cut pgharness.Cut) (out sweepResult, fired bool) {
	w.reset(c, n == 0)
	w.errors, w.faults, w.repeated, w.inspects, w.written = nil, nil, false, !cut.All, 0
	w.arm(n, cut)
	replies := c.run(w)
	if n > 0 {
		fired = w.disarm()
	}
	for w.line.Ending() > 0 {
		<-time.After(time.Millisecond)
	}
	for _, r := range replies {
		out.replies += text(r) + "\n"
	}
	out.events = strings.Join(w.events(), "\n")
	out.state = w.state()
	return out, fired
}

// compare compares what a run has left behind with that of one without a cut.
func (w *sweep) compare(c sweepCase, want, got sweepResult) {
	if want.state != got.state {
		w.fault("there is:%s", difference(got.state, want.state))
	}
	if want.events != got.events && !(c.again && w.repeated) {
		w.fault("the stream tells:%s", difference(got.events, want.events))
	}
	if want.replies != got.replies && !w.repeated {
		w.fault("the reply is:%s", difference(got.replies, want.replies))
	}
}

// difference is what lines one text has more and less than another one.
func difference(got, want string) (out string) {
	have, need := strings.Split(got, "\n"), strings.Split(want, "\n")
	for _, line := range have {
		if i := slices.Index(need, line); i >= 0 {
			need = slices.Delete(need, i, i+1)
		} else {
			out += "\n+ " + line
		}
	}
	for _, line := range need {
		out += "\n- " + line
	}
	return out
}

func (w *sweep) fault(format string, args ...any) {
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

// report tells what is wrong with a run.
func (w *sweep) report(run string) {
	if len(w.faults) > 0 {
		w.t.Errorf("%s: %s\nreplied before: %s", run, strings.Join(w.faults, "\n"), strings.Join(w.errors, "\n"))
	}
}

// reset makes everything as it is before the first run of a case.
func (w *sweep) reset(c sweepCase, first bool) {
	w.t.Helper()
	names := w.names()
	for _, name := range names {
		if strings.HasPrefix(name, "system.") {
			continue
		}
		if name != "marks" && (name != "c" || c.fresh || first) {
			w.must(bson.D{{Key: "drop", Value: name}}, namespaceNotFound)
		}
	}
	if c.fresh || first || !slices.Contains(names, "c") {
		w.must(bson.D{{Key: "create", Value: "c"}}, namespaceExists)
	}
	w.must(bson.D{{Key: "createIndexes", Value: "c"}, {Key: "indexes", Value: bson.A{
		bson.D{{Key: "key", Value: bson.D{{Key: "s", Value: 1}}}, {Key: "name", Value: "s_1"}},
		bson.D{{Key: "key", Value: bson.D{{Key: "u", Value: 1}}}, {Key: "name", Value: "u_1"}, {Key: "unique", Value: true}},
	}}})
	w.must(bson.D{{Key: "delete", Value: "c"}, {Key: "deletes", Value: bson.A{bson.D{{Key: "q", Value: bson.D{}}, {Key: "limit", Value: 0}}}}})
	w.seed("c", 0, 5)
	if c.setup != nil {
		c.setup(w)
	}
	reply := w.must(bson.D{{Key: "ping", Value: 1}})
	w.began.T, w.began.I = reply.Lookup("operationTime").Timestamp()
	w.began.I++
}
