package auth

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/archelon-db/archelon/server"
)

// The actions of the roles on a database.
var (
	readActions = setOf(ChangeStream, CollStats, DBHash, DBStats, Find, IndexStats, KillCursors, ListCollections, ListIndexes, PlanCacheRead)

	readWriteActions = readActions.plus(setOf(ConvertToCapped, CreateCollection, CreateIndex, DropCollection, DropIndex, Insert, Remove,
		RenameCollectionSameDB, Update))

	dbAdminActions = setOf(BypassDocumentValidation, CollMod, CollStats, Compact, ConvertToCapped, CreateCollection, CreateIndex, DBStats,
		DropCollection, DropDatabase, DropIndex, EnableProfiler, IndexStats, ListCollections, ListIndexes, PlanCacheIndexFilter,
		PlanCacheRead, PlanCacheWrite, ReIndex, RenameCollectionSameDB, Validate)

	userAdminActions = setOf(CreateRole, CreateUser, DropRole, DropUser, GrantRole, RevokeRole, ViewRole, ViewUser)

	monitorActions = setOf(ConnPoolStats, GetClusterParameter, GetCmdLineOpts, GetDefaultRWConcern, GetLog, GetParameter, HostInfo, InProg,
		ListDatabases, ListSessions, QueryStatsRead, ReplSetGetConfig, ReplSetGetStatus, ServerStatus, Top)

	hostActions = setOf(ConnPoolStats, DropConnections, FSync, KillAnyCursor, KillAnySession, KillOp, LogRotate, SetParameter, Shutdown, Unlock)

	managerActions = setOf(AppendOplogNote, GetClusterParameter, GetDefaultRWConcern, ListSessions, QuerySettings, ReplSetConfigure,
		ReplSetGetConfig, ReplSetGetStatus, ReplSetResizeOplog, ReplSetStateChange, SetClusterParameter, SetDefaultRWConcern,
		SetFeatureCompatibilityVersion)
)

// databaseRoles are the roles that every database has; what they grant is about the database that the role is of.
var databaseRoles = map[string]func(db string) privileges{
	"read":      readRole,
	"readWrite": readWriteRole,
	"dbAdmin":   dbAdminRole,
	"userAdmin": userAdminRole,
	"dbOwner": func(db string) privileges {
		return slices.Concat(readWriteRole(db), dbAdminRole(db), userAdminRole(db))
	},
	"call": func(db string) privileges { return privileges{{resource{onDatabase, db, ""}, setOf(Call)}} },
}

func readRole(db string) privileges {
	return privileges{{resource{onDatabase, db, ""}, readActions}, {resource{onCollection, db, "system.js"}, readActions}}
}

func readWriteRole(db string) privileges {
	return privileges{{resource{onDatabase, db, ""}, readWriteActions}, {resource{onCollection, db, "system.js"}, readWriteActions}}
}

func dbAdminRole(db string) privileges {
	return privileges{
		{resource{onDatabase, db, ""}, dbAdminActions},
		{resource{onCollection, db, "system.profile"}, dbAdminActions.plus(readActions)},
		{resource{onCollection, db, "system.views"}, readActions},
	}
}

func userAdminRole(db string) privileges {
	return privileges{{resource{onDatabase, db, ""}, userAdminActions}}
}

// adminRoles are the roles of the database admin, which are about more than it.
var adminRoles = map[string]func() privileges{
	"readAnyDatabase":      readAnyRole,
	"readWriteAnyDatabase": readWriteAnyRole,
	"dbAdminAnyDatabase":   dbAdminAnyRole,
	"userAdminAnyDatabase": userAdminAnyRole,
	"clusterMonitor":       monitorRole,
	"hostManager":          hostRole,
	"clusterManager":       managerRole,
	"clusterAdmin": func() privileges {
		return slices.Concat(monitorRole(), hostRole(), managerRole(), privileges{
			{resource{onAnyNormal, "", ""}, setOf(DropDatabase)},
		})
	},
	"backup": func() privileges {
		return privileges{
			{resource{onAnyNormal, "", ""}, readActions},
			{resource{onDatabase, "config", ""}, readActions}, {resource{onDatabase, "local", ""}, readActions},
			{resource{inAny, "", "system.js"}, readActions}, {resource{inAny, "", "system.profile"}, readActions},
			{resource{inAny, "", "system.views"}, readActions},
			{resource{scope: onCluster}, setOf(AppendOplogNote, GetParameter, ListDatabases, ServerStatus)},
		}
	},
	"restore": func() privileges {
		restore := readWriteActions.plus(setOf(BypassDocumentValidation, CollMod, DropDatabase))
		return privileges{
			{resource{onAnyNormal, "", ""}, restore}, {resource{inAny, "", "system.js"}, restore}, {resource{inAny, "", "system.views"}, restore},
			{resource{scope: onCluster}, setOf(GetParameter, ListDatabases, UseUUID)},
		}
	},
	"callAnyDatabase": func() privileges {
		return privileges{{resource{onAnyNormal, "", ""}, setOf(Call)}}
	},
	"root": func() privileges { return privileges{{resource{scope: onAll}, all()}} },
}

func readAnyRole() privileges {
	return privileges{
		{resource{onAnyNormal, "", ""}, readActions}, {resource{inAny, "", "system.js"}, readActions},
		{resource{scope: onCluster}, setOf(ListDatabases)},
	}
}

func readWriteAnyRole() privileges {
	return privileges{
		{resource{onAnyNormal, "", ""}, readWriteActions}, {resource{inAny, "", "system.js"}, readWriteActions},
		{resource{scope: onCluster}, setOf(ListDatabases)},
	}
}

func dbAdminAnyRole() privileges {
	return privileges{
		{resource{onAnyNormal, "", ""}, dbAdminActions}, {resource{inAny, "", "system.profile"}, dbAdminActions.plus(readActions)},
		{resource{inAny, "", "system.views"}, readActions}, {resource{scope: onCluster}, setOf(ApplyOps, ListDatabases)},
	}
}

func userAdminAnyRole() privileges {
	return privileges{
		{resource{onAnyNormal, "", ""}, userAdminActions}, {resource{scope: onCluster}, setOf(ListDatabases)},
		{resource{onDatabase, "config", ""}, userAdminActions}, {resource{onDatabase, "local", ""}, userAdminActions},
	}
}

func monitorRole() privileges {
	stats := setOf(CollStats, DBStats, IndexStats, ListCollections, ListIndexes)
	return privileges{
		{resource{scope: onCluster}, monitorActions}, {resource{onAnyNormal, "", ""}, stats},
		{resource{onDatabase, "config", ""}, readActions}, {resource{onDatabase, "local", ""}, readActions},
		{resource{inAny, "", "system.profile"}, setOf(Find)},
	}
}

func hostRole() privileges {
	return privileges{
		{resource{scope: onCluster}, hostActions}, {resource{onAnyNormal, "", ""}, setOf(KillCursors)},
	}
}

func managerRole() privileges {
	return privileges{
		{resource{scope: onCluster}, managerActions},
		{resource{onDatabase, "config", ""}, readActions.plus(setOf(Insert, Remove, Update))},
	}
}

// CheckRole says whether there is such a role.
func CheckRole(r server.UserRole) error {
	if databaseRoles[r.Name] != nil {
		return nil
	}
	if adminRoles[r.Name] == nil {
		return fmt.Errorf("there is no role %q; there are %s", r.Name, strings.Join(RoleNames(), ", "))
	}
	if r.DB != "admin" {
		return fmt.Errorf("the role %q is of the database admin: {role: %s, db: admin}, and not of %q", r.Name, r.Name, r.DB)
	}
	return nil
}

// RoleNames are the names of all roles.
func RoleNames() []string {
	return slices.Sorted(func(yield func(string) bool) {
		for name := range maps.Keys(databaseRoles) {
			if !yield(name) {
				return
			}
		}
		for name := range maps.Keys(adminRoles) {
			if !yield(name) {
				return
			}
		}
	})
}

// privilegesOf is what roles amount to; roles that do not exist grant nothing.
func privilegesOf(roles []server.UserRole) privileges {
	var out privileges
	for _, r := range roles {
		if grant := databaseRoles[r.Name]; grant != nil {
			out = append(out, grant(r.DB)...)
		} else if grant := adminRoles[r.Name]; grant != nil && r.DB == "admin" {
			out = append(out, grant()...)
		}
	}
	return merged(out)
}
