package perf

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
)

// relayEnv makes the test binary a relay to the address it names.
const relayEnv = "ARCHELON_PERF_RELAY"

// serveRelay copies bytes between its clients and a server until standard input ends: the
// least that any process in between costs.
func serveRelay(to string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = l.Close()
	}()
	for {
		client, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		server, err := net.Dial("tcp", to)
		if err != nil {
			_ = client.Close()
			return err
		}
		go pass(server, client)
		go pass(client, server)
	}
}

// pass copies what one side sends to the other. io.Copy alone would splice within the
// kernel, as nobody can who reads what he passes on.
func pass(to, from net.Conn) {
	_, _ = io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from})
	_ = to.Close()
}
