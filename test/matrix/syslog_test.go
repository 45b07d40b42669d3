package matrix

import (
	"io"
	"net"
	"time"
)

// What a syslog server does with a connection.

func takeAll(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// resetAtOnce resets a connection as soon as it intact.
func resetAtOnce(c net.Conn) { reset(c) }

func closeAtOnce(c net.Conn) { _ = c.Close() }

// resetWithin resets when a part of the batch has been read.
func resetWithin(c net.Conn) {
	_, _ = io.ReadFull(c, make([]byte, 100))
	reset(c)
}

// closeWithin closes when a part has been read, which makes the kernel reset what it has taken for the program.
func closeWithin(c net.Conn) {
	_, _ = io.ReadFull(c, make([]byte, 100))
	_ = c.Close()
}

// resetBehind resets when all of it has been read.
func resetBehind(c net.Conn) {
	readBatch(c)
	reset(c)
}

func closeBehind(c net.Conn) {
	readBatch(c)
	_ = c.Close()
}

// readBatch reads what comes at first.
func readBatch(c net.Conn) {
	_, _ = c.Read(make([]byte, 1<<20))
}

// readNothing takes the connection and never reads: the kernel does, up to its buffer.
func readNothing(net.Conn) {}

// readLate reads all of it after a while.
func readLate(c net.Conn) {
	timer := time.NewTimer(300 * time.Millisecond)
	defer timer.Stop()
	<-timer.C
	takeAll(c)
}

// greet says a line and takes everything.
func greet(c net.Conn) {
	_, _ = io.WriteString(c, "220 syslog ready\r\n")
	takeAll(c)
}
