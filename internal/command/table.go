package command

import (
	"fmt"
	"slices"
	"strings"
)

// Table returns the rows of all commands, sorted by name. Each call makes new rows.
func Table() []*Command {
	families := [][]*Command{
		readCommands(), writeCommands(), cursorCommands(), sessionCommands(), transactionCommands(), handshakeCommands(), diagnosticCommands(),
		parameterCommands(), replicationCommands(), rwDefaultCommands(), querySettingsCommands(), planCacheCommands(),
		clusterParameterCommands(), failPointCommands(), oplogCommands(), administrationCommands(), ddlCommands(), missingCommands(), {mapReduceCommand(), applyOpsCommand()},
	}
	var rows []*Command
	for _, f := range families {
		rows = append(rows, f...)
	}
	slices.SortFunc(rows, func(a, b *Command) int { return strings.Compare(a.Name, b.Name) })
	return rows
}

// index maps names and aliases to rows. It panics on a name with two rows: that is a mistake of the program.
func index(rows []*Command) map[string]*Command {
	byName := make(map[string]*Command, 2*len(rows))
	for _, row := range rows {
		for _, name := range append([]string{row.Name}, row.Aliases...) {
			if _, taken := byName[name]; taken {
				panic(fmt.Sprintf("command: %q registered twice", name))
			}
			byName[name] = row
		}
	}
	return byName
}
