package pgharness

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Line passes on what clients send to a server and what it replies, and cuts connections. A client's message is what arrives
// together, of which a long one is several.
type Line struct {
	Addr string
	Cuts atomic.Int64 // messages with which something was done

	target string
	decide func() Cut
	l      net.Listener
	done   sync.WaitGroup // serves

	mu     sync.Mutex            // guards the rest
	open   map[*net.TCPConn]bool // true: the client's side is cut
	closed bool
}

// Cut is what is done to a connection with a message of its client.
type Cut struct {
	How   How
	Delay time.Duration // see How
	All   bool          // the other connections are cut, too
}

// How says what becomes of a message when the connection is cut.
type How int

// The ways to cut a connection. The server hears of it when it has done what it was told.
const (
	Not   How = iota
	Lost      // the server does not get the message
	Late      // the server gets it when the client's side has been cut for Delay
	Mute      // the server gets it, and the client's side is cut when it has replied, or Delay has passed, without the reply
	After     // the client's side is cut Delay after the server has got it
)

// chunk is how much is passed on at once.
const chunk = 64 << 10

// goodbye is how long a server may take for what is left to do when its client is gone.
const goodbye = time.Second

// NewLine is a line to an address. decide says what to do with each message; it may be asked by several connections at once.
func NewLine(target string, decide func() Cut) (*Line, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Line{Addr: l.Addr().String(), target: target, decide: decide, l: l, open: map[*net.TCPConn]bool{}}
	p.done.Go(p.accept)
	return p, nil
}

// Close cuts all connections and accepts no more.
func (p *Line) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.l.Close()
	p.cutOthers(nil)
	p.done.Wait()
}

func (p *Line) accept() {
	for {
		conn, err := p.l.Accept()
		if err != nil {
			return
		}
		client := conn.(*net.TCPConn)
		p.mu.Lock()
		if p.closed {
			client.Close()
		} else {
			p.open[client] = false
			p.done.Go(func() { p.serve(client) })
		}
		p.mu.Unlock()
	}
}

// Ending is the number of connections that are being cut: the server may still do what it was told, or is to be.
func (p *Line) Ending() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, cut := range p.open {
		if cut {
			n++
		}
	}
	return n
}

// cutOthers cuts the clients' sides of all connections but one, which is going to be cut.
func (p *Line) cutOthers(but *net.TCPConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		p.open[c] = true
		if c != but {
			c.Close()
		}
	}
}

func (p *Line) serve(client *net.TCPConn) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, client)
	}()
	defer client.Close()
	conn, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	server := conn.(*net.TCPConn)
	r := replies{client: client, muted: make(chan struct{}), done: make(chan struct{})}
	go r.pass(server)
	// What the client has sent is still done.
	defer func() {
		client.Close()
		_ = server.CloseWrite()
		server.SetReadDeadline(time.Now().Add(goodbye))
		<-r.done
		server.Close()
	}()
	buf := make([]byte, chunk)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		cut := p.decide()
		if cut.How == Not {
			if _, err := server.Write(buf[:n]); err != nil {
				return
			}
			continue
		}
		p.Cuts.Add(1)
		if cut.All {
			p.cutOthers(client)
		} else {
			p.mu.Lock()
			p.open[client] = true
			p.mu.Unlock()
		}
		p.cut(cut, &r, server, buf[:n])
		return
	}
}

// cut cuts a connection with a message.
func (p *Line) cut(cut Cut, r *replies, server *net.TCPConn, message []byte) {
	switch cut.How {
	case Late:
		r.client.Close()
		<-time.After(cut.Delay)
	case Mute:
		r.mute.Store(true)
	}
	if cut.How != Lost {
		if _, err := server.Write(message); err != nil {
			return
		}
	}
	switch cut.How {
	case Mute:
		limit := time.NewTimer(cut.Delay)
		defer limit.Stop()
		select {
		case <-r.muted:
		case <-r.done:
		case <-limit.C:
		}
	case After:
		<-time.After(cut.Delay)
	}
}

// replies passes on what a server replies.
type replies struct {
	client *net.TCPConn
	mute   atomic.Bool   // no more
	muted  chan struct{} // closed when there was one that was not passed on
	done   chan struct{} // closed at the end
}

// pass sends on what comes from the server until it ends; what the client does not get any more is read, too.
func (r *replies) pass(server *net.TCPConn) {
	defer close(r.done)
	defer r.client.Close()
	buf := make([]byte, chunk)
	gone, told := false, false
	for {
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		switch {
		case r.mute.Load() && !told:
			close(r.muted)
			told = true
		case !gone && !told:
			if _, err := r.client.Write(buf[:n]); err != nil {
				gone = true
			}
		}
	}
}
