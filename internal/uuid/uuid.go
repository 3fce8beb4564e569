package uuid

import "crypto/rand"

// New makes a random UUID.
func New() (id [16]byte) {
	rand.Read(id[:])
	Mark(&id)
	return id
}

// Mark makes random bytes a UUID: it sets the bits that say so.
func Mark(id *[16]byte) {
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
}
