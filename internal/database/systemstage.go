package database

import (
	"context"
	"os"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// systemStage makes the documents of the aggregation stages that report on
// collections.
func (d *DB) systemStage(ctx context.Context, ns Namespace, stage string, arg bsonval.Doc) ([]bsonval.Doc, error) {
	switch stage {
	case "$indexStats":
		return d.indexStats(ns), nil
	case "$collStats":
		doc, err := d.collStatsStage(ctx, ns, arg)
		return []bsonval.Doc{doc}, clientError(ctx, err)
	case "$planCacheStats":
		return d.planCacheStats(ns)
	case "$querySettings":
		return d.querySettingsStage(arg.Lookup("showDebugQueryShape").Truthy()), nil
	case "$listClusterCatalog", "$listCatalog":
		return d.listCatalog(ns, arg), nil
	}
	return nil, mongoerr.New(mongoerr.NotImplemented, "%s is not implemented", stage)
}

// indexStats says how often each index has been used by this process.
func (d *DB) indexStats(ns Namespace) []bsonval.Doc {
	coll := d.catalog.Collection(ns.DB, ns.Coll)
	if coll == nil {
		return nil
	}
	var docs []bsonval.Doc
	for _, x := range coll.Indexes {
		if x.Clustered {
			continue
		}
		b := bsonval.NewBuilder().Str("name", x.Name).Doc("key", x.Key).Str("host", hostname()).
			StartDoc("accesses").Int64("ops", x.Uses.Load()).Date("since", x.SinceMS).End()
		if !x.Ready {
			b.Bool("building", true)
		}
		docs = append(docs, b.Doc("spec", x.Spec).Build())
	}
	return docs
}

// hostname is the name that documents about this process carry.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}

// collStatsStage is the one document of $collStats.
func (d *DB) collStatsStage(ctx context.Context, ns Namespace, arg bsonval.Doc) (bsonval.Doc, error) {
	b := bsonval.NewBuilder().Str("ns", ns.String()).Str("host", hostname()).Date("localTime", time.Now().UnixMilli())
	asked := func(name string) bool { return arg.Lookup(name).Type() == bsonval.TypeDocument }
	if asked("operationStats") {
		return nil, mongoerr.New(mongoerr.NotImplemented, "'$collStats.operationStats' is not implemented")
	}
	if asked("latencyStats") {
		if d.LatencyStats == nil {
			return nil, mongoerr.New(mongoerr.NotImplemented, "'$collStats.latencyStats' is not measured here")
		}
		b.Doc("latencyStats", d.LatencyStats(ns, arg.Lookup("latencyStats").Doc().Lookup("histograms").Truthy()))
	}
	if !asked("storageStats") && !asked("count") && !asked("queryExecStats") {
		return b.Build(), nil
	}
	coll := d.catalog.Collection(ns.DB, ns.Coll)
	switch {
	case ns.Coll == "system.views" && coll == nil:
		coll = d.viewsCollection(ns.DB)
	case coll != nil && coll.IsView():
		return nil, mongoerr.New(mongoerr.CommandNotSupportedOnView, "Namespace %s is a view, not a collection", ns)
	}
	if coll == nil {
		return nil, mongoerr.New(mongoerr.NamespaceNotFound, "Unable to retrieve statistics in $collStats stage :: caused by :: "+
			"Collection [%s] not found.", ns)
	}
	stats := CollectionStats{Count: coll.Guard.Count.Load()} // of the views
	if coll.Table != 0 {
		var err error
		if stats, err = d.CollStats(ctx, ns); err != nil {
			return nil, err
		}
	}
	if asked("storageStats") {
		scale := int64(1)
		if v := arg.Lookup("storageStats").Doc().Lookup("scale"); v.IsNumber() {
			scale = v.TruncInt64()
		}
		if scale < 1 {
			return nil, mongoerr.New(mongoerr.BadValue, "BSON field 'storageStats.scale' value must be >= 1, actual value '%d'", scale)
		}
		b.StartDoc("storageStats")
		stats.Append(b, scale)
		b.End()
	}
	if asked("count") {
		b.Value("count", sizeValue(stats.Count))
	}
	if asked("queryExecStats") {
		scans := coll.Guard.Scans.Load()
		b.StartDoc("queryExecStats").StartDoc("collectionScans").Int64("total", scans).Int64("nonTailable", scans).End().End()
	}
	return b.Build(), nil
}

// viewsCollection stands for system.views, which lists a database's views and is
// not stored; nil if there are none.
func (d *DB) viewsCollection(db string) *catalog.Collection {
	views := int64(0)
	for _, coll := range d.Catalog().Collections(db) {
		if coll.IsView() {
			views++
		}
	}
	if views == 0 {
		return nil
	}
	coll := &catalog.Collection{DB: db, Name: "system.views", Type: catalog.TypeCollection, Guard: &catalog.Guard{}}
	coll.Guard.Count.Store(views)
	return coll
}

// listCatalog describes collections: the one named, those of the database, or
// for the admin database all.
func (d *DB) listCatalog(ns Namespace, arg bsonval.Doc) []bsonval.Doc {
	snap := d.Catalog()
	var docs []bsonval.Doc
	for _, db := range snap.Databases() {
		if db != ns.DB && ns.DB != "admin" {
			continue
		}
		for _, coll := range snap.Collections(db) {
			if ns.Coll == "" || ns.Coll == coll.Name {
				docs = append(docs, describeInCluster(coll, arg))
			}
		}
	}
	return docs
}

func describeInCluster(coll *catalog.Collection, arg bsonval.Doc) bsonval.Doc {
	b := bsonval.NewBuilder().Str("db", coll.DB).Str("ns", coll.Namespace()).Str("type", coll.Type).
		Doc("options", coll.Options).StartDoc("info").Bool("readOnly", coll.IsView())
	if !coll.IsView() {
		b.Value("uuid", coll.UUID.Value())
	}
	b.End()
	if id := coll.IDIndex(); id != nil {
		b.Doc("idIndex", id.Spec)
	}
	b.Bool("sharded", false)
	if arg.Lookup("tracked").Truthy() {
		b.Bool("tracked", false)
	}
	if arg.Lookup("shards").Truthy() {
		b.StartArray("shards").End()
	}
	return b.Build()
}
