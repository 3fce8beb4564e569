package egress

import (
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// ReadMode says which members of a replica set may serve a read.
type ReadMode string

// The read modes.
const (
	Primary            ReadMode = "primary"
	PrimaryPreferred   ReadMode = "primaryPreferred"
	Secondary          ReadMode = "secondary"
	SecondaryPreferred ReadMode = "secondaryPreferred"
	Nearest            ReadMode = "nearest"
)

const (
	// smallestMaxStaleness is the least MaxStaleness: below it the primary's idle writes make secondaries look stale.
	smallestMaxStaleness = 90 * time.Second

	// idleWritePeriod is how often an idle primary writes.
	idleWritePeriod = 10 * time.Second
)

// ReadPreference says which servers are to serve a read. The zero value means the primary.
type ReadPreference struct {
	// Mode empty means Primary.
	Mode ReadMode
	// TagSets are tried in order: the first that any suitable server matches decides. None means any server.
	TagSets []map[string]string
	// MaxStaleness is how far a secondary may be behind. 0 means any distance.
	MaxStaleness time.Duration
}

func (p *ReadPreference) mode() ReadMode {
	if p == nil || p.Mode == "" {
		return Primary
	}
	return p.Mode
}

// Validate reports what is wrong with p.
func (p *ReadPreference) Validate() error {
	switch p.mode() {
	case Primary:
		if p != nil && (hasTags(p.TagSets) || p.MaxStaleness != 0) {
			return mongoerr.New(mongoerr.BadValue, "read preference primary takes neither tags nor maxStalenessSeconds")
		}
	case PrimaryPreferred, Secondary, SecondaryPreferred, Nearest:
	default:
		return mongoerr.New(mongoerr.FailedToParse, "unknown read preference mode %q", p.Mode)
	}
	if p != nil && p.MaxStaleness != 0 && p.MaxStaleness < smallestMaxStaleness {
		return mongoerr.New(mongoerr.MaxStalenessOutOfRange, "maxStalenessSeconds must be at least %d",
			int(smallestMaxStaleness.Seconds()))
	}
	return nil
}

func hasTags(sets []map[string]string) bool {
	for _, s := range sets {
		if len(s) > 0 {
			return true
		}
	}
	return false
}

// document is the preference as $readPreference tells it to servers.
func (p *ReadPreference) document(mode ReadMode) Doc {
	b := bsonval.NewBuilder().Str("mode", string(mode))
	if p == nil {
		return b.Build()
	}
	if len(p.TagSets) > 0 {
		b.StartArray("tags")
		for _, set := range p.TagSets {
			b.StartDoc("")
			for _, k := range sortedKeys(set) {
				b.Str(k, set[k])
			}
			b.End()
		}
		b.End()
	}
	if p.MaxStaleness > 0 {
		b.Int64("maxStalenessSeconds", int64(p.MaxStaleness/time.Second))
	}
	return b.Build()
}
