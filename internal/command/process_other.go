//go:build !linux

package command

import "runtime"

// processUsage is not known.
func processUsage() usageNumbers { return usageNumbers{} }

// processMemory returns the memory the Go runtime has from the system.
func processMemory() (resident, virtual int64) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys - m.HeapReleased), int64(m.Sys)
}

// memoryBytes is not known.
func memoryBytes() (total, limit int64) { return 0, 0 }

// osName is the name of the system.
func osName() string { return runtime.GOOS }

// osVersion is not known.
func osVersion() string { return "" }
