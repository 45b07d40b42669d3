package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// usage is the resources of a function's processes.
type usage struct {
	processes        int
	largest          int64 // resident bytes of the largest
	threads, sockets int   // of all together
}

// processes returns the running functions by the folder of their bootstrap, from /proc. Without /proc there are none.
func processes(builds string) map[string]usage {
	out := map[string]usage{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return out
	}
	for _, e := range entries {
		pid := e.Name()
		if pid[0] < '0' || pid[0] > '9' {
			continue
		}
		folder := filepath.Join("/proc", pid)
		name, ok := function(folder, builds)
		if !ok || parent(folder) != os.Getpid() {
			continue
		}
		u := out[name]
		u.processes++
		u.largest = max(u.largest, status(folder, "VmRSS:")*1024)
		u.threads += int(status(folder, "Threads:"))
		u.sockets += sockets(folder)
		out[name] = u
	}
	return out
}

// function returns the name of the function whose bootstrap the process runs, even if it was built again meanwhile.
func function(folder, builds string) (string, bool) {
	exe, err := os.Readlink(filepath.Join(folder, "exe"))
	if err != nil {
		return "", false
	}
	dir, file := filepath.Split(strings.TrimSuffix(exe, " (deleted)"))
	dir = filepath.Clean(dir)
	return filepath.Base(dir), file == "bootstrap" && filepath.Dir(dir) == builds
}

// parent returns the parent's id: the second field after the name in parentheses.
func parent(folder string) int {
	text, err := os.ReadFile(filepath.Join(folder, "stat"))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	pid, _ := strconv.Atoi(string(fields[1])) // 0 is nobody's parent
	return pid
}

// status returns a number of the process's status, 0 if it has ended.
func status(folder, name string) int64 {
	text, err := os.ReadFile(filepath.Join(folder, "status"))
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(text, []byte("\n"+name))
	value, _, _ := bytes.Cut(rest, []byte("\n"))
	number, _, _ := strings.Cut(strings.TrimSpace(string(value)), " ")
	n, _ := strconv.ParseInt(number, 10, 64) // a process that has just ended has no such line
	return n
}

func sockets(folder string) (n int) {
	entries, err := os.ReadDir(filepath.Join(folder, "fd"))
	if err != nil {
		return 0
	}
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(folder, "fd", e.Name())); err == nil &&
			strings.HasPrefix(target, "socket:") {
			n++
		}
	}
	return n
}
