// Command compatdoc prints docs/compatibility.md from the tables of commands,
// stages and operators. `make docs` runs it; a test fails if the page is stale.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/archelon-db/archelon/internal/accumulator"
	"github.com/archelon-db/archelon/internal/command"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/pipeline"
	"github.com/archelon-db/archelon/internal/update"
)

func main() { write(os.Stdout) }

// row is one line of a table of the page.
type row struct{ name, state, doc string }

func write(w io.Writer) {
	fmt.Fprint(w, `# Compatibility

Written by `+"`make docs`"+` from the tables in the code; do not edit. Behaviour, error codes and result types are those of
MongoDB `+command.MongoVersion+`. "refused" means that the name is known and answered with `+"`NotImplemented`"+` (238) or the code
MongoDB gives where the feature is turned off; nothing is accepted and ignored.

`)
	section(w, "Commands", commands())
	section(w, "Aggregation stages", rowsOf(pipeline.Stages(), stage))
	section(w, "Query operators", rowsOf(match.Operators(), func(o match.Operator) row { return row{o.Name, "yes", o.Doc} }))
	section(w, "Update operators", rowsOf(update.AllOperators(), func(o update.Operator) row { return row{o.Name, "yes", o.Doc} }))
	section(w, "Expression operators", rowsOf(expr.Operators(), func(o expr.Operator) row { return row{o.Name, "yes", o.Doc} }))
	section(w, "Accumulators", rowsOf(accumulator.Operators(), func(o accumulator.Operator) row { return row{o.Name, "yes", o.Doc} }))
	section(w, "Window operators", rowsOf(accumulator.WindowOperators(), func(o accumulator.Operator) row { return row{o.Name, "yes", o.Doc} }))
}

func stage(s pipeline.StageInfo) row {
	if s.Refused {
		return row{s.Name, "refused", s.Doc}
	}
	return row{s.Name, "yes", s.Doc}
}

func commands() []row {
	var rows []row
	for _, c := range command.Table() {
		state := "yes"
		if c.Run == nil || c.Missing {
			state = "refused"
		}
		rows = append(rows, row{c.Name, state, c.Help})
	}
	return rows
}

func rowsOf[T any](list []T, f func(T) row) []row {
	rows := make([]row, len(list))
	for i, v := range list {
		rows[i] = f(v)
	}
	return rows
}

func section(w io.Writer, title string, rows []row) {
	fmt.Fprintf(w, "## %s\n\n| name | state | what it does |\n|---|---|---|\n", title)
	for _, r := range rows {
		fmt.Fprintf(w, "| `%s` | %s | %s |\n", r.name, r.state, strings.ReplaceAll(r.doc, "|", "\\|"))
	}
	fmt.Fprintln(w)
}
