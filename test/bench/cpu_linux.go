package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// cpuOf returns the CPU time of a running process, from its own clock; see clock_getcpuclockid(3).
func cpuOf(pid int) time.Duration {
	const processClock = 2 // CPUCLOCK_SCHED
	var at unix.Timespec
	if unix.ClockGettime(int32(^pid<<3|processClock), &at) != nil {
		return 0
	}
	return time.Duration(at.Nano())
}
