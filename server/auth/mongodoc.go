package auth

import (
	"errors"
	"fmt"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/server"
)

// AccountOf makes an account of a document of admin.system.users, as MongoDB keeps its users. left says what the account
// is without: roles that are not built in. A user whose authenticationRestrictions would be lost is an error.
func AccountOf(d server.Doc) (a *Account, left []string, err error) {
	d = d.Clone() // whose strings the account has
	e := fileEntry{User: text(d.Lookup("user")), DB: text(d.Lookup("db")), Credentials: map[string]fileKeys{}}
	if e.DB == "" {
		return nil, nil, errors.New("it has no db")
	}
	if v := d.Lookup("authenticationRestrictions"); v.Type() == bsonval.TypeArray && v.Doc().Len() > 0 {
		return nil, nil, errors.New("its authenticationRestrictions could not be kept")
	}
	if v := d.Lookup("roles"); v.Type() == bsonval.TypeArray {
		for it := v.Doc().Iter(); it.Next(); {
			if it.Value().Type() != bsonval.TypeDocument {
				return nil, nil, errors.New("a role is not a document")
			}
			r := fileRole{Role: text(it.Value().Doc().Lookup("role")), DB: text(it.Value().Doc().Lookup("db"))}
			if CheckRole(server.UserRole{Name: r.Role, DB: r.DB}) != nil {
				left = append(left, fmt.Sprintf("the role %s of %s", r.Role, r.DB))
				continue
			}
			e.Roles = append(e.Roles, r)
		}
	}
	if v := d.Lookup("credentials"); v.Type() == bsonval.TypeDocument {
		for _, m := range mechanisms {
			if k := v.Doc().Lookup(m.name); k.Type() == bsonval.TypeDocument {
				e.Credentials[m.name] = fileKeys{
					IterationCount: iterations(k.Doc()), Salt: text(k.Doc().Lookup("salt")),
					StoredKey: text(k.Doc().Lookup("storedKey")), ServerKey: text(k.Doc().Lookup("serverKey")),
				}
			}
		}
	}
	a, err = e.account()
	return a, left, err
}

// iterations is what credentials say, 0 if that is no number.
func iterations(k bsonval.Doc) int {
	n, _ := k.Lookup("iterationCount").AsInt64()
	return int(n)
}
