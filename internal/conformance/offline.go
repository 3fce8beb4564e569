package conformance

import "go.mongodb.org/mongo-driver/v2/bson"

// answerer answers commands: a connection, or a function.
type answerer interface {
	run(db string, command bson.D) (bson.D, error)
}

// Answer answers one command, given as BSON, with the BSON of a reply.
type Answer func(db string, command []byte) ([]byte, error)

func (f Answer) run(db string, command bson.D) (bson.D, error) {
	b, err := appendDocument(nil, command)
	if err != nil {
		return nil, err
	}
	reply, err := f(db, b)
	if err != nil {
		return nil, err
	}
	d, _, err := decodeDocument(reply)
	return d, err
}

// Play plays a case against a function instead of a server, for the tests of
// packages that have no server around them. It returns why the case failed;
// empty if it passed.
func (c *Case) Play(f Answer) string { return playCommands(f, c).reason }
