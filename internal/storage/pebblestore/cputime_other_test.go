//go:build !unix

package pebblestore

import "time"

// cpuTime is not known here.
func cpuTime() time.Duration { return 0 }
