package matrix

import (
	"io"
	"net"
	"time"
)

// What a syslog receiver does on a connection.

func takeAll(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// resetAtOnce resets a connection as soon as it is open.
func resetAtOnce(c net.Conn) { reset(c) }

func closeAtOnce(c net.Conn) { _ = c.Close() }

// resetWithin resets after part of the batch.
func resetWithin(c net.Conn) {
	_, _ = io.ReadFull(c, make([]byte, 100))
	reset(c)
}

// closeWithin closes after part of the batch. The kernel then sends a reset, because it has unread data.
func closeWithin(c net.Conn) {
	_, _ = io.ReadFull(c, make([]byte, 100))
	_ = c.Close()
}

// readNothing never reads; the kernel accepts data up to its buffer.
func readNothing(net.Conn) {}

// readLate reads the batch after a while.
func readLate(c net.Conn) {
	timer := time.NewTimer(300 * time.Millisecond)
	defer timer.Stop()
	<-timer.C
	takeAll(c)
}

// greet sends a line, then reads everything.
func greet(c net.Conn) {
	_, _ = io.WriteString(c, "220 syslog ready\r\n")
	takeAll(c)
}
