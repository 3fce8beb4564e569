package command

import (
	"testing"

	"github.com/archelon-db/archelon/server/auth"
)

// TestAccessIsDeclared: every command is in the table of package auth, which agrees on who may run it at once.
func TestAccessIsDeclared(t *testing.T) {
	for _, row := range Table() {
		for _, name := range append([]string{row.Name}, row.Aliases...) {
			open, known := auth.Known(name)
			if !known {
				t.Errorf("%s: package auth does not know what it needs", name)
			}
			if open != row.NoAuth && !row.Missing {
				t.Errorf("%s: without authentication: %v here, %v there", name, row.NoAuth, open)
			}
		}
	}
}
