//go:build !linux

package js

import "os"

// Elsewhere than on Linux a worker watches its memory by itself only.

func lowerPriority() {}

func limitMemory(uint64) {}

// program is this program's file.
func program() (string, error) { return os.Executable() }
