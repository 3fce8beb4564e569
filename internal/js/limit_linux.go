package js

import "syscall"

// workerNice is the priority of workers, below that of the database.
const workerNice = 10

// spareMemory is what a worker may hold besides its heap: the program's own data
// and what the collector has not yet taken back.
const spareMemory = 256 << 20

func lowerPriority() {
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, 0, workerNice)
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
}

// limitMemory bounds the worker's memory: the operating system refuses more,
// which ends the process. It counts writable memory only.
func limitMemory(heap uint64) {
	_ = syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: heap + spareMemory, Max: ^uint64(0)})
}

// program is this program's file: the one that runs, also after it was replaced.
func program() (string, error) { return "/proc/self/exe", nil }
