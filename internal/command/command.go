package command

import "context"

// First says what the value of a command's first field, the one that names it, means.
type First uint8

// What the first field's value may be.
const (
	// FirstIgnored may be anything.
	FirstIgnored First = iota
	// FirstCollection is the name of a collection.
	FirstCollection
	// FirstCollectionOrUUID is the name of a collection or its UUID.
	FirstCollectionOrUUID
	// FirstCollectionOrOne is the name of a collection, or 1 for the whole database.
	FirstCollectionOrOne
	// FirstNamespace is a full namespace, "db.collection", of commands of the admin database. The command checks it.
	FirstNamespace
	// FirstValue is an argument of the kind FirstKind, which the command reads from Call.First.
	FirstValue
)

// Command is a row of the table: a command with all that is known about it.
type Command struct {
	// Name is the name as MongoDB's documentation has it, Aliases are other spellings that work.
	Name    string
	Aliases []string
	// Help says what the command does in one sentence.
	Help string
	// First says what the first field's value is.
	First First
	// FirstKind is the kind of a FirstValue.
	FirstKind Kind
	// Fields are the arguments beside the generic ones.
	Fields []Field
	// Loose commands ignore arguments they do not know.
	Loose bool
	// AdminOnly commands run against the admin database only.
	AdminOnly bool
	// NoAuth commands run before a client has authenticated.
	NoAuth bool
	// SecondaryOK commands run on members that are not primary.
	SecondaryOK bool
	// APIv1 commands belong to version 1 of the stable API.
	APIv1 bool
	// WriteConcern commands take one.
	WriteConcern bool
	// ReadConcern commands take any level; all others take "local" only.
	ReadConcern bool
	// Snapshot commands take the level "snapshot" outside transactions, too.
	Snapshot bool
	// Retryable commands are executed once however often they are sent with the same transaction number.
	Retryable bool
	// InTransaction commands can be statements of a multi-document transaction, EndsTransaction commands end one.
	InTransaction, EndsTransaction bool
	// Transient commands are done with the bytes of the request when Run returns. For all others the command document is
	// copied, so that cursors and the catalog may keep parts of it.
	Transient bool
	// NoSession commands do not count as a use of the session they name.
	NoSession bool
	// OwnMaxTime commands give maxTimeMS a meaning of their own.
	OwnMaxTime bool
	// TestOnly commands exist for servers with enableTestCommands only.
	TestOnly bool
	// Missing commands are those that MongoDB has and Archelon does not: they answer NotImplemented.
	Missing bool
	// Run answers the command. Missing commands may have none.
	Run func(ctx context.Context, c *Call) error

	counts commandCounts
	// ownCounter commands are counted by kind in opcounters; all others count as commands.
	ownCounter bool
}
