package exec

import (
	"context"
	"io"

	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/plan"
)

// Bounds of a trial run, MongoDB's numbers.
const (
	trialWorks   = 10000 // steps all candidates together may take
	trialResults = 101   // results that end the trial: a first batch
	trialTurn    = 8     // steps of one candidate before it is the next one's turn
)

// Trial is what a candidate did in a trial run.
type Trial struct {
	Plan  *plan.Plan
	Stats Stats
	Score float64
	EOF   bool
}

// Choose runs the candidates side by side for a while and returns them best
// first. needSort says that the query has a sort, so that a plan without that
// order yields nothing before its end.
func Choose(ctx context.Context, v *View, coll *catalog.Collection, plans []*plan.Plan, needSort bool,
	c *expr.Context,
) ([]Trial, error) {
	trials := make([]Trial, len(plans))
	scans := make([]*Scan, len(plans))
	for i, p := range plans {
		trials[i].Plan = p
		scans[i] = Open(v, coll, p, c)
		scans[i].Examine = true
		defer scans[i].Close()
	}
	most := int64(trialWorks / len(plans))
	for over, limit := false, int64(trialTurn); !over && limit <= most; limit += trialTurn {
		for i, s := range scans {
			results := int64(trialResults)
			if needSort && !plans[i].Sorted {
				results = 0 // only the end counts
			}
			ended, err := s.turn(ctx, limit, results)
			if err != nil {
				return nil, err
			}
			trials[i].EOF = s.done
			over = over || ended
		}
	}
	best := 0
	for i, s := range scans {
		trials[i].Stats = s.Stats
		trials[i].score(needSort)
		if trials[i].Score > trials[best].Score {
			best = i
		}
	}
	trials[0], trials[best] = trials[best], trials[0]
	return trials, nil
}

// turn runs a scan until it has taken a number of steps. It reports whether the
// scan came to its end or, if results is not 0, to a number of results.
func (s *Scan) turn(ctx context.Context, limit, results int64) (ended bool, err error) {
	s.limit = limit
	for s.Stats.Works < limit {
		_, err := s.Next(ctx)
		switch {
		case err == io.EOF:
			return true, nil
		case err == errLimit:
			return false, nil
		case err != nil:
			return false, err
		case s.Stats.Returned == results:
			return true, nil
		}
	}
	return false, nil
}

// score is productivity, results for each step, with small bonuses for what is
// cheap and a large one for having finished.
func (t *Trial) score(needSort bool) {
	advanced := float64(t.Stats.Returned)
	if needSort && !t.Plan.Sorted && !t.EOF {
		advanced = 0
	}
	t.Score = 1 + advanced/float64(max(t.Stats.Works, 1))
	const bonus = 0.0001
	if t.Plan.Covered {
		t.Score += bonus
	}
	if t.Plan.Sorted {
		t.Score += bonus
	}
	if t.EOF {
		t.Score++
	}
}
