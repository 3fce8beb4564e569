package server

import (
	"encoding/binary"
	"slices"

	"github.com/archelon-db/archelon/wire"
)

// neverCompressed are the commands whose replies are sent as they are, because they carry secrets or come before an
// agreement on compression.
var neverCompressed = map[string]bool{
	"hello": true, "isMaster": true, "ismaster": true, "saslStart": true, "saslContinue": true, "getnonce": true,
	"authenticate": true, "createUser": true, "updateUser": true, "copydbSaslStart": true, "copydbgetnonce": true,
	"copydb": true,
}

// flagsOf returns the flags of the OP_MSG that starts with head.
func flagsOf(head []byte) wire.MsgFlags {
	return wire.MsgFlags(binary.LittleEndian.Uint32(head[wire.HeaderLen:]))
}

// NegotiateCompression returns those of the client's compressors the server offers, in the client's order.
func NegotiateCompression(client []string, offered []wire.CompressorID) []wire.CompressorID {
	var out []wire.CompressorID
	for _, name := range client {
		id, known := wire.CompressorByName(name)
		if known && slices.Contains(offered, id) && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

// negotiate remembers the agreement with a client that sent a list; without one, the agreement stands.
func (c *Conn) negotiate(client []string, sent bool) []wire.CompressorID {
	c.mu.Lock()
	defer c.mu.Unlock()
	if sent && c.server != nil {
		c.compressors = NegotiateCompression(client, c.server.cfg.Compressors)
	}
	return c.compressors
}
