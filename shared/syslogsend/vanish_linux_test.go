package syslogsend

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/arbitex/siem-connectors/shared/failure"
)

// TestPeerVanishes: the peer disappears without closing the connection. It runs in a separate network namespace and
// loses its address.
func TestPeerVanishes(t *testing.T) {
	far := newFarSide(t)
	for name, body := range map[string]string{"small": "never\n", "large": strings.Repeat("never\n", 100_000)} {
		t.Run(name, func(t *testing.T) {
			far.plug(t)
			p := startPeer(t, far.listen(t), (*peer).reads)
			s := newSender(t, TCP, p.Addr().String(), nil)
			if err := send(s, "first\n"); err != nil {
				t.Fatal(err)
			}
			far.unplug(t)
			s.cfg.Timeout = time.Second
			text := wantFault(t, send(s, body), failure.Request, failure.Transient)
			if !strings.Contains(text, "not confirmed") {
				t.Errorf("%q does not say that nothing was confirmed", text)
			}
			wantFault(t, send(s, "never\n"), failure.Connect, failure.Transient)
			p.waitFor(t, []byte("first\n"))
		})
	}
}

// TestPeerTakesAndCannotSaySo loses the way back only: the peer has the bytes, and we must not believe it.
func TestPeerTakesAndCannotSaySo(t *testing.T) {
	far := newFarSide(t)
	p := startPeer(t, far.listen(t), (*peer).reads)
	ctx, polls := newDeadline(t), 0
	h := hooked{unacknowledged: func(n int) int {
		if n > 0 && p.length() == len("first\nperhaps\n") {
			if polls++; polls == 3 {
				ctx.pass()
			}
		}
		return n
	}}
	s := newSender(t, TCP, p.Addr().String(), func(cfg *Config) { cfg.Dial = h.dial })
	if err := send(s, "first\n"); err != nil {
		t.Fatal(err)
	}
	p.waitFor(t, []byte("first\n"))
	far.run(t, "-n", far.name, "route", "add", "blackhole", far.near+"/32")
	wantFault(t, s.Send(ctx, []byte("perhaps\n"), nil), failure.Request, failure.Transient)
	far.run(t, "-n", far.name, "route", "del", "blackhole", far.near+"/32")
	if err := send(s, "perhaps\n"); err != nil {
		t.Errorf("after the return route was restored: %v", err)
	}
	p.waitFor(t, []byte("first\nperhaps\nperhaps\n"))
}

// farSides counts them, for names and addresses of their own.
var farSides atomic.Int32

// farSide is a network namespace at the other end of a cable. Tests that use one are not parallel: until a started
// process calls exec, it holds the sockets of all tests open, and no peer can close a connection.
type farSide struct {
	name, near, far string
}

func newFarSide(t *testing.T) *farSide {
	t.Helper()
	ip, err := exec.LookPath("ip")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("NOT TESTED: a peer that vanishes needs root and iproute2's ip, to make a network namespace")
	}
	id := (os.Getpid()*4 + int(farSides.Add(1))%4) % 16_000
	f := &farSide{
		name: fmt.Sprintf("syslogsend%d", id),
		// RFC 2544: for tests
		near: fmt.Sprintf("198.18.%d.%d", id>>6, id&63<<2|1), far: fmt.Sprintf("198.18.%d.%d", id>>6, id&63<<2|2),
	}
	if out, err := exec.CommandContext(t.Context(), ip, "netns", "add", f.name).CombinedOutput(); err != nil {
		t.Skipf("NOT TESTED: a peer that vanishes needs a network namespace: %v: %s", err, out)
	}
	cable := fmt.Sprintf("sls%d", id)
	t.Cleanup(func() {
		_ = exec.Command(ip, "link", "del", cable).Run() // at once; the namespace goes when its last socket has gone
		_ = exec.Command(ip, "netns", "del", f.name).Run()
	})
	f.run(t, "link", "add", cable, "type", "veth", "peer", "name", "far", "netns", f.name)
	f.run(t, "addr", "add", f.near+"/30", "dev", cable)
	f.run(t, "link", "set", cable, "up")
	f.run(t, "-n", f.name, "link", "set", "far", "up")
	f.plug(t)
	return f
}

func (f *farSide) run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func (f *farSide) plug(t *testing.T) {
	f.run(t, "-n", f.name, "addr", "replace", f.far+"/30", "dev", "far")
}

func (f *farSide) unplug(t *testing.T) {
	f.run(t, "-n", f.name, "addr", "flush", "dev", "far")
}

// listen listens on the far side. A socket stays in the namespace of the thread that made it; the thread ends with the
// goroutine that locked it.
func (f *farSide) listen(t *testing.T) net.Listener {
	t.Helper()
	type result struct {
		net.Listener
		error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread()
		l, err := func() (net.Listener, error) {
			ns, err := os.Open("/var/run/netns/" + f.name)
			if err != nil {
				return nil, err
			}
			defer ns.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return nil, err
			}
			return net.Listen("tcp", f.far+":0")
		}()
		made <- result{l, err}
	}()
	r := <-made
	if r.error != nil {
		t.Fatalf("listening in a network namespace: %v", r.error)
	}
	return r.Listener
}
