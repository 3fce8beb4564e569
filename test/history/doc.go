// Package history checks what concurrent clients saw of a real server, killed and
// restarted meanwhile, against snapshot isolation and linearizability.
//
// The values are lists, and every append adds a number of its own. So a list
// that was read tells which writes it saw and in which order, the lists at the
// end tell the order of all writes, and from both follow the dependencies
// between transactions. [Check] says whether there is an order of transactions
// that snapshot isolation and real time allow; [CheckLinear] does the same for
// operations on single documents, [CheckKeys] for inserts under a unique index.
// What a client does not know (a commit whose reply was lost) the lists tell as
// well: a transaction has happened wholly or not at all.
//
// It does so for the embedded engine, and for two processes on one PostgreSQL.
//
// Each test runs for ARCHELON_HISTORY (a duration; two minutes by default) from
// the random numbers of ARCHELON_HISTORY_SEED.
package history
