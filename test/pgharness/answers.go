package pgharness

import (
	"encoding/binary"
	"net"
	"time"
)

// protocol is the version of PostgreSQL's protocol that every server speaks.
const protocol = 3 << 16

// answers says whether the server accepts clients: it begins to authenticate one, rather than to say that it starts up.
func (s *Server) answers() bool {
	conn, err := net.DialTimeout("tcp", s.Address(), time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return false
	}
	parameters := "user\x00" + superuser + "\x00database\x00postgres\x00\x00"
	hello := binary.BigEndian.AppendUint32(nil, uint32(4+4+len(parameters)))
	hello = binary.BigEndian.AppendUint32(hello, protocol)
	if _, err := conn.Write(append(hello, parameters...)); err != nil {
		return false
	}
	var first [1]byte
	_, err = conn.Read(first[:])
	return err == nil && first[0] == 'R'
}
