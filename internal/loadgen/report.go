package loadgen

import (
	"encoding/json"
	"fmt"
	"time"
)

// Result is one line of the report.
type Result struct {
	Workload   string  `json:"workload"`
	Ops        int64   `json:"ops"`
	Docs       int64   `json:"docs"`
	Seconds    float64 `json:"seconds"`
	OpsPerSec  float64 `json:"ops_per_second"`
	DocsPerSec float64 `json:"docs_per_second"`
	MeanMs     float64 `json:"mean_ms"`
	P50Ms      float64 `json:"p50_ms"`
	P95Ms      float64 `json:"p95_ms"`
	P99Ms      float64 `json:"p99_ms"`
	MaxMs      float64 `json:"max_ms"`
	Errors     int64   `json:"errors"`
	FirstError string  `json:"first_error,omitempty"`
}

func result(name string, h *histogram, docs int64, took time.Duration, failures int64, first error) Result {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	seconds := max(took.Seconds(), 1e-9)
	r := Result{
		Workload: name, Ops: h.n, Docs: docs, Seconds: seconds, OpsPerSec: float64(h.n) / seconds, DocsPerSec: float64(docs) / seconds,
		MeanMs: ms(h.mean()), P50Ms: ms(h.quantile(0.5)), P95Ms: ms(h.quantile(0.95)), P99Ms: ms(h.quantile(0.99)), MaxMs: ms(h.max),
		Errors: failures,
	}
	if first != nil {
		r.FirstError = first.Error()
	}
	return r
}

func (b *bench) header() {
	if b.config.JSON {
		return
	}
	fmt.Fprintf(b.w, "%s, %d documents, %d connections, %s per workload, seed %d\n", b.config.URI, b.config.Docs, b.config.Connections,
		b.config.Duration, b.config.Seed)
	fmt.Fprintf(b.w, "%-16s %10s %12s %12s %9s %9s %9s %9s %7s\n", "workload", "ops", "ops/s", "docs/s", "p50 ms", "p95 ms", "p99 ms",
		"max ms", "errors")
}

func (b *bench) print(r Result) {
	if b.config.JSON {
		line, err := json.Marshal(r)
		if err == nil {
			fmt.Fprintf(b.w, "%s\n", line)
		}
		return
	}
	fmt.Fprintf(b.w, "%-16s %10d %12.0f %12.0f %9.2f %9.2f %9.2f %9.2f %7d\n", r.Workload, r.Ops, r.OpsPerSec, r.DocsPerSec, r.P50Ms, r.P95Ms,
		r.P99Ms, r.MaxMs, r.Errors)
	if r.FirstError != "" {
		fmt.Fprintf(b.w, "  first error: %s\n", r.FirstError)
	}
}
