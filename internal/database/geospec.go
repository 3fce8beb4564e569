package database

import (
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/geo"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// sphereVersion is the version of 2dsphere indexes that are not asked for another.
const sphereVersion = 3

// check2D checks the key pattern and the options of a 2d index.
func check2D(s *indexSpec) error {
	if err := s.checkFlatKey(); err != nil {
		return err
	}
	if v := s.get("bits"); !v.IsMissing() {
		if n := v.TruncInt64(); n < 1 || n > geo.MaxGridBits {
			return mongoerr.New(mongoerr.InvalidOptions, "bits for hash must be > 0 and <= %d, but %d bits were specified",
				geo.MaxGridBits, n)
		}
	}
	low, high := -180.0, 180.0
	if v := s.get("min"); !v.IsMissing() {
		low = v.AsDouble()
	}
	if v := s.get("max"); !v.IsMissing() {
		high = v.AsDouble()
	}
	if !(low < high) || math.IsInf(high-low, 0) {
		return mongoerr.New(mongoerr.InvalidOptions, "region for hash must be valid and have positive area, but [%v, %v] was specified", low, high)
	}
	return nil
}

// checkFlatKey says whether the point is the first field, and the only one.
func (s *indexSpec) checkFlatKey() error {
	it := s.key.Iter()
	for i := 0; it.Next(); i++ {
		switch isPoint := it.Value().Type() == bsonval.TypeString; {
		case i > 0 && isPoint && s.key.Index(0).Type() == bsonval.TypeString:
			return mongoerr.New(16800, "can't have 2 geo fields")
		case isPoint && i > 0:
			return mongoerr.New(16801, "2d has to be first in index")
		}
	}
	return nil
}

// checkSphere checks the options of a 2dsphere index.
func checkSphere(s *indexSpec) error {
	if v := s.get("2dsphereIndexVersion"); !v.IsMissing() {
		if n := v.TruncInt64(); n < 1 || n > sphereVersion {
			return mongoerr.New(mongoerr.CannotCreateIndex, "unsupported geo index version { 2dsphereIndexVersion : %d }, only support versions: [1,2,3]", n)
		}
	}
	coarsest, finest := int64(0), int64(geo.DefaultFinestLevel)
	if v := s.get("coarsestIndexedLevel"); !v.IsMissing() {
		coarsest = v.TruncInt64()
	}
	if v := s.get("finestIndexedLevel"); !v.IsMissing() {
		finest = v.TruncInt64()
	}
	switch {
	case coarsest < 0:
		return mongoerr.New(16747, "coarsestIndexedLevel must be >= 0")
	case finest > geo.MaxLevel:
		return mongoerr.New(16748, "finestIndexedLevel must be <= %d", geo.MaxLevel)
	case finest < coarsest:
		return mongoerr.New(16749, "finestIndexedLevel must be >= coarsestIndexedLevel")
	}
	return nil
}

// appendSphere writes the fields that every 2dsphere index has.
func (s *indexSpec) appendSphere(b *bsonval.Builder) {
	version := int64(sphereVersion)
	if v := s.get("2dsphereIndexVersion"); !v.IsMissing() {
		version = v.TruncInt64()
	}
	b.Int32("2dsphereIndexVersion", int32(version))
}
