//go:build !linux

package js

// Elsewhere than on Linux a worker watches its memory by itself only.

func lowerPriority() {}

func limitMemory(uint64) {}
