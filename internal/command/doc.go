// Package command turns the commands of the MongoDB protocol into calls of the kernel (package database) and formats
// the replies. It takes no decision a Go caller of the kernel would have to repeat.
//
// # The table
//
// Every command is a row: a [Command] with its names, its facts, its arguments and the function that runs it. The rows
// are put together in [Table], one function per family, one file per command or tight family. Whatever lists commands
// (listCommands, serverStatus, the documentation) reads that table. Commands that MongoDB has and Archelon does not are
// rows as well: they answer NotImplemented, whereas a name nobody knows is CommandNotFound.
//
// # A call
//
// [Commands.Handle] looks the row up, reads the command document once (known arguments with their types, and the generic
// ones every command takes), checks what can be checked without the command's help, and runs the row with a [Call]. A
// call and everything reachable from it ends with Run.
//
// # What may be imported
//
// server, internal/database and the floors below it, internal/session.
package command
