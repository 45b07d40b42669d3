//go:build !linux

package syslogsend

import (
	"syscall"
	"time"
)

// Confirms tells whether this system says what the peer's kernel has acknowledged. Where it is false, a batch counts as
// sent when it has been written and the connection shows no close, reset or alert: bytes may then be lost that were still
// on this machine when the connection broke. Deliver from Linux, as Lambda does.
const Confirms = false

// unacknowledged cannot tell, and says that nothing is.
func unacknowledged(syscall.RawConn) (int, error) { return 0, nil }

// pending cannot tell without taking away, so it always has the connection read.
func pending(syscall.RawConn) (bool, error) { return true, nil }

// setUserTimeout leaves it to the system when it gives up a connection.
func setUserTimeout(syscall.RawConn, time.Duration) error { return nil }
