package faultproxy

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Fault is a way to break a connection.
type Fault int

// The faults.
const (
	None       Fault = iota
	NoRequest        // closed before a request is passed on
	HalfReq          // closed after a part of a request
	NoReply          // closed when the server has answered, before the reply is passed on
	HalfReply        // closed after a part of a reply
	SlowReply        // the reply comes late
	faultKinds       // how many there are
)

// Faults are the probabilities of each fault, for each request; their sum is at
// most 1.
type Faults [faultKinds]float64

const (
	headerBytes = 16
	maxMessage  = 64 << 20
	delay       = 50 * time.Millisecond

	opQuery = 2004
	opMsg   = 2013
)

// Proxy passes messages between clients and one server.
type Proxy struct {
	listener net.Listener
	target   string
	faults   Faults

	mu     sync.Mutex // guards the fields below
	rand   *rand.Rand
	counts [faultKinds]int
	conns  map[net.Conn]bool
	closed bool

	wg sync.WaitGroup
}

// Start listens on a loopback address and passes what comes to target.
func Start(target string, faults Faults, seed uint64) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, target: target, faults: faults, rand: rand.New(rand.NewPCG(seed, 1)), conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	return p, nil
}

// Addr is where clients connect.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Count is how often a fault was made; of None, how many requests had none.
func (p *Proxy) Count(f Fault) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts[f]
}

// Close ends all connections and waits until everything has stopped.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	for c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.listener.Close()
	p.wg.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		l := &link{proxy: p, client: client, server: server, planned: map[uint32]Fault{}}
		if !p.keep(client, server) {
			return
		}
		p.wg.Go(l.requests)
		p.wg.Go(l.replies)
	}
}

func (p *Proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.closed {
			c.Close()
			continue
		}
		p.conns[c] = true
	}
	return !p.closed
}

// choose draws the fault of a request.
func (p *Proxy) choose() Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.rand.Float64()
	chosen := None
	for f := NoRequest; f < faultKinds; f++ {
		if x -= p.faults[f]; x < 0 {
			chosen = f
			break
		}
	}
	p.counts[chosen]++
	return chosen
}

// link is one client's connection.
type link struct {
	proxy          *Proxy
	client, server net.Conn

	mu      sync.Mutex
	planned map[uint32]Fault // for the replies, by the id of the request; guarded by mu
}

func (l *link) close() {
	l.client.Close()
	l.server.Close()
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	delete(l.proxy.conns, l.client)
	delete(l.proxy.conns, l.server)
}

// requests passes messages from the client to the server.
func (l *link) requests() {
	defer l.close()
	for {
		m, err := readMessage(l.client)
		if err != nil {
			return
		}
		fault := None
		if !isHello(m) {
			fault = l.proxy.choose()
		}
		switch fault {
		case NoRequest:
			return
		case HalfReq:
			_, _ = l.server.Write(m[:len(m)/2])
			return
		}
		l.mu.Lock()
		l.planned[binary.LittleEndian.Uint32(m[4:])] = fault
		l.mu.Unlock()
		if _, err := l.server.Write(m); err != nil {
			return
		}
	}
}

// replies passes messages from the server to the client.
func (l *link) replies() {
	defer l.close()
	for {
		m, err := readMessage(l.server)
		if err != nil {
			return
		}
		l.mu.Lock()
		to := binary.LittleEndian.Uint32(m[8:])
		fault := l.planned[to]
		delete(l.planned, to)
		l.mu.Unlock()
		switch fault {
		case NoReply:
			return
		case HalfReply:
			_, _ = l.client.Write(m[:len(m)/2])
			return
		case SlowReply:
			<-time.After(delay)
		}
		if _, err := l.client.Write(m); err != nil {
			return
		}
	}
}

// readMessage reads one message of the wire protocol, header included.
func readMessage(r io.Reader) ([]byte, error) {
	var header [headerBytes]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(header[:])
	if n < headerBytes || n > maxMessage {
		return nil, errors.New("not a message of the wire protocol")
	}
	m := make([]byte, n)
	copy(m, header[:])
	_, err := io.ReadFull(r, m[headerBytes:])
	return m, err
}

// isHello says whether a request is part of the driver's watch over the server.
// Those are left alone: the driver would only wait longer.
func isHello(m []byte) bool {
	switch binary.LittleEndian.Uint32(m[12:]) {
	case opQuery:
		return true
	case opMsg:
		// Flags, the kind of the first section, a document's length and the type of
		// its first element, then the element's name.
		const name = headerBytes + 4 + 1 + 4 + 1
		for _, hello := range []string{"hello\x00", "isMaster\x00", "ismaster\x00"} {
			if len(m) >= name+len(hello) && string(m[name:name+len(hello)]) == hello {
				return true
			}
		}
	}
	return false
}
