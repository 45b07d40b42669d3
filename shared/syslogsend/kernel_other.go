//go:build !linux

package syslogsend

import (
	"syscall"
	"time"
)

// Confirms reports whether this system knows what the peer's TCP stack has acknowledged. If not, a batch counts as
// sent when it has been written and the connection shows no close, reset or alert: bytes may then be lost that were
// still on this machine when the connection broke. Deliver from Linux, as Lambda does.
const Confirms = false

// Unacknowledged returns 0, because this system does not report it.
func (socket) Unacknowledged() (int, error) { return 0, nil }

// Pending returns true, so that the connection is read.
func (socket) Pending() (bool, error) { return true, nil }

// setUserTimeout leaves the timeout to the system.
func setUserTimeout(syscall.RawConn, time.Duration) error { return nil }
