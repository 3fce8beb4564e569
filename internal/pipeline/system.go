package pipeline

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var systemRows = []row{
	{name: "$collStats", doc: "Reports the statistics of the collection.", parse: parseCollStats, first: true, noFacet: true},
	{name: "$currentOp", doc: "Lists the operations and idle things of the server.", parse: parseCurrentOp, first: true, noFacet: true, noInput: true},
	{name: "$indexStats", doc: "Lists the collection's indexes with their use.", parse: parseIndexStats, first: true, noFacet: true},
	{name: "$listClusterCatalog", doc: "Lists the collections with their options.", parse: parseListClusterCatalog, first: true, noInput: true, noFacet: true},
	{name: "$listLocalSessions", doc: "Lists the sessions that the server holds in memory.", parse: parseListSessions("$listLocalSessions"), first: true, noFacet: true, noInput: true},
	{name: "$listSessions", doc: "Lists the sessions that are stored in config.system.sessions.", parse: parseListSessions("$listSessions"), first: true, noFacet: true},
	{name: "$planCacheStats", doc: "Lists the cached plans of the collection.", parse: parsePlanCacheStats, first: true, noFacet: true},
	{name: "$querySettings", doc: "Lists the settings of query shapes.", parse: parseQuerySettings, first: true, noFacet: true, noInput: true},
	{name: "$queryStats", doc: "Lists the statistics of query shapes.", parse: parseQueryStats, first: true, noFacet: true, noInput: true, refused: true},
}

// systemStage is a stage whose documents come from the kernel.
type systemStage struct {
	stage string
	ns    Namespace
	arg   bsonval.Doc
}

func (s *systemStage) isOrigin()              {}
func (s *systemStage) name() string           { return s.stage }
func (s *systemStage) explain() bsonval.Value { return bsonval.Document(s.arg) }
func (s *systemStage) needs() needs           { return needsAll }

func (s *systemStage) open(ctx context.Context, r *run, _ Source) (Source, error) {
	return r.env.Data.System(ctx, s.ns, s.stage, s.arg)
}

func (p *parser) system(name string, arg bsonval.Value) []stage {
	return []stage{&systemStage{name, p.ns, arg.Doc()}}
}

func parseIndexStats(p *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeDocument || !arg.Doc().IsEmpty() {
		return nil, mongoerr.New(28803, "The $indexStats stage specification must be an empty object")
	}
	return p.system("$indexStats", arg), nil
}

func parseCollStats(p *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(5447000, "$collStats must take a nested object but found: %s", bsonval.Format(arg))
	}
	const stage = "$collStats"
	err := fields(stage, arg.Doc(), func(name string, v bsonval.Value) (bool, error) {
		switch name {
		case "latencyStats", "storageStats", "count", "queryExecStats", "operationStats":
		default:
			return false, nil
		}
		if isNull(v) {
			return true, nil
		}
		d, err := fieldDoc(stage, name, v)
		if err != nil {
			return true, err
		}
		return true, fields(stage+"."+name, d, func(inner string, v bsonval.Value) (bool, error) {
			switch {
			case name == "latencyStats" && inner == "histograms":
				_, err := fieldBool(stage+".latencyStats", inner, v)
				return true, err
			case name == "storageStats":
				return true, nil
			case name == "latencyStats":
				return false, nil
			}
			return true, mongoerr.New(31170, "The '%s' argument to $collStats must be an empty object", name)
		})
	})
	return p.system(stage, arg), err
}

func parseCurrentOp(p *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(mongoerr.FailedToParse, "$currentOp options must be specified in an object, but found: %s", arg.Type())
	}
	it := arg.Doc().Iter()
	for it.Next() {
		switch it.KeyStr() {
		case "allUsers", "idleConnections", "idleSessions", "localOps", "truncateOps", "idleCursors", "backtrace", "targetAllNodes":
			if it.Value().Type() != bsonval.TypeBool {
				return nil, mongoerr.New(mongoerr.FailedToParse, "The '%s' parameter of the $currentOp stage must be a boolean value, but found: %s", it.KeyStr(), it.Value().Type())
			}
		default:
			return nil, mongoerr.New(mongoerr.FailedToParse, "Unrecognized option '%s' in $currentOp stage.", it.KeyStr())
		}
	}
	if p.ns.DB != "admin" && p.ns.Coll == "" {
		return nil, mongoerr.New(mongoerr.InvalidNamespace, "$currentOp must be run against the 'admin' database with {aggregate: 1}")
	}
	return p.system("$currentOp", arg), nil
}

func parsePlanCacheStats(p *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(28932, "$planCacheStats value must be an object. Found: %s", arg.Type())
	}
	it := arg.Doc().Iter()
	for it.Next() {
		if it.KeyStr() != "allHosts" {
			return nil, mongoerr.New(mongoerr.FailedToParse, "$planCacheStats parameters object must contain only 'allHosts' field. Found: %s", it.KeyStr())
		}
		if it.Value().Type() != bsonval.TypeBool {
			return nil, mongoerr.New(mongoerr.TypeMismatch, "$planCacheStats 'allHosts' must be a boolean")
		}
		if it.Value().Bool() {
			return nil, mongoerr.New(4503200, "$planCacheStats stage supports allHosts parameter only for sharded clusters")
		}
	}
	return p.system("$planCacheStats", arg), nil
}

func parseQuerySettings(p *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(7746800, "$querySettings stage expects a document as argument")
	}
	err := fields("$querySettings", arg.Doc(), func(name string, v bsonval.Value) (bool, error) {
		if name != "showDebugQueryShape" {
			return false, nil
		}
		_, err := fieldBool("$querySettings", name, v)
		return true, err
	})
	return p.system("$querySettings", arg), err
}

func parseQueryStats(p *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(mongoerr.FailedToParse, "$queryStats value must be an object. Found: %s", arg.Type())
	}
	err := fields("$queryStats", arg.Doc(), func(name string, v bsonval.Value) (bool, error) {
		if name != "transformIdentifiers" {
			return false, nil
		}
		return true, mongoerr.New(mongoerr.NotImplemented, "$queryStats with 'transformIdentifiers' is not implemented")
	})
	return p.system("$queryStats", arg), err
}

func parseListClusterCatalog(p *parser, arg bsonval.Value) ([]stage, error) {
	const stage = "$listClusterCatalog"
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(9621302, "$listClusterCatalog must take a nested object but found: %s", bsonval.Format(arg))
	}
	if p.ns.Coll != "" || p.in != "" {
		return nil, mongoerr.New(9621301, "$listClusterCatalog must be run against the database with {aggregate: 1}")
	}
	err := fields(stage, arg.Doc(), func(name string, v bsonval.Value) (bool, error) {
		switch name {
		case "shards", "tracked", "balancingConfiguration":
			_, err := fieldBool(stage, name, v)
			return true, err
		}
		return false, nil
	})
	return p.system(stage, arg), err
}

// parseListSessions reads {users: [{user, db}], allUsers: bool}.
func parseListSessions(name string) func(*parser, bsonval.Value) ([]stage, error) {
	return func(p *parser, arg bsonval.Value) ([]stage, error) {
		if arg.Type() != bsonval.TypeDocument {
			return nil, mongoerr.New(mongoerr.TypeMismatch, "%s options must be specified in an object, but found: %s", name, arg.Type())
		}
		all, users := false, 0
		err := fields(name, arg.Doc(), func(field string, v bsonval.Value) (known bool, err error) {
			switch field {
			case "allUsers":
				if isNull(v) {
					return true, nil
				}
				all, err = fieldBool(name, field, v)
			case "users":
				if isNull(v) {
					return true, nil
				}
				users, err = checkSessionUsers(name, v)
			default:
				return false, nil
			}
			return true, err
		})
		if err != nil {
			return nil, err
		}
		if all && users > 0 {
			return nil, mongoerr.New(mongoerr.UnsupportedFormat, "%s: 'allUsers' cannot be combined with 'users'", name)
		}
		if name == "$listSessions" && (p.ns.DB != "config" || p.ns.Coll != "system.sessions") {
			return nil, mongoerr.New(mongoerr.InvalidNamespace, "$listSessions may only be run against config.system.sessions")
		}
		return p.system(name, arg), nil
	}
}

func checkSessionUsers(stage string, v bsonval.Value) (n int, err error) {
	if v.Type() != bsonval.TypeArray {
		return 0, errFieldType(stage, "users", v, "array")
	}
	it := v.Doc().Iter()
	for it.Next() {
		n++
		if isNull(it.Value()) {
			continue
		}
		if it.Value().Type() != bsonval.TypeDocument {
			return 0, errFieldType(stage, "users."+it.KeyStr(), it.Value(), "object")
		}
		d := it.Value().Doc()
		err := fields(stage+".users", d, func(name string, _ bsonval.Value) (bool, error) {
			return name == "user" || name == "db", nil
		})
		if err != nil {
			return 0, err
		}
		for _, name := range [2]string{"user", "db"} {
			f := d.Lookup(name)
			if f.IsNullish() {
				return 0, errMissingField(stage+".users", name)
			}
			if _, err := fieldString(stage+".users", name, f); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}
