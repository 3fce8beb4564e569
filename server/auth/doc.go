// Package auth finds out who a client is and what it may do: authentication with SCRAM-SHA-256, SCRAM-SHA-1 and
// MONGODB-X509, and access by roles, as MongoDB has them. It stands before any server.Handler: a database, a service, a
// gateway.
//
//	users, err := auth.LoadFile("users.yaml")
//	guard := auth.NewGuard(users, logger)
//	hello := server.NewHello(server.HelloConfig{Topology: topology, SASLMechanisms: guard.Mechanisms, Extend: guard.Speculate})
//	handler = guard.Protect(handler, nil)
//
// # Who
//
// A Guard answers saslStart, saslContinue, authenticate and logout, and the parts of hello that belong to them. Accounts
// come from a Store; File is one of a YAML file that holds keys and no passwords. A connection has one user. What it
// knows of that user is read anew when the store's Version changes.
//
// An unknown user gets a salt as any other would, which stays the same as long as the guard lives, and fails at the same
// step with the same error as a wrong password. Everything that is compared with a secret is compared in constant time.
//
// # What
//
// The table in needs.go says for each command which actions on which resources it needs; role.go has what the built-in
// roles grant. A need is on the cluster, on a database or on a collection. Commands that services define need the action
// `call` on the database they are sent to. Nothing is refused by the reply: a command that has been let through runs as if
// there were no accounts; only the list of databases is cut to those that the user may know of.
//
// Cursors and sessions belong to users; whoever holds them sees to that with Conn.User.
//
// The package imports server, internal/bsonval, internal/mongoerr, the SASLprep of xdg-go and a YAML reader. All of a
// connection's state belongs to the connection's goroutine.
package auth
