package server

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

const (
	// maxMetadataSize bounds the client document of a hello, in bytes.
	maxMetadataSize = 1024
	// maxAppNameSize bounds the application's name in it, in bytes.
	maxAppNameSize = 128
)

// introduce stores what the client tells about itself. It may do so in the first hello of the connection only.
func (c *Conn) introduce(client bsonval.Value) error {
	if !client.IsMissing() {
		if err := checkMetadata(client); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if client.IsMissing() {
		c.shook = true
		return nil
	}
	if c.shook {
		return mongoerr.New(mongoerr.ClientMetadataCannotBeMutated,
			"The client metadata document may only be sent in the first hello")
	}
	c.shook = true
	c.metadata = client.Doc().Clone()
	return nil
}

// checkMetadata checks the client document: its size and the fields every driver has to send.
func checkMetadata(client bsonval.Value) error {
	if client.Type() != bsonval.TypeDocument {
		return mongoerr.New(mongoerr.TypeMismatch, "The client metadata document must be a document")
	}
	d := client.Doc()
	if len(d) > maxMetadataSize {
		return mongoerr.New(mongoerr.ClientMetadataDocumentTooLarge,
			"The client metadata document must be less then or equal to %d bytes", maxMetadataSize)
	}
	if app := d.Lookup("application"); !app.IsMissing() {
		if err := checkApplication(app); err != nil {
			return err
		}
	}
	if err := requireStrings(d, "driver", "name", "version"); err != nil {
		return err
	}
	return requireStrings(d, "os", "type")
}

func checkApplication(app bsonval.Value) error {
	if app.Type() != bsonval.TypeDocument {
		return mongoerr.New(mongoerr.TypeMismatch,
			"The 'application' field is required to be a BSON document in the client metadata document")
	}
	name := app.Doc().Lookup("name")
	switch {
	case name.IsMissing():
	case name.Type() != bsonval.TypeString:
		return mongoerr.New(mongoerr.TypeMismatch,
			"The 'application.name' field must be a string in the client metadata document")
	case len(name.Str()) > maxAppNameSize:
		return mongoerr.New(mongoerr.ClientMetadataAppNameTooLarge,
			"The 'application.name' field must be less then or equal to %d bytes in the client metadata document", maxAppNameSize)
	}
	return nil
}

// requireStrings checks that d has a document called name with string fields of the names given.
func requireStrings(d Doc, name string, fields ...string) error {
	sub := d.Lookup(name)
	if sub.IsMissing() {
		return mongoerr.New(mongoerr.ClientMetadataMissingField,
			"Missing required sub-document '%s' in the client metadata document", name)
	}
	if sub.Type() != bsonval.TypeDocument {
		return mongoerr.New(mongoerr.TypeMismatch,
			"The '%s' field is required to be a BSON document in the client metadata document", name)
	}
	for _, f := range fields {
		v := sub.Doc().Lookup(f)
		if v.IsMissing() {
			return mongoerr.New(mongoerr.ClientMetadataMissingField,
				"Missing required field '%s' in the '%s' sub-document of the client metadata document", f, name)
		}
		if v.Type() != bsonval.TypeString {
			return mongoerr.New(mongoerr.TypeMismatch,
				"The '%s.%s' field must be a string in the client metadata document", name, f)
		}
	}
	return nil
}

// helloUser reads saslSupportedMechs: a user as "database.name" or {user, db}.
func helloUser(v bsonval.Value) (db, user string, err error) {
	switch v.Type() {
	case bsonval.TypeString:
		db, user, ok := strings.Cut(v.Str(), ".")
		if !ok {
			return "", "", mongoerr.New(mongoerr.BadValue, "UserName must contain a '.' separated database.user pair")
		}
		return db, user, nil
	case bsonval.TypeDocument:
		u, d := v.Doc().Lookup("user"), v.Doc().Lookup("db")
		if u.Type() != bsonval.TypeString || d.Type() != bsonval.TypeString {
			return "", "", mongoerr.New(mongoerr.BadValue, "UserName must contain 'user' and 'db' string fields")
		}
		return d.Str(), u.Str(), nil
	}
	return "", "", wrongType("saslSupportedMechs", v, "types '[string, object]'")
}

// wrongType is MongoDB's error for a field of a hello that has the wrong type.
func wrongType(field string, v bsonval.Value, expected string) error {
	return mongoerr.New(mongoerr.TypeMismatch, "BSON field 'hello.%s' is the wrong type '%s', expected %s",
		field, v.Type(), expected)
}
