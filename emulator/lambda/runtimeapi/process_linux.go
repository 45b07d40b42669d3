package runtimeapi

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// processAttributes make a process die with this one, however that ends, and keep a Ctrl-C from it.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// CPU returns the CPU time of a living process, 0 if the system does not tell: the process's own clock, whose
// number is made of its id as clock_getcpuclockid(3) makes it. It counts nanoseconds, where /proc counts hundredths of
// a second.
func CPU(pid int) time.Duration {
	const processClock = 2 // CPUCLOCK_SCHED
	var at unix.Timespec
	if unix.ClockGettime(int32(^pid<<3|processClock), &at) != nil { //nolint:gosec // a process id has 22 bits at most
		return 0
	}
	return time.Duration(at.Nano())
}
