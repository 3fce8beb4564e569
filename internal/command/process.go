package command

// usageNumbers are what the operating system counts for the process; zero where it does not.
type usageNumbers struct {
	userMicros, systemMicros int64
	maxResident              int64 // bytes
	majorFaults, minorFaults int64
	voluntary, involuntary   int64 // context switches
}
