package exec

import (
	"context"

	"github.com/archelon-db/archelon/internal/storage"
)

// Count returns how many records the scan would, or most if that is not 0 and they are more, if the engine can count them.
// If ok is false nothing has been read, and Next tells. To be called before Next; the scan is at its end after it.
func (s *Scan) Count(ctx context.Context, most int64) (n int64, ok bool, err error) {
	for {
		n, ok, err = s.count(ctx, most)
		if err == nil && ok {
			err = s.settled()
		}
		switch {
		case err == errUnsettled:
			s.replan = s.again
			if err := s.restart(ctx); err != nil {
				return 0, false, err
			}
			continue
		case err != nil || !ok:
			return 0, false, err
		}
		s.Stats.Works += n
		s.Stats.Returned += n
		if s.Plan.Index != nil {
			s.Stats.Seeks++
			s.Stats.KeysExamined += n
		} else {
			s.Stats.DocsExamined += n
		}
		s.done = true
		return n, true, nil
	}
}

// count counts by the plan, if that needs nothing of the documents and takes no steps that only a scan can take.
func (s *Scan) count(ctx context.Context, most int64) (n int64, ok bool, err error) {
	p := s.Plan
	if p.Nothing {
		return 0, true, nil
	}
	c, ok := s.view.txn.(storage.Counter)
	if !ok || !p.KeyOnly || p.KeyFilter != nil || s.Examine || s.done || s.Stats.Works > 0 || s.draw != nil || s.children != nil ||
		p.Point || p.Text != nil || p.Near != nil || p.Distinct > 0 || p.Lower != nil || p.Upper != nil {
		return 0, false, nil
	}
	if p.Index == nil {
		n, err = c.CountRecords(ctx, s.coll.Table, storage.RecordID(p.MinRecord), storage.RecordID(p.MaxRecord), most)
		return n, err == nil, err
	}
	runs := p.Bounds.Runs(p.Index, maxRuns)
	if len(runs) == 0 {
		return 0, false, nil // nothing, or what only a checker can tell
	}
	x := storage.IndexCount{Once: s.seen != nil, Most: most}
	for _, r := range runs {
		x.Runs = append(x.Runs, storage.KeyRun(r))
	}
	return c.CountIndex(ctx, p.Index.ID, x)
}
