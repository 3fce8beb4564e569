package js

import (
	"bufio"
	"context"
	"os"
	"runtime/debug"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/dop251/goja"
)

// A process that this package started is a worker, whatever program it is: it
// never gets to main.
func init() {
	if os.Getenv(workerVariable) != "" {
		serve()
		os.Exit(0)
	}
}

// server is a worker's side of its life.
type server struct {
	in      *bufio.Reader
	out     *os.File
	machine *machine
	limits  Limits
	bytes   uint64 // of the heap that end the process
}

// guardInterval is how often a call is looked after that cannot be interrupted.
const guardInterval = 3 * time.Millisecond

// serve answers calls until the database is gone.
func serve() {
	s := &server{in: bufio.NewReader(os.Stdin), out: os.Stdout, limits: Limits{}.withDefaults()}
	lowerPriority()
	for {
		kind, d, err := readFrame(s.in)
		if err != nil {
			return
		}
		switch kind {
		case frameBegin:
			err = s.begin(d)
		case frameEnd:
			s.machine = nil
			debug.FreeOSMemory()
		case frameCall:
			err = writeFrame(s.out, frameReply, s.call(d))
		default:
			return
		}
		if err != nil {
			return
		}
	}
}

// begin makes the world of a session.
func (s *server) begin(d bsonval.Doc) error {
	s.limits = Limits{
		Time: time.Duration(d.Lookup("time").Int64()) * time.Millisecond,
		Heap: uint64(d.Lookup("heap").Int64()), Depth: int(d.Lookup("depth").Int64()),
	}
	s.bytes = heapBytes() + 2*s.limits.Heap
	limitMemory(s.bytes)
	natives := map[string]Native{}
	for _, v := range d.Lookup("natives").Doc().Values(nil) {
		natives[v.Str()] = s.native(v.Str())
	}
	s.machine = newMachine(s.limits, false)
	s.machine.adopt(1, natives)
	return s.machine.setGlobals(d.Lookup("globals").Doc())
}

// native calls a function of the database.
func (s *server) native(name string) Native {
	return func(args []bsonval.Value) (bsonval.Value, error) {
		d := bsonval.NewBuilder().Str("name", name).Array("args", values(args)).Build()
		if err := writeFrame(s.out, frameNative, d); err != nil {
			os.Exit(1)
		}
		kind, d, err := readFrame(s.in)
		if err != nil || kind != frameReply {
			os.Exit(1)
		}
		return result(d)
	}
}

func (s *server) call(d bsonval.Doc) bsonval.Doc {
	done := make(chan struct{})
	defer close(done)
	go s.guard(done)
	p, err := s.machine.program(d.Lookup("source").Str())
	if err != nil {
		return reply(bsonval.Missing, err)
	}
	v, err := s.machine.run(context.Background(), p, d.Lookup("this"), d.Lookup("args").Doc().Values(nil))
	if err != nil {
		err = failed(context.Background(), err)
	}
	return reply(v, err)
}

// program compiles a function once for the world.
func (m *machine) program(source string) (*goja.Program, error) {
	if p := m.programs[source]; p != nil {
		return p, nil
	}
	p, err := compile(source)
	if err != nil {
		return nil, err
	}
	if m.programs == nil || len(m.programs) >= maxPrograms {
		m.programs = map[string]*goja.Program{}
		clear(m.functions)
	}
	m.programs[source] = p
	return p, nil
}

// guard ends the process when a call does what cannot be interrupted: it is too
// big, or has gone on for too long. The second also ends a worker whose database
// has been killed.
func (s *server) guard(done <-chan struct{}) {
	began, ticker := time.Now(), time.NewTicker(guardInterval)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
		}
		if heapBytes() > s.bytes {
			os.Exit(2)
		}
		if time.Since(began) > s.limits.Time+2*time.Second {
			os.Exit(3)
		}
	}
}
