package runtimeapi

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
)

// processAttributes make a process die with this one, however that ends, and keep a Ctrl-C from it.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// clockTick is what /proc counts CPU time in; USER_HZ is 100 on every architecture that Go runs on.
const clockTick = time.Second / 100

// cpuOf returns the CPU time of a living process, 0 when the system does not tell. See proc(5), /proc/[pid]/stat.
func cpuOf(pid int) time.Duration {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// The command's name, in brackets, may hold anything: count from behind it. utime and stime are fields 14 and 15.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0
	}
	utime, err1 := strconv.Atoi(string(fields[11]))
	stime, err2 := strconv.Atoi(string(fields[12]))
	if err1 != nil || err2 != nil {
		return 0
	}
	return time.Duration(utime+stime) * clockTick
}
