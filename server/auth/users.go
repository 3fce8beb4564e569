package auth

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// userCommands change accounts and roles, which a Store does elsewhere.
var userCommands = map[string]bool{
	"createUser": true, "updateUser": true, "dropUser": true, "dropAllUsersFromDatabase": true, "grantRolesToUser": true,
	"revokeRolesFromUser": true, "createRole": true, "updateRole": true, "dropRole": true, "dropAllRolesFromDatabase": true,
	"grantPrivilegesToRole": true, "revokePrivilegesFromRole": true, "grantRolesToRole": true, "revokeRolesFromRole": true,
}

func errNotHere(req *server.Request) error {
	return mongoerr.New(mongoerr.NotImplemented, "command '%s' is not implemented: users are administered where the server has them from", req.Command)
}

// usersInfo answers the command of that name.
func (g *Guard) usersInfo(list Lister, req *server.Request, reply *server.Reply) error {
	for it := req.Body.Iter(); it.Next(); {
		switch name := it.KeyStr(); name {
		case "showCredentials", "showPrivileges", "showAuthenticationRestrictions", "showCustomData", "filter":
			if !it.Value().Truthy() || name == "showCustomData" { // there is none to show
				continue
			}
			return mongoerr.New(mongoerr.NotImplemented, "'usersInfo.%s' is not implemented", name)
		}
	}
	_, which, _ := req.Body.First()
	asked, err := usersAsked(which, req.DB)
	if err != nil {
		return err
	}
	b := bsonval.NewBuilder().StartArray("users")
	for _, a := range list.Accounts() {
		if asked(a) {
			b.Add(bsonval.Document(a.describe()))
		}
	}
	reply.AppendDoc(b.End().Build())
	return nil
}

// usersAsked reads which users are asked for: 1 for the database's, a name, {user, db}, a list of these, {forAllDBs: true}.
func usersAsked(v bsonval.Value, db string) (func(*Account) bool, error) {
	switch {
	case v.IsNumber():
		return func(a *Account) bool { return a.DB == db }, nil
	case v.Type() == bsonval.TypeString:
		name := v.Str()
		return func(a *Account) bool { return a.DB == db && a.Name == name }, nil
	case v.Type() == bsonval.TypeDocument && v.Doc().Lookup("forAllDBs").Truthy():
		return func(*Account) bool { return true }, nil
	case v.Type() == bsonval.TypeDocument:
		name, of := v.Doc().Lookup("user"), v.Doc().Lookup("db")
		if name.Type() == bsonval.TypeString && of.Type() == bsonval.TypeString {
			return func(a *Account) bool { return a.DB == of.Str() && a.Name == name.Str() }, nil
		}
	case v.Type() == bsonval.TypeArray:
		var any []func(*Account) bool
		for it := v.Doc().Iter(); it.Next(); {
			if it.Value().Type() != bsonval.TypeString && it.Value().Type() != bsonval.TypeDocument {
				return nil, errUsersAsked
			}
			one, err := usersAsked(it.Value(), db)
			if err != nil {
				return nil, err
			}
			any = append(any, one)
		}
		return func(a *Account) bool {
			for _, one := range any {
				if one(a) {
					return true
				}
			}
			return false
		}, nil
	}
	return nil, errUsersAsked
}

var errUsersAsked = mongoerr.New(mongoerr.BadValue, "UserName must be either a string or an object with the fields 'user' and 'db'")

// describe is an account as usersInfo shows it.
func (a *Account) describe() server.Doc {
	b := bsonval.NewBuilder().Str("_id", a.DB+"."+a.Name).Str("user", a.Name).Str("db", a.DB).StartArray("roles")
	for _, r := range a.Roles {
		b.Add(bsonval.Document(bsonval.NewBuilder().Str("role", r.Name).Str("db", r.DB).Build()))
	}
	b.End().StartArray("mechanisms")
	for _, m := range mechanisms {
		if a.Keys[m.name] != nil {
			b.Add(bsonval.String(m.name))
		}
	}
	return b.End().Build()
}
