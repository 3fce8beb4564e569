package command

// missingCommands are the commands that MongoDB has and Archelon does not.
func missingCommands() []*Command {
	rows := []*Command{
		{Name: "logRotate", First: FirstValue, FirstKind: IntOrString},
		{Name: "applyOps", First: FirstValue, FirstKind: Array, Loose: true},
		{Name: "setDefaultRWConcern", AdminOnly: true, Loose: true, WriteConcern: true},
		{Name: "planCacheSetFilter", First: FirstCollection, Loose: true},
		{Name: "mapReduce", Aliases: []string{"mapreduce"}, First: FirstCollection, Loose: true},
	}
	for _, name := range []string{
		"_isSelf", "appendOplogNote", "autoCompact", "autoSplitVector", "cleanupOrphaned", "cleanupStructuredEncryptionData",
		"clusterCount", "compactStructuredEncryptionData", "connPoolStats", "connPoolSync", "createRole", "createSearchIndexes",
		"createUser", "dropAllRolesFromDatabase", "dropAllUsersFromDatabase", "dropRole", "dropSearchIndex", "dropUser",
		"features", "filemd5", "fsyncUnlock", "getAuditConfig", "getChangeStreamState", "getClusterParameter", "getDatabaseVersion",
		"getQueryableEncryptionCountInfo", "getShardMap", "getShardVersion", "grantPrivilegesToRole", "grantRolesToRole",
		"grantRolesToUser", "invalidateUserCache", "listDatabasesForAllTenants", "listSearchIndexes", "lockInfo", "oidcListKeys",
		"oidcRefreshKeys", "prepareTransaction", "releaseMemory", "removeQuerySettings", "replSetAbortPrimaryCatchUp",
		"replSetFreeze", "replSetGetRBID", "replSetHeartbeat", "replSetMaintenance", "replSetReconfig", "replSetRequestVotes",
		"replSetResizeOplog", "replSetStepDown", "replSetStepDownWithForce", "replSetStepUp", "replSetSyncFrom",
		"replSetUpdatePosition", "revokePrivilegesFromRole", "revokeRolesFromRole", "revokeRolesFromUser", "rolesInfo",
		"rotateCertificates", "setAuditConfig", "setChangeStreamState", "setClusterParameter", "setFeatureCompatibilityVersion",
		"setIndexCommitQuorum", "setProfilingFilterGlobally", "setQuerySettings", "setUserWriteBlockMode", "shardingState",
		"splitVector", "testDeprecation", "transitionFromDedicatedConfigServer", "transitionToDedicatedConfigServer",
		"updateRole", "updateSearchIndex", "updateUser", "voteAbortIndexBuild", "voteCommitIndexBuild", "waitForFailPoint", "whatsmysni",
	} {
		rows = append(rows, &Command{Name: name, Loose: true})
	}
	for _, row := range rows {
		row.Help = "Is not implemented."
		row.WriteConcern, row.SecondaryOK = true, true
	}
	return rows
}
