package pipeline

import "github.com/archelon-db/archelon/internal/mongoerr"

// checkContext checks that a stage may stand in this pipeline at all, whatever
// its place.
func (p *parser) checkContext(r *row) error {
	switch {
	case r.writes && p.in == "$unionWith":
		return mongoerr.New(31441, "%s is not allowed within a $unionWith's sub-pipeline", r.name)
	case r.noLookup && p.in == "$lookup":
		return mongoerr.New(51047, "%s is not allowed within a $lookup's sub-pipeline", r.name)
	case p.opts.View && (r.writes || r.name == "$changeStream"):
		return mongoerr.New(mongoerr.OptionNotSupportedOnView, "%s is not allowed in a view definition", r.name)
	}
	return nil
}

// checkPositions checks the places of the stages.
func (p *parser) checkPositions(rs []*row, list []stage) error {
	if err := p.checkNamespace(rs); err != nil {
		return err
	}
	for i, r := range rs {
		if p.in == "$facet" && (r.noFacet || r.first) {
			return mongoerr.New(40600, "%s is not allowed to be used within a $facet stage", r.name)
		}
		if r.first && i > 0 {
			if r.name == "$geoNear" {
				if allEmptyMatches(list[:i]) {
					continue
				}
				return mongoerr.New(40603, "%s was not the first stage in the pipeline.", r.name)
			}
			return mongoerr.New(40602, "%s is only valid as the first stage in a pipeline.", r.name)
		}
		if r.last && i < len(rs)-1 {
			return mongoerr.New(40601, "%s can only be the final stage in the pipeline", r.name)
		}
	}
	if len(rs) > 0 && rs[0].name == "$changeStream" {
		for _, s := range list[1:] {
			if !rows[s.name()].streaming {
				return mongoerr.New(mongoerr.IllegalOperation, "%s is not permitted in a $changeStream pipeline", s.name())
			}
		}
	}
	return nil
}

// allEmptyMatches tells stages that do nothing: they may stand before $geoNear.
func allEmptyMatches(list []stage) bool {
	for _, s := range list {
		if !isEmptyMatch(s) {
			return false
		}
	}
	return true
}

// checkNamespace checks that the pipeline has the input it needs: a collection,
// or none.
func (p *parser) checkNamespace(rs []*row) error {
	if p.in == "$facet" || p.opts.Update {
		return nil
	}
	own := len(rs) > 0 && (rs[0].noInput || rs[0].name == "$changeStream")
	switch {
	case p.ns.Coll == "" && !own:
		if len(rs) == 0 || p.in != "" {
			return mongoerr.New(mongoerr.InvalidNamespace,
				"{aggregate: 1} is not valid for an empty pipeline.")
		}
		return mongoerr.New(mongoerr.InvalidNamespace,
			"{aggregate: 1} is not valid for '%s'; a collection is required.", rs[0].name)
	case p.ns.Coll != "" && own && rs[0].noInput:
		return mongoerr.New(mongoerr.InvalidNamespace, "%s can only be run with {aggregate: 1}", rs[0].name)
	}
	return nil
}
