package copier

import (
	"context"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// Where servers keep users and roles, and where a copy puts them for a server to take over.
const (
	systemUsers, systemRoles = "system.users", "system.roles"
	arrivedUsers             = "archelon_copy_users"
	arrivedRoles             = "archelon_copy_roles"
)

// copyUsers gives the target the source's users and roles, with their passwords' hashes, as mongorestore does it: the
// documents are put into collections of admin and merged by the server. What a server cannot do is noted, and is no failure:
// the data is there.
func (r *run) copyUsers(ctx context.Context) error {
	if len(r.cfg.Include) > 0 {
		return nil // users are of the whole server
	}
	users, err := r.src.all(ctx, "admin", bsonval.NewBuilder().Str("find", systemUsers).Build())
	if err == nil && len(users) == 0 {
		return r.noteUsers(ctx)
	}
	var roles []Doc
	if err == nil {
		roles, err = r.src.all(ctx, "admin", bsonval.NewBuilder().Str("find", systemRoles).Build())
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case unknown(err):
		r.note("the source's users cannot be read, so they are not copied: create them on the target")
		return nil
	case err != nil:
		return err
	}
	defer r.clearUsers(ctx)
	for coll, docs := range map[string][]Doc{arrivedUsers: users, arrivedRoles: roles} {
		to := namespace{"admin", coll}
		err := chunks(docs, maxBatch, func(part []Doc) error { return r.dst.insert(ctx, to, part, false) })
		if err != nil {
			return err
		}
	}
	b := bsonval.NewBuilder().Int32("_mergeAuthzCollections", 1).Str("tempUsersCollection", "admin."+arrivedUsers)
	if len(roles) > 0 {
		b.Str("tempRolesCollection", "admin."+arrivedRoles)
	}
	err = r.dst.do(ctx, "admin", b.Str("db", "").Bool("drop", false).Build())
	if !unknown(err) {
		return err
	}
	if r.keepUsers != nil {
		notes, err := r.keepUsers(users)
		for _, text := range notes {
			r.note(text)
		}
		return err
	}
	names := make([]string, len(users))
	for i, d := range users {
		names[i] = textOf(d.Lookup("_id"))
	}
	r.note("the target does not take users over, so they are not copied (--users-file writes them into a file for it): " + strings.Join(names, ", "))
	return nil
}

// noteUsers names users that the source has, but not in its data: they are where it has them from.
func (r *run) noteUsers(ctx context.Context) error {
	asked := bsonval.NewBuilder().StartDoc("usersInfo").Bool("forAllDBs", true).End().Build()
	reply, _, err := r.src.run(ctx, command{db: "admin", body: asked})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if v := reply.Lookup("users"); err == nil && v.Type() == bsonval.TypeArray && v.Doc().Len() > 0 {
		var names []string
		for it := v.Doc().Iter(); it.Next(); {
			names = append(names, textOf(it.Value().Doc().Lookup("_id")))
		}
		r.note("the source's users are not in its data, but in its users file, which you take along: " + strings.Join(names, ", "))
	}
	return nil // a server that knows no users has none
}

func (r *run) clearUsers(ctx context.Context) {
	for _, coll := range []string{arrivedUsers, arrivedRoles} {
		_ = r.drop(ctx, namespace{"admin", coll}) // what is left there is nobody's login
	}
}
