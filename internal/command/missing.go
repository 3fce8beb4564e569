package command

import (
	"context"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

// missingCommands are the commands that MongoDB has and Archelon does not.
func missingCommands() []*Command {
	rows := []*Command{
		{Name: "logRotate", Run: missingAfter(IntOrString)},
	}
	for _, name := range []string{
		"_isSelf", "autoCompact", "autoSplitVector", "cleanupOrphaned",
		"clusterCount", "connPoolStats", "coordinateCommitTransaction", "connPoolSync", "createRole", "createSearchIndexes",
		"createUser", "dropAllRolesFromDatabase", "dropAllUsersFromDatabase", "dropRole", "dropSearchIndex", "dropUser",
		"filemd5", "fsyncUnlock", "getAuditConfig", "getChangeStreamState", "getDatabaseVersion",
		"getQueryableEncryptionCountInfo", "getShardMap", "getShardVersion", "grantPrivilegesToRole", "grantRolesToRole",
		"grantRolesToUser", "invalidateUserCache", "listDatabasesForAllTenants", "listSearchIndexes", "lockInfo", "oidcListKeys",
		"oidcRefreshKeys", "prepareTransaction", "releaseMemory", "replSetAbortPrimaryCatchUp",
		"replSetFreeze", "replSetGetRBID", "replSetHeartbeat", "replSetMaintenance", "replSetReconfig", "replSetRequestVotes",
		"replSetStepDown", "replSetStepDownWithForce", "replSetStepUp", "replSetSyncFrom",
		"replSetUpdatePosition", "revokePrivilegesFromRole", "revokeRolesFromRole", "revokeRolesFromUser", "rolesInfo",
		"rotateCertificates", "setAuditConfig", "setChangeStreamState", "setFeatureCompatibilityVersion",
		"setIndexCommitQuorum", "setProfilingFilterGlobally", "setUserWriteBlockMode", "shardingState",
		"splitVector", "testDeprecation", "transitionFromDedicatedConfigServer", "transitionToDedicatedConfigServer",
		"updateRole", "updateSearchIndex", "updateUser", "voteAbortIndexBuild", "voteCommitIndexBuild", "whatsmysni",
	} {
		rows = append(rows, &Command{Name: name, Loose: true})
	}
	for _, row := range rows {
		row.Missing, row.Help = true, "Is not implemented."
		row.WriteConcern, row.SecondaryOK = true, true
	}
	return rows
}

// missingAfter is Run of a missing command whose first value has to be of a kind.
func missingAfter(kind Kind) func(context.Context, *Call) error {
	return func(_ context.Context, c *Call) error {
		if !kind.accepts(c.First.Type()) {
			return wrongType(c.Cmd.Name, c.Cmd.Name, c.First.Type(), kind)
		}
		return errMissingCommand(c.Cmd)
	}
}

func errMissingCommand(cmd *Command) error {
	return mongoerr.New(mongoerr.NotImplemented, "command '%s' is not implemented", cmd.Name)
}
