// Package archelon embeds the Archelon document database in a Go program.
//
//	db, err := archelon.Open(archelon.Config{Data: "./data"})
//	if err != nil { … }
//	defer db.Close()
//	go db.Serve(ctx)
//	client, err := mongo.Connect(options.Client().ApplyURI(db.URI()))
//
// Any MongoDB driver works on it, in the same process or another. With
// Storage "memory" nothing is written to disk and an instance is ready in
// milliseconds, so every test can have its own.
//
// Config.Mounts and DB.Mount offer services, programs and remote servers at the
// same addresses, as commands of a database or as whole databases.
//
// The package wires; what it wires lives in the packages below: server (network),
// internal/command (MongoDB commands), internal/database (the kernel),
// internal/storage (engines), service and gateway (what is mounted).
package archelon
