package pgstore

import (
	"context"
	"slices"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

// A table that is not there has mostly been dropped by another process, and whoever wanted it
// begins again. If the catalogue still has it, somebody has dropped it with SQL, or restored a
// part of a back-up only: it would be missed for ever.

// missing returns an error that names what a statement has missed, if the catalogue has it;
// otherwise the statement's own error.
func (s *Store) missing(ctx context.Context, failure error) error {
	var found string
	err := s.syncer.round(ctx, func(c *conn) error {
		// What is dropped between a snapshot and the look at PostgreSQL's own catalogue is not in the next snapshot.
		for range 2 {
			found = ""
			c.add(s.sql.missing, func(v [][]byte) { found = string(v[0]) }, []byte(s.legal(failure.Error())))
			err := c.run(ctx)
			if isMissing(err) { // of what every store has
				found = "schema " + s.schema + " with all its tables"
				return nil
			}
			if err != nil || found == "" {
				return err
			}
		}
		return nil
	})
	if err != nil || found == "" {
		return failure
	}
	return mongoerr.New(mongoerr.DataCorruptionDetected,
		"PostgreSQL has no %s any more, which holds data of the store: it was dropped with SQL, or not restored", found)
}

// findGone notes which objects that it has alone or drops PostgreSQL has not got any more, for the next attempt to do without
// them, and says whether there are any that this attempt did not do without.
func (tx *txn) findGone(ctx context.Context) (news bool) {
	list := slices.Concat(tx.premises.alone, tx.drops)
	if len(list) == 0 {
		return false
	}
	err := tx.s.syncer.round(ctx, func(c *conn) error {
		for _, o := range list {
			c.add("SELECT (to_regclass($1) IS NULL)::int::int8", func(v [][]byte) {
				if int64Of(v[0]) != 0 && !slices.Contains(tx.lacking, o) {
					news = true
					o.gone.Store(true)
				}
			}, []byte(o.name))
		}
		return c.run(ctx)
	})
	return news && err == nil
}

// lacks says whether the transaction is one that does without an object, which PostgreSQL has not got any more: it
// can be dropped all the same.
func (tx *txn) lacks(o *object) bool {
	if o.gone.Swap(false) {
		tx.lacking = append(tx.lacking, o)
	}
	return slices.Contains(tx.lacking, o)
}

// missingSQL is the statement that returns what the catalogue has, PostgreSQL has not, and a text speaks of.
func missingSQL(schema string) string {
	return "SELECT 'table ' || format('%I.%I', namespace, relation) FROM " + schema + ".ids " +
		"WHERE dropped IS NULL AND strpos($1, relation) > 0 AND to_regclass(format('%I.%I', namespace, relation)) IS NULL " +
		"UNION ALL SELECT 'schema ' || quote_ident(namespace) FROM " + schema + ".databases " +
		"WHERE strpos($1, namespace) > 0 AND to_regnamespace(quote_ident(namespace)) IS NULL LIMIT 1"
}

// isMissing says whether a statement has missed a table or a schema.
func isMissing(err error) bool {
	state := stateOf(err)
	return state == stateUndefinedTable || state == stateNoSchema
}
