package command

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// processUsage returns what the kernel counted.
func processUsage() usageNumbers {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return usageNumbers{}
	}
	//nolint:unconvert // the fields are narrower on some processors
	return usageNumbers{
		userMicros: r.Utime.Sec*1e6 + int64(r.Utime.Usec), systemMicros: r.Stime.Sec*1e6 + int64(r.Stime.Usec),
		maxResident: r.Maxrss << 10, majorFaults: r.Majflt, minorFaults: r.Minflt, voluntary: r.Nvcsw, involuntary: r.Nivcsw,
	}
}

// processMemory returns the process's resident and virtual memory in bytes.
func processMemory() (resident, virtual int64) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, 0
	}
	f := strings.Fields(string(text))
	if len(f) < 2 {
		return 0, 0
	}
	page := int64(os.Getpagesize())
	pages := func(s string) int64 {
		n, _ := strconv.ParseInt(s, 10, 64)
		return n * page
	}
	return pages(f[1]), pages(f[0])
}

// memoryBytes returns the machine's memory and what of it the process may use.
func memoryBytes() (total, limit int64) {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err == nil {
		total = int64(info.Totalram) * int64(info.Unit)
	}
	limit = total
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64); err == nil && n < limit {
			limit = n
		}
	}
	return total, limit
}

// osName is the name of the distribution.
func osName() string {
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "Linux"
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if name, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			return strings.Trim(name, `"`)
		}
	}
	return "Linux"
}

// osVersion is the release of the kernel.
func osVersion() string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return ""
	}
	return "Kernel " + strings.TrimSpace(string(text))
}
