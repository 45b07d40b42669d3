package syslogsend

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Confirms reports whether this system knows what the peer's TCP stack has acknowledged. If not, a batch counts as
// sent when it has been written and the connection shows no close, reset or alert.
const Confirms = true

// Unacknowledged implements Kernel: the bytes not yet sent, and those in flight.
// https://man7.org/linux/man-pages/man7/tcp.7.html (SIOCOUTQ)
func (s socket) Unacknowledged() (n int, err error) {
	if failed := s.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); failed != nil {
		return 0, failed
	}
	return n, os.NewSyscallError("ioctl SIOCOUTQ", err)
}

// Pending implements Kernel. It consumes nothing. An error is a reset, a timeout, or a refused datagram.
func (s socket) Pending() (something bool, err error) {
	var b [1]byte
	failed := s.Control(func(fd uintptr) {
		for {
			_, _, err = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
			if err != unix.EINTR {
				return
			}
		}
	})
	if failed != nil {
		return false, failed
	}
	if err == unix.EAGAIN {
		return false, nil
	}
	return err == nil, os.NewSyscallError("recv", err)
}

// setUserTimeout makes the kernel close a connection whose bytes are not acknowledged for d.
func setUserTimeout(kernel syscall.RawConn, d time.Duration) (err error) {
	failed := kernel.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	})
	if failed != nil {
		return failed
	}
	return os.NewSyscallError("setsockopt TCP_USER_TIMEOUT", err)
}
