package service

import (
	"cmp"
	"slices"
	"strings"
)

const (
	// maxNearNames is how many names an error suggests.
	maxNearNames = 3
	// maxNearLength is the length of names beyond which nothing is suggested: the work grows with its square.
	maxNearLength = 64
)

// nearNames returns the names that somebody who wrote name may have meant, the nearest first.
func nearNames(name string, rows []*row) []string {
	if name == "" || len(name) > maxNearLength {
		return nil
	}
	type candidate struct {
		name     string
		distance int
	}
	folded := strings.ToLower(name)
	most := 1 + len(name)/5
	var near []candidate
	for _, r := range rows {
		if len(r.Name) > maxNearLength {
			continue
		}
		d := distance(folded, strings.ToLower(r.Name))
		if len(name) > 2 && strings.HasPrefix(strings.ToLower(r.Name), folded) {
			d = min(d, most) // the beginning of a name
		}
		if d <= most {
			near = append(near, candidate{r.Name, d})
		}
	}
	slices.SortFunc(near, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), strings.Compare(a.name, b.name))
	})
	var out []string
	for _, c := range near[:min(len(near), maxNearNames)] {
		out = append(out, c.name)
	}
	return out
}

// distance is the number of bytes to insert, drop, replace or swap with their neighbour to get from a to b.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(row[j-1]+1, last[j]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
