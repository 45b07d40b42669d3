package syslogsend

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

func sendDatagrams(t *testing.T, s *Sender, m *telemetry.Meter, messages ...string) error {
	t.Helper()
	return s.SendDatagrams(t.Context(), len(messages), func(i int) []byte { return []byte(messages[i]) }, m)
}

func TestDatagrams(t *testing.T) {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newSender(t, UDP, l.LocalAddr().String(), nil)
	var m telemetry.Meter
	messages := []string{"one", "two", strings.Repeat("x", 1024)}
	if err := sendDatagrams(t, s, &m, messages...); err != nil {
		t.Fatal(err)
	}
	if m.Requests != 3 || m.Bytes != 3+3+1024 {
		t.Errorf("counted %d datagrams and %d bytes, want 3 and 1030", m.Requests, m.Bytes)
	}
	_ = l.SetReadDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 2000)
	for _, want := range messages {
		n, _, err := l.ReadFrom(b)
		if err != nil || string(b[:n]) != want {
			t.Fatalf("received %.20q (%v), want %.20q", b[:n], err, want)
		}
	}
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("check: %v", err)
	}
	wantFault(t, sendDatagrams(t, s, nil, strings.Repeat("x", 70_000)), failure.Request, failure.TooLarge)

	l.Close() // now nobody listens
	if !Confirms {
		t.Skip("NOT TESTED: this system does not report refused datagrams in time")
	}
	if text := wantFault(t, sendDatagrams(t, s, nil, "lost"), failure.Request, failure.Transient); !strings.Contains(text,
		"X_HOST") {
		t.Errorf("%q names no setting", text)
	}
	l, err = net.ListenPacket("udp", l.LocalAddr().String())
	if err != nil {
		t.Skipf("NOT TESTED: another process has taken the port: %v", err)
	}
	defer l.Close()
	if err := sendDatagrams(t, s, nil, "again"); err != nil {
		t.Errorf("after the peer has come back: %v", err)
	}
}
