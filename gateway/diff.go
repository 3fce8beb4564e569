package gateway

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// Difference is one way in which two replies differ.
type Difference struct {
	// Path is the field, dotted, with the indexes of arrays.
	Path string
	// A and B are the values with their types, or "missing".
	A, B string
}

// how says what of a field is compared.
type how uint8

const (
	// skip: nothing, not even whether it is there.
	skip how = iota
	// kind: the type.
	kind
	// zero: the type and whether it is zero.
	zero
)

// mustDiffer lists what differs between any two servers: times, ids that servers make up, sizes on disk. Paths are those
// of replies; `*` stands for any one field or index. The first that matches decides. Rules of command "*" are for all.
var mustDiffer = []struct {
	command, path string
	how           how
}{
	{"*", "$clusterTime", skip}, {"*", "operationTime", skip}, {"*", "topologyVersion", skip}, {"*", "electionId", skip},
	{"*", "opTime", skip}, {"*", "recoveryToken", skip}, {"*", "$gleStats", skip}, {"*", "lastCommittedOpTime", skip},
	{"*", "$configServerState", skip}, {"*", "$configTime", skip}, {"*", "$topologyTime", skip}, {"*", "atClusterTime", skip},
	{"*", "cursor.atClusterTime", skip}, {"*", "cursor.id", zero}, {"*", "cursor.postBatchResumeToken", skip},

	// ids made by the server for upserts
	{"update", "upserted.*._id", kind}, {"findAndModify", "lastErrorObject.upserted", kind}, {"findandmodify", "lastErrorObject.upserted", kind},
	{"bulkWrite", "cursor.*.*.upserted._id", kind},

	// change streams
	{"aggregate", "cursor.*.*._id._data", kind}, {"getMore", "cursor.*.*._id._data", kind},
	{"aggregate", "cursor.*.*.wallTime", kind}, {"getMore", "cursor.*.*.wallTime", kind},
	{"aggregate", "cursor.*.*.clusterTime", kind}, {"getMore", "cursor.*.*.clusterTime", kind},
	{"aggregate", "cursor.*.*.collectionUUID", kind}, {"getMore", "cursor.*.*.collectionUUID", kind},

	// sizes and identities
	{"listCollections", "cursor.*.*.info.uuid", kind},
	{"getMore", "cursor.*.*.info.uuid", kind}, {"dbHash", "host", kind}, {"dbHash", "uuids.*", kind}, {"dbHash", "timeMillis", kind},
	{"listDatabases", "databases.*.sizeOnDisk", kind}, {"listDatabases", "totalSize", kind}, {"listDatabases", "totalSizeMb", kind},
	{"collStats", "storageSize", kind}, {"collStats", "freeStorageSize", kind}, {"collStats", "totalIndexSize", kind},
	{"collStats", "totalSize", kind}, {"collStats", "indexSizes.*", kind}, {"collStats", "wiredTiger", skip}, {"collStats", "indexDetails", skip},
	{"dbStats", "storageSize", kind}, {"dbStats", "freeStorageSize", skip}, {"dbStats", "indexSize", kind}, {"dbStats", "totalSize", kind},
	{"dbStats", "fsUsedSize", skip}, {"dbStats", "fsTotalSize", skip}, {"dbStats", "indexFreeStorageSize", skip},
	{"dbStats", "totalFreeStorageSize", skip}, {"createIndexes", "commitQuorum", skip},
	{"dataSize", "millis", kind}, {"validate", "uuid", kind}, {"validate", "indexDetails", skip}, {"validate", "validationFailed", skip},

	// defaults are told with when they were set and looked at
	{"getDefaultRWConcern", "updateOpTime", kind}, {"getDefaultRWConcern", "updateWallClockTime", kind},
	{"getDefaultRWConcern", "localUpdateWallClockTime", kind}, {"setDefaultRWConcern", "updateOpTime", kind},
	{"setDefaultRWConcern", "updateWallClockTime", kind}, {"setDefaultRWConcern", "localUpdateWallClockTime", kind},

	// plans
	{"explain", "queryPlanner", skip}, {"explain", "executionStats", skip}, {"explain", "serverInfo", skip},
	{"explain", "serverParameters", skip}, {"explain", "explainVersion", skip}, {"explain", "stages", skip},
	{"aggregate", "queryPlanner", skip}, {"aggregate", "executionStats", skip}, {"aggregate", "serverInfo", skip},
	{"aggregate", "serverParameters", skip}, {"aggregate", "explainVersion", skip}, {"aggregate", "stages", skip},
	{"aggregate", "queryShapeHash", skip}, {"aggregate", "command", skip},
	{"explain", "queryShapeHash", skip}, {"explain", "command", skip},

	{"killCursors", "*", kind},
}

// aboutServer are the commands that are about the server that answers, or change it: only that one is asked.
var aboutServer = map[string]bool{
	"serverStatus": true, "buildInfo": true, "buildinfo": true, "hostInfo": true, "getLog": true, "getCmdLineOpts": true,
	"connectionStatus": true, "whatsmyuri": true, "top": true, "currentOp": true, "killOp": true, "getParameter": true,
	"setParameter": true, "listCommands": true, "startSession": true, "refreshSessions": true, "features": true, "_isSelf": true,
	"replSetGetStatus": true, "replSetGetConfig": true, "connPoolStats": true, "logRotate": true, "fsync": true, "fsyncUnlock": true,
	"profile": true, "configureFailPoint": true, "waitForFailPoint": true, "lockInfo": true, "atlasVersion": true, "isdbgrid": true,
}

// stagesAboutServer are the first stages of pipelines about the server that runs them.
var stagesAboutServer = map[string]bool{
	"$currentOp": true, "$listLocalSessions": true, "$listSessions": true, "$queryStats": true, "$planCacheStats": true,
	"$indexStats": true, "$collStats": true, "$listCatalog": true, "$listClusterCatalog": true,
}

// isAboutServer tells commands that only the server that answers is asked.
func isAboutServer(command string, body bsonval.Doc) bool {
	if command == "aggregate" {
		if p := body.Lookup("pipeline"); p.Type() == bsonval.TypeArray {
			return stagesAboutServer[firstStage(p.Doc())]
		}
	}
	return aboutServer[command]
}

// aboutConnection are the commands that are between a client and the process it is connected to: no other is asked ever.
var aboutConnection = map[string]bool{
	"hello": true, "isMaster": true, "ismaster": true, "saslStart": true, "saslContinue": true, "authenticate": true, "logout": true,
	"shutdown": true,
}

// Diff compares the replies that two servers give to a command, and leaves out what must differ. Values are compared with
// their types; fields of documents in their order, but for those of the reply itself and of its cursor. Results of
// commands that ask for no order may come in any.
func Diff(command, a, b bsonval.Doc) []Difference { return diffWith(command, a, b, nil) }

// diffWith is Diff that learns of ids that the two servers made up for the same thing, and takes them for equal.
func diffWith(command, a, b bsonval.Doc, alike *aliases) []Difference {
	name, _, _ := command.First()
	d := differ{command: strings.Clone(name), alike: alike}
	if name == "listDatabases" && filtersBySize(command) {
		d.bySize = true
	}
	for _, f := range []string{"sort", "pipeline"} {
		d.ordered = d.ordered || !command.Lookup(f).IsMissing()
	}
	if p := command.Lookup("pipeline"); p.Type() == bsonval.TypeArray {
		d.ordered = false
		for it := p.Doc().Iter(); it.Next(); {
			if it.Value().Type() == bsonval.TypeDocument {
				stage, _, _ := it.Value().Doc().First()
				d.ordered = stage == "$sort" || d.ordered && stage != "$group"
			}
		}
	}
	d.documents("", a, b, 0)
	return d.out
}

// differ collects differences.
type differ struct {
	command string
	ordered bool
	bySize  bool     // which databases are listed depends on their sizes on disk
	alike   *aliases // nil: none are known
	out     []Difference
}

// filtersBySize tells a listDatabases that chooses by the databases' sizes on disk.
func filtersBySize(command bsonval.Doc) bool {
	filter := command.Lookup("filter")
	return filter.Type() == bsonval.TypeDocument && bytes.Contains(filter.Doc(), []byte("sizeOnDisk\x00"))
}

// rule finds what must differ.
func (d *differ) rule(path string) (how, bool) {
	if d.bySize && path == "databases" {
		return kind, true
	}
	for _, r := range mustDiffer {
		if (r.command == "*" || r.command == d.command) && pathMatches(r.path, path) {
			return r.how, true
		}
	}
	return 0, false
}

func pathMatches(pattern, path string) bool {
	for {
		p, morePattern, deeper := strings.Cut(pattern, ".")
		s, morePath, longer := strings.Cut(path, ".")
		if p != "*" && p != s || deeper != longer {
			return false
		}
		if !deeper {
			return true
		}
		pattern, path = morePattern, morePath
	}
}

// isMessage tells the texts of errors.
func isMessage(path string) bool { return path == "errmsg" || strings.HasSuffix(path, ".errmsg") }

func (d *differ) add(path string, a, b bsonval.Value) {
	d.out = append(d.out, Difference{Path: path, A: show(a), B: show(b)})
}

// show is a value as people read it.
func show(v bsonval.Value) string {
	if v.IsMissing() {
		return "missing"
	}
	const most = 200
	s := bsonval.Format(v)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return fmt.Sprintf("%s (%s)", s, v.Type())
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// documents compares documents field by field.
func (d *differ) documents(path string, a, b bsonval.Doc, depth int) {
	var keysA, keysB []string
	for it := b.Iter(); it.Next(); {
		keysB = append(keysB, string(it.Key()))
	}
	for it := a.Iter(); it.Next(); {
		key := string(it.Key())
		keysA = append(keysA, key)
		d.values(join(path, key), it.Value(), b.Lookup(key), depth+1)
	}
	for it := b.Iter(); it.Next(); {
		if !slices.Contains(keysA, string(it.Key())) {
			d.values(join(path, string(it.Key())), bsonval.Value{}, it.Value(), depth+1)
		}
	}
	if depth < 2 || slices.Equal(keysA, keysB) {
		return
	}
	x, y := slices.Sorted(slices.Values(keysA)), slices.Sorted(slices.Values(keysB))
	if slices.Equal(x, y) {
		d.out = append(d.out, Difference{Path: path, A: "fields " + strings.Join(keysA, ", "), B: "fields " + strings.Join(keysB, ", ")})
	}
}

func (d *differ) values(path string, a, b bsonval.Value, depth int) {
	if how, found := d.rule(path); found {
		same := how == skip || a.Type() == b.Type() && (how == kind || a.IsZero() == b.IsZero())
		if !same {
			d.add(path, a, b)
		} else if how == kind {
			d.alike.same(a, b) // remembers them
		}
		return
	}
	switch {
	case a.Type() != b.Type():
		d.add(path, a, b)
	case a.Type() == bsonval.TypeDocument:
		d.documents(path, a.Doc(), b.Doc(), depth)
	case a.Type() == bsonval.TypeArray:
		d.arrays(path, a.Doc(), b.Doc(), depth)
	case bsonval.Identical(a, b), d.alike.same(a, b), isMessage(path) && a.Type() == bsonval.TypeString && d.alike.sameMessage(a.Str(), b.Str()):
	default:
		d.add(path, a, b)
	}
}

// arrays compares arrays element by element, or as bags where they are results without an order.
func (d *differ) arrays(path string, a, b bsonval.Doc, depth int) {
	as, bs := a.Values(nil), b.Values(nil)
	before := len(d.out)
	for i := range max(len(as), len(bs)) {
		var x, y bsonval.Value
		if i < len(as) {
			x = as[i]
		}
		if i < len(bs) {
			y = bs[i]
		}
		d.values(join(path, strconv.Itoa(i)), x, y, depth+1)
	}
	if len(d.out) > before && len(as) == len(bs) && !d.ordered && isResult(path) && sameBag(as, bs) {
		d.out = d.out[:before]
	}
}

func isResult(path string) bool {
	return path == "cursor.firstBatch" || path == "cursor.nextBatch" || path == "values"
}

func sameBag(as, bs []bsonval.Value) bool {
	for _, a := range as {
		i := slices.IndexFunc(bs, func(b bsonval.Value) bool { return bsonval.Identical(a, b) })
		if i < 0 {
			return false
		}
		bs = slices.Delete(bs, i, i+1)
	}
	return true
}

// FormatDiff writes differences a line each, under the names of the two sides.
func FormatDiff(diff []Difference, a, b string) string {
	const most = 20
	var s strings.Builder
	for i, d := range diff {
		if i == most {
			fmt.Fprintf(&s, "… and %d more\n", len(diff)-most)
			break
		}
		fmt.Fprintf(&s, "%s: %s %s, %s %s\n", d.Path, a, d.A, b, d.B)
	}
	return strings.TrimSuffix(s.String(), "\n")
}
