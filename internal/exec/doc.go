// Package exec runs plans: it turns a plan.Plan into a stream of records read
// through a storage transaction.
//
// # Idle cursors
//
// A [View] is the transaction that an operation reads through. Scans open their
// iterators on first use and remember their position, so a cursor that waits
// for its client detaches its view: iterators are closed, the transaction ends,
// and nothing is pinned. With the next transaction each scan goes on behind the
// last record it returned.
//
// # Distances
//
// A plan by distance reads ring by ring around its point, from the inside, each
// ring in one go; a document waits, in memory, until its distance is reached. Rings
// get wider while they find little. So the nearest few cost what is near.
//
// # Documents that need not come
//
// An engine that is another server sends the documents of all entries of an index
// scan. If most of the first ones could not match, by what is known of those that do
// (plan.Plan.Contains), it is told to leave out such entries from there on
// ([storage.Narrower]). Not so while steps count: in trials, while a plan is watched,
// for explain.
//
// # Which plan is best
//
// [Choose] runs candidates side by side, a few steps each in turn, within a fixed
// number of steps. A plan that was chosen earlier for other values is watched
// ([Scan.Watch]): as long as it has found nothing it can still be exchanged.
//
// # What this package does not know
//
// Commands, projections, sorts: it returns whole records in the plan's order.
package exec
