package auth

// Action is something that a role lets its users do.
type Action uint8

// The actions, by MongoDB's names; Call is for the commands of services.
const (
	AnyAction Action = iota
	AppendOplogNote
	ApplyOps
	BypassDocumentValidation
	Call
	ChangeStream
	CollMod
	CollStats
	Compact
	ConnPoolStats
	ConvertToCapped
	CreateCollection
	CreateIndex
	CreateRole
	CreateUser
	DBHash
	DBStats
	DropCollection
	DropConnections
	DropDatabase
	DropIndex
	DropRole
	DropUser
	EnableProfiler
	Find
	FSync
	GetClusterParameter
	GetCmdLineOpts
	GetDefaultRWConcern
	GetLog
	GetParameter
	GrantRole
	HostInfo
	IndexStats
	InProg
	Insert
	KillAnyCursor
	KillAnySession
	KillCursors
	KillOp
	ListCollections
	ListDatabases
	ListIndexes
	ListSessions
	LogRotate
	PlanCacheIndexFilter
	PlanCacheRead
	PlanCacheWrite
	QuerySettings
	QueryStatsRead
	ReIndex
	Remove
	RenameCollectionSameDB
	ReplSetConfigure
	ReplSetGetConfig
	ReplSetGetStatus
	ReplSetResizeOplog
	ReplSetStateChange
	RevokeRole
	ServerStatus
	SetClusterParameter
	SetDefaultRWConcern
	SetFeatureCompatibilityVersion
	SetParameter
	Shutdown
	Top
	Unlock
	Update
	UseUUID
	Validate
	ViewRole
	ViewUser
	numActions
)

// actionNames are in the order of the constants, which is that of the alphabet.
var actionNames = [numActions]string{
	"anyAction", "appendOplogNote", "applyOps", "bypassDocumentValidation", "call", "changeStream", "collMod", "collStats",
	"compact", "connPoolStats", "convertToCapped", "createCollection", "createIndex", "createRole", "createUser", "dbHash",
	"dbStats", "dropCollection", "dropConnections", "dropDatabase", "dropIndex", "dropRole", "dropUser", "enableProfiler",
	"find", "fsync", "getClusterParameter", "getCmdLineOpts", "getDefaultRWConcern", "getLog", "getParameter", "grantRole",
	"hostInfo", "indexStats", "inprog", "insert", "killAnyCursor", "killAnySession", "killCursors", "killop",
	"listCollections", "listDatabases", "listIndexes", "listSessions", "logRotate", "planCacheIndexFilter", "planCacheRead",
	"planCacheWrite", "querySettings", "queryStatsRead", "reIndex", "remove", "renameCollectionSameDB", "replSetConfigure",
	"replSetGetConfig", "replSetGetStatus", "replSetResizeOplog", "replSetStateChange", "revokeRole", "serverStatus",
	"setClusterParameter", "setDefaultRWConcern", "setFeatureCompatibilityVersion", "setParameter", "shutdown", "top",
	"unlock", "update", "useUUID", "validate", "viewRole", "viewUser",
}

// String is the action's name.
func (a Action) String() string { return actionNames[a] }

// actionSet is a set of actions.
type actionSet [(numActions + 63) / 64]uint64

func setOf(actions ...Action) actionSet {
	var s actionSet
	for _, a := range actions {
		s[a/64] |= 1 << (a % 64)
	}
	return s
}

func (s *actionSet) has(a Action) bool { return s[a/64]&(1<<(a%64)) != 0 }

// plus is the union of two sets.
func (s actionSet) plus(o actionSet) actionSet {
	for i := range s {
		s[i] |= o[i]
	}
	return s
}

// all is the set of all actions.
func all() actionSet {
	var s actionSet
	for a := range numActions {
		s[a/64] |= 1 << (a % 64)
	}
	return s
}
