package auth

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/server"
)

// Access says who may run a command that is not MongoDB's.
type Access uint8

const (
	// ByTable is for commands that mean what they mean to MongoDB. Those that are not in the table are let through to the
	// handler, which does not know them either.
	ByTable Access = iota
	// Callable commands need the action `call` on their database.
	Callable
	// LoggedIn commands run for everybody who has authenticated.
	LoggedIn
	// Open commands run for everybody.
	Open
)

// Services tells the access to commands of services, which may have the names of MongoDB's. It is asked with names as
// clients write them.
type Services func(db, command string) Access

// rule says what a command needs.
type rule struct {
	// open commands run before a client has authenticated; all others after.
	open bool
	// needs collects what else is needed; nil for nothing.
	needs func(c *command)
}

// command is a command whose needs are being collected.
type command struct {
	name, db string
	body     server.Doc
	req      *server.Request // for document sequences; nil for commands within others
	services Services
	user     *server.User // nil within other commands
	wrapped  bool         // the command was within another one
	list     []need
}

func (c *command) add(a Action, db, collection string) {
	c.list = append(c.list, need{action: a, db: db, collection: collection})
}

func (c *command) cluster(a Action) { c.list = append(c.list, need{action: a, cluster: true}) }

// collection is the collection that the first field names; a UUID needs a right of its own, since it may be any's.
func (c *command) collection() string {
	_, v, _ := c.body.First()
	switch v.Type() {
	case bsonval.TypeString:
		return v.Str()
	case bsonval.TypeBinary:
		c.cluster(UseUUID)
	}
	return ""
}

// on is the rule of a command that does actions on the collection it names.
func on(actions ...Action) rule {
	return rule{needs: func(c *command) {
		coll := c.collection()
		for _, a := range actions {
			c.add(a, c.db, coll)
		}
	}}
}

// inDB is the rule of a command that does actions on its database.
func inDB(actions ...Action) rule {
	return rule{needs: func(c *command) {
		for _, a := range actions {
			c.add(a, c.db, "")
		}
	}}
}

// inCluster is the rule of a command that is about the server as a whole.
func inCluster(actions ...Action) rule {
	return rule{needs: func(c *command) {
		for _, a := range actions {
			c.cluster(a)
		}
	}}
}

// by is the rule of a command whose arguments decide.
func by(needs func(c *command)) rule { return rule{needs: needs} }

var (
	anybody  = rule{open: true}
	loggedIn = rule{}
)

// rules are by the names of MongoDB's commands, aliases included. It is filled by init, since rules of commands within
// commands look into it.
var rules map[string]rule

func init() {
	rules = map[string]rule{
		// The handshake, and what tells of the connection alone.
		"hello": anybody, "isMaster": anybody, "ismaster": anybody, "ping": anybody, "logout": anybody, "saslStart": anybody,
		"saslContinue": anybody, "authenticate": anybody, "connectionStatus": anybody, "whatsmyuri": anybody, "listCommands": anybody,
		"isdbgrid": anybody, "features": loggedIn, "_isSelf": anybody, "buildInfo": loggedIn, "buildinfo": loggedIn,

		// Sessions, transactions and cursors belong to users, which those see to who have them.
		"startSession": loggedIn, "endSessions": loggedIn, "refreshSessions": loggedIn, "killSessions": loggedIn,
		"commitTransaction": loggedIn, "abortTransaction": loggedIn, "killCursors": loggedIn, "getMore": by(getMoreNeeds),
		"killAllSessions": inCluster(KillAnySession), "killAllSessionsByPattern": inCluster(KillAnySession),
		"prepareTransaction": inCluster(AnyAction), "coordinateCommitTransaction": inCluster(AnyAction), "getLastError": loggedIn,
		"getlasterror": loggedIn,

		// Reading.
		"find": on(Find), "count": on(Find), "distinct": on(Find), "aggregate": by(aggregateNeeds), "explain": by(explainNeeds),
		"dataSize": by(dataSizeNeeds), "datasize": by(dataSizeNeeds), "filemd5": on(Find), "mapReduce": by(mapReduceNeeds),
		"mapreduce": by(mapReduceNeeds), "dbHash": inDB(DBHash), "dbhash": inDB(DBHash),

		// Writing.
		"insert": by(insertNeeds), "update": by(updateNeeds), "delete": on(Remove), "findAndModify": by(findAndModifyNeeds),
		"findandmodify": by(findAndModifyNeeds), "bulkWrite": by(bulkWriteNeeds),

		// Definitions.
		"create": by(createNeeds), "collMod": by(collModNeeds), "createIndexes": on(CreateIndex), "dropIndexes": on(DropIndex),
		"deleteIndexes": on(DropIndex), "drop": on(DropCollection), "dropDatabase": inDB(DropDatabase), "reIndex": on(ReIndex),
		"compact": on(Compact), "convertToCapped": on(ConvertToCapped), "cloneCollectionAsCapped": by(cloneNeeds),
		"renameCollection": by(renameNeeds), "listCollections": by(listCollectionsNeeds), "listIndexes": on(ListIndexes),
		"listDatabases": by(listDatabasesNeeds), "createSearchIndexes": on(CreateIndex), "dropSearchIndex": on(DropIndex),
		"listSearchIndexes": on(ListIndexes), "updateSearchIndex": on(CreateIndex), "setIndexCommitQuorum": on(CreateIndex),
		"compactStructuredEncryptionData": on(Compact), "cleanupStructuredEncryptionData": on(Compact), "autoCompact": inCluster(AnyAction),

		// Looking.
		"dbStats": inDB(DBStats), "dbstats": inDB(DBStats), "collStats": on(CollStats), "collstats": on(CollStats),
		"validate": on(Validate), "validateDBMetadata": inDB(Validate), "profile": inDB(EnableProfiler), "top": inCluster(Top),
		"serverStatus": inCluster(ServerStatus), "hostInfo": inCluster(HostInfo), "getLog": inCluster(GetLog),
		"getCmdLineOpts": inCluster(GetCmdLineOpts), "getParameter": inCluster(GetParameter), "currentOp": inCluster(InProg),
		"connPoolStats": inCluster(ConnPoolStats), "lockInfo": inCluster(ServerStatus), "whatsmysni": loggedIn, "testDeprecation": loggedIn,
		"planCacheClear": on(PlanCacheWrite), "planCacheListFilters": on(PlanCacheIndexFilter),
		"planCacheSetFilter": on(PlanCacheIndexFilter), "planCacheClearFilters": on(PlanCacheIndexFilter),
		"setQuerySettings": inCluster(QuerySettings), "removeQuerySettings": inCluster(QuerySettings),

		// Looking after the server.
		"killOp": inCluster(KillOp), "fsync": inCluster(FSync), "fsyncUnlock": inCluster(Unlock), "shutdown": inCluster(Shutdown),
		"setParameter": inCluster(SetParameter), "logRotate": inCluster(LogRotate), "dropConnections": inCluster(DropConnections),
		"connPoolSync": inCluster(DropConnections), "getClusterParameter": inCluster(GetClusterParameter),
		"setClusterParameter": inCluster(SetClusterParameter), "getDefaultRWConcern": inCluster(GetDefaultRWConcern),
		"setDefaultRWConcern": inCluster(SetDefaultRWConcern), "applyOps": inCluster(AnyAction), "appendOplogNote": inCluster(AppendOplogNote),
		"setFeatureCompatibilityVersion": inCluster(SetFeatureCompatibilityVersion), "rotateCertificates": inCluster(AnyAction),
		"releaseMemory": inCluster(AnyAction), "configureFailPoint": inCluster(AnyAction), "waitForFailPoint": inCluster(AnyAction),
		"setUserWriteBlockMode": inCluster(AnyAction), "setProfilingFilterGlobally": inCluster(AnyAction),
		"replSetGetStatus": inCluster(ReplSetGetStatus), "replSetGetConfig": inCluster(ReplSetGetConfig),
		"replSetInitiate": inCluster(ReplSetConfigure), "replSetReconfig": inCluster(ReplSetConfigure),
		"replSetResizeOplog": inCluster(ReplSetResizeOplog), "replSetStepDown": inCluster(ReplSetStateChange),
		"replSetFreeze": inCluster(ReplSetStateChange), "replSetMaintenance": inCluster(ReplSetStateChange),
		"replSetSyncFrom": inCluster(ReplSetStateChange), "listDatabasesForAllTenants": inCluster(ListDatabases),

		// Users and roles.
		"usersInfo": by(usersInfoNeeds), "rolesInfo": inDB(ViewRole), "createUser": inDB(CreateUser), "updateUser": inDB(CreateUser),
		"dropUser": inDB(DropUser), "dropAllUsersFromDatabase": inDB(DropUser), "grantRolesToUser": inDB(GrantRole),
		"revokeRolesFromUser": inDB(RevokeRole), "createRole": inDB(CreateRole), "updateRole": inDB(CreateRole), "dropRole": inDB(DropRole),
		"dropAllRolesFromDatabase": inDB(DropRole), "grantPrivilegesToRole": inDB(GrantRole), "revokePrivilegesFromRole": inDB(RevokeRole),
		"grantRolesToRole": inDB(GrantRole), "revokeRolesFromRole": inDB(RevokeRole), "invalidateUserCache": inCluster(AnyAction),
	}
	// What members of a cluster tell each other, and what Archelon has no use for.
	for _, name := range []string{
		"autoSplitVector", "cleanupOrphaned", "clusterCount", "getAuditConfig", "getChangeStreamState", "getDatabaseVersion",
		"getQueryableEncryptionCountInfo", "getShardMap", "getShardVersion", "oidcListKeys", "oidcRefreshKeys",
		"replSetAbortPrimaryCatchUp", "replSetGetRBID", "replSetHeartbeat", "replSetRequestVotes", "replSetStepDownWithForce",
		"replSetStepUp", "replSetUpdatePosition", "setAuditConfig", "setChangeStreamState", "shardingState", "splitVector",
		"transitionFromDedicatedConfigServer", "transitionToDedicatedConfigServer", "voteAbortIndexBuild", "voteCommitIndexBuild",
	} {
		rules[name] = inCluster(AnyAction)
	}
	folded = make(map[string]string, len(rules))
	for name := range rules {
		folded[strings.ToLower(name)] = name
	}
}

// folded are the names of commands by their lower case: services take them in any.
var folded map[string]string

// Known says whether a command, in any case of letters, is in the table, and whether it is open to everybody there.
func Known(name string) (open, known bool) {
	r, known := rules[name]
	if !known {
		r, known = rules[folded[strings.ToLower(name)]]
	}
	return r.open, known
}

// Remote is the access to commands that another server answers: those of MongoDB need what they always need, but never
// less than that the client has authenticated, since they may be something else there. All others are callable.
func Remote(command string) Access {
	switch open, known := Known(command); {
	case open:
		return LoggedIn
	case known:
		return ByTable
	}
	return Callable
}

// maxWrapped bounds how deep commands can be wrapped in others.
const maxWrapped = 4

// rule finds the rule of the command, after taking it out of what old clients wrap it in. Within something else no command
// is open: it is not what the handler gets.
func (c *command) rule() rule {
	for range maxWrapped {
		inner := unwrapped(c.name, c.body)
		if inner == nil {
			break
		}
		c.body, c.req, c.wrapped = inner, nil, true
		c.name, _, _ = inner.First()
	}
	r := c.own()
	r.open = r.open && !c.wrapped
	return r
}

// own is the rule of the command by its name.
func (c *command) own() rule {
	if c.services != nil {
		switch access := c.services(c.db, c.name); access {
		case Callable:
			return rule{needs: func(c *command) { c.add(Call, c.db, "") }}
		case LoggedIn:
			return loggedIn
		case Open:
			return anybody
		}
	}
	if r, ok := rules[c.name]; ok {
		return r
	}
	return rules[folded[strings.ToLower(c.name)]]
}

// unwrapped is the command within {$query: …} or a find on the collection $cmd; nil if there is none.
func unwrapped(name string, body server.Doc) server.Doc {
	var inner bsonval.Value
	_, first, _ := body.First()
	switch {
	case name == "$query":
		inner = first
	case strings.EqualFold(name, "find") && first.Type() == bsonval.TypeString && first.Str() == "$cmd":
		inner = body.Lookup("filter")
	}
	if inner.Type() != bsonval.TypeDocument || inner.Doc().IsEmpty() {
		return nil
	}
	return inner.Doc()
}
