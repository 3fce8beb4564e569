// Package geo holds the geometries of geospatial queries: GeoJSON on the sphere,
// and legacy points, boxes, circles and polygons in the plane.
//
// # Model
//
// A [Geometry] is points, lines and polygons. [ParseGeoJSON] reads one with the
// checks that queries and indexes make, [ParseStored] reads whatever geometry a
// document's value is, and [ParseRegion] what $geoWithin takes. Polygons lie on
// the side of their loop that is smaller than a hemisphere, unless their
// coordinate reference system asks for strict winding.
//
// Relations are decided edge by edge with exact predicates. Distances are great-circle distances on a sphere of [EarthRadiusMeters],
// or planar ones.
//
// # Cells
//
// Indexes file geometries under numbers of cells: S2 cells on the sphere
// ([Geometry.Cells]), the cells of a [Grid] in the plane. [SphereRanges],
// [SphereRing], [Grid.Ranges] and [Grid.Ring] are the ranges of cells to look at
// for what is in a region or at a distance. They hold more than that, never less,
// also with the rounding and the tolerance of the relations.
//
// The package imports bsonval, mongoerr and the S2 library, whose only user it is.
// It keeps no state.
package geo
