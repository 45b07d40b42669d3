package qradar

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

const good = `<134>1 2025-03-13T00:00:00.123Z platform.arbitex.ai ArbitexPlatform - req_xyz - ` +
	`CEF:0|Arbitex|ArbitexPlatform|1.0|6003|chat_completion|3|` +
	`rt=1741824000123 externalId=evt-1 suser=alice@example.com suid=user_abc act=allow ` +
	`cs4Label=ModelId cs4=gpt-4o cn1Label=TokensInput cn1=512 ` +
	`cn2Label=TokensOutput cn2=256 cs1Label=PolicyAction cs1=allow cs2Label=DlpLabels cs2= ` +
	`cs3Label=GroupIds cs3=finance-team`

func TestParse(t *testing.T) {
	m, err := Parse([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if m.PRI != 134 || m.Time.UnixMilli() != 1741824000123 || m.Hostname != "platform.arbitex.ai" ||
		m.AppName != "ArbitexPlatform" ||
		m.ProcID != "-" || m.MsgID != "req_xyz" || m.Vendor != "Arbitex" || m.Product != "ArbitexPlatform" ||
		m.Version != "1.0" ||
		m.ClassID != "6003" || m.Name != "chat_completion" || m.Severity != 3 || len(m.Extension) != 17 {
		t.Errorf("read as %+v", m)
	}
	m, err = Parse([]byte(`<0>1 2025-03-13T00:00:00Z h a p m - CEF:0|V\|\\|P=1|1|2|n|0|a=x\=y\\\n b = c_1=`))
	if err == nil {
		t.Errorf("a value with an equals sign that is not escaped: %+v, want an error", m)
	}
	m, err = Parse([]byte(`<0>1 2025-03-13T00:00:00Z h a p m - CEF:0|V\|\\|P=1|1|2|n|0|a=x\=y\\\n| b  c_1= d=\r`))
	want := []Field{{"a", "x=y\\\n| b "}, {"c_1", ""}, {"d", "\r"}}
	if err != nil || m.Vendor != `V|\` || m.Product != "P=1" || !reflect.DeepEqual(m.Extension, want) {
		t.Errorf("read as %+v, %v; want %q", m, err, want)
	}
}

// TestParseRefuses breaks a good message in one place each.
func TestParseRefuses(t *testing.T) {
	for name, change := range map[string][2]string{
		"no PRI":                  {"<134>", ""},
		"PRI with a zero":         {"<134>", "<034>"},
		"PRI over 191":            {"<134>", "<192>"},
		"another version":         {">1 ", ">2 "},
		"a length before":         {"<134>", "300 <134>"},
		"no milliseconds' digits": {".123Z", ".Z"},
		"seven decimals":          {".123Z", ".1234567Z"},
		"a month 13":              {"2025-03", "2025-13"},
		"lower case z":            {".123Z", ".123z"},
		"a blank in HOSTNAME":     {"platform.", "plat form."},
		"no HOSTNAME":             {"platform.arbitex.ai", ""},
		"long HOSTNAME":           {"platform", strings.Repeat("p", 250)},
		"long APP-NAME":           {"ArbitexPlatform -", strings.Repeat("p", 49) + " -"},
		"long MSGID":              {"req_xyz", strings.Repeat("r", 33)},
		"MSGID with a colon":      {"req_xyz", "CEF:0"},
		"MSGID not ASCII":         {"req_xyz", "réq"},
		"structured data":         {"- CEF", `[a b="c"] CEF`},
		"a byte order mark":       {"CEF:0", "\ufeffCEF:0"},
		"no CEF":                  {"CEF:0", "LEEF:1"},
		"CEF:1":                   {"CEF:0", "CEF:1"},
		"not UTF-8":               {"alice", "\xff"},
		"a line break":            {"alice", "\n"},
		"a NUL":                   {"alice", "\x00"},
		"a NEL":                   {"alice", "\u0085"},
		"a line separator":        {"alice", "\u2028"},
		"an empty name":           {"chat_completion", ""},
		"a field too few":         {"|chat_completion", ""},
		"a pipe in the name":      {"chat_completion", "chat|completion"},
		"a bad header escape":     {"chat_completion", `chat\ncompletion`},
		"severity 11":             {"|3|", "|11|"},
		"severity 03":             {"|3|", "|03|"},
		"no extension":            {"|3|rt=", "|3|rt"},
		"leading blank":           {"|3|rt=", "|3| rt="},
		"an equals sign":          {"alice", "a=b"},
		"a bad value escape":      {"alice", `a\b`},
		"an escape at the end":    {"finance-team", `finance\`},
		"a key twice":             {"suid=", "suser="},
		"an empty key":            {"suid=", "="},
	} {
		broken := strings.Replace(good, change[0], change[1], 1)
		if broken == good {
			t.Fatalf("%s: nothing changed", name)
		}
		if name == "no extension" { // "rt1741824000123 externalId=…" has a key, and something before it
			broken = strings.ReplaceAll(broken, "externalId=", "")
		}
		if m, err := Parse([]byte(broken)); err == nil {
			t.Errorf("%s: read as %+v, want an error", name, m)
		}
	}
}

func start(t *testing.T, source Source) *Simulator {
	t.Helper()
	s, err := Start(siem.Options{}, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func (s *Simulator) address() string {
	settings := s.Settings()
	return net.JoinHostPort(settings["QRADAR_SYSLOG_HOST"], settings["QRADAR_SYSLOG_PORT"])
}

// dial connects as the simulator's settings say, with the certificate that secret holds.
func dial(t *testing.T, s *Simulator, secret map[string]string) net.Conn {
	t.Helper()
	network := "tcp"
	if s.source.Protocol == "udp" {
		network = "udp"
	}
	c, err := net.Dial(network, s.address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if s.source.Protocol != "tls" {
		return c
	}
	cfg := &tls.Config{RootCAs: s.ca.Pool(), ServerName: "127.0.0.1"}
	if secret != nil {
		pair, err := tls.X509KeyPair([]byte(secret["QRADAR_TLS_CLIENT_CERT"]), []byte(secret["QRADAR_TLS_CLIENT_KEY"]))
		if err != nil {
			t.Fatal(err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return tls.Client(c, cfg)
}

// write sends text and ignores an error: the peer may have closed the connection.
func write(c net.Conn, text string) { _, _ = io.WriteString(c, text) }

// wait waits until the simulator's state is as wanted.
func wait(t *testing.T, s *Simulator, what string, is func(siem.Stats) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !is(s.Stats()) {
		if ctx.Err() != nil {
			t.Fatalf("%s: timeout; %+v", what, s.Stats())
		}
		time.Sleep(time.Millisecond)
	}
}

func accepted(n int) func(siem.Stats) bool {
	return func(s siem.Stats) bool { return s.Accepted == n && len(s.Violations) == 0 }
}

// ended tells how a connection ended for its client: io.EOF is a close in good order.
func ended(t *testing.T, c net.Conn) error {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	_, err := io.Copy(io.Discard, c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection is still open")
	}
	return err
}

func TestAccepts(t *testing.T) {
	counted := fmt.Sprintf("%d %s", len(good), good)
	for name, c := range map[string]struct {
		source Source
		text   string
		n      int
	}{
		"udp":                {Source{Protocol: "udp"}, good, 1},
		"tcp, newline":       {Source{Protocol: "tcp"}, good + "\n" + good + "\n", 2},
		"tcp, octet-counted": {Source{Protocol: "tcp", Octets: true}, counted + counted, 2},
		"tls, newline":       {Source{Protocol: "tls"}, good + "\n", 1},
		"mutual TLS":         {Source{Protocol: "tls", Mutual: true}, good + "\n", 1},
		"page keys": {Source{Protocol: "tcp", Page: true}, strings.NewReplacer(" externalId=evt-1", "", "suid=", "duid=",
			"cs4Label=ModelId cs4=", "model=",
			"cn1Label=TokensInput cn1=", "tokenIn=", "cn2Label=TokensOutput cn2=", "tokenOut=").Replace(good) + "\n", 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, c.source)
			var secret map[string]string
			if c.source.Mutual {
				secret = s.Secret()
			}
			conn := dial(t, s, secret)
			for _, part := range []string{c.text[:7], c.text[7:]} { // a message may come in pieces
				if c.source.Protocol == "udp" {
					part = c.text
				}
				write(conn, part)
				if part == c.text {
					break
				}
			}
			wait(t, s, name, accepted(c.n))
			a := s.Accepted()[0]
			if want := map[bool]string{false: "evt-1", true: "req_xyz 1741824000123"}[c.source.Page]; a.ID != want ||
				a.Fields["cs3"] != "finance-team" || a.Event != nil {
				t.Errorf("accepted as %+v", a)
			}
		})
	}
}

func TestViolations(t *testing.T) {
	for name, text := range map[string]string{
		"payload limit":            strings.Replace(good, "alice", strings.Repeat("a", 4096), 1),
		"no valid RFC 5424 header": fmt.Sprintf("%d %s", len(good), good), // octet counting where newlines are expected
		"is not a log source":      strings.Replace(good, "platform.arbitex.ai", "10.0.0.1", 1),
		"PRI":                      strings.Replace(good, "<134>", "<133>", 1),
		"PROCID":                   strings.Replace(good, " - req", " 77 req", 1),
		"not the same":             strings.Replace(good, "rt=1741824000123", "rt=1741824000124", 1),
		"extension keys":           strings.Replace(good, "suid=", "duid=", 1),
		"cs2Label":                 strings.Replace(good, "DlpLabels", "Labels", 1),
		"has no value":             strings.Replace(good, "act=allow", "act=", 1),
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, Source{Protocol: "tcp"})
			write(dial(t, s, nil), text+"\n")
			wait(t, s, name, func(stats siem.Stats) bool {
				return len(stats.Violations) == 1 && strings.Contains(stats.Violations[0], strings.TrimPrefix(name, "the "))
			})
		})
	}
	s := start(t, Source{Protocol: "tcp", Octets: true})
	write(dial(t, s, nil), good)
	wait(t, s, "no length", func(stats siem.Stats) bool { return len(stats.Violations) > 0 })
	s = start(t, Source{Protocol: "tcp"})
	c := dial(t, s, nil)
	write(c, good) // no newline
	c.Close()
	wait(t, s, "cut off", func(stats siem.Stats) bool { return stats.Refused["cut off"] == 1 })
}

func TestTruncated(t *testing.T) {
	s := start(t, Source{Protocol: "tcp"})
	write(dial(t, s, nil), good+" truncated=1\n")
	wait(t, s, "truncated", accepted(1))
	if !s.Accepted()[0].Truncated {
		t.Error("a message that says truncated=1 is not accepted as such")
	}
}

func TestCertificates(t *testing.T) {
	s := start(t, Source{Protocol: "tls", Mutual: true})
	old := s.Secret()
	kept := dial(t, s, old)
	write(kept, good+"\n")
	wait(t, s, "with the certificate", accepted(1))

	s.Rotate()
	if err := ended(t, kept); err != nil {
		t.Errorf("the standing connection ended with %v, want good order", err)
	}
	failures := 0
	for name, secret := range map[string]map[string]string{"revoked": old, "none": nil} {
		c := dial(t, s, secret)
		write(c, good+"\n")
		if err := ended(t, c); err == nil || !strings.Contains(err.Error(), "tls: ") {
			t.Errorf("%s: %v, want a TLS alert", name, err)
		}
		failures++
		wait(t, s, name, func(stats siem.Stats) bool {
			return stats.AuthFailures == failures && stats.Refused["certificate"] == failures
		})
	}
	write(dial(t, s, s.Secret()), good+"\n")
	wait(t, s, "with the new certificate", accepted(2))

	stranger := start(t, Source{Protocol: "tls", Mutual: true})
	c := dial(t, s, stranger.Secret())
	if err := ended(t, c); err == nil {
		t.Error("a certificate of another CA was taken")
	}
}

func TestDown(t *testing.T) {
	s := start(t, Source{Protocol: "tcp"})
	kept := dial(t, s, nil)
	write(kept, good+"\n")
	wait(t, s, "before", accepted(1))
	s.Inject(siem.Fault{Kind: siem.CloseBefore})
	write(kept, good+"\n") // was on its way
	if err := ended(t, kept); err != nil {
		t.Errorf("the standing connection ended with %v, want good order", err)
	}
	wait(t, s, "what was on its way", accepted(2))
	if c, err := net.Dial("tcp", s.address()); err == nil {
		if err := ended(t, c); err == nil {
			t.Error("a new connection ended in good order, want a reset")
		}
	}
	s.Inject(siem.Fault{Kind: siem.Heal})
	write(dial(t, s, nil), good+"\n")
	wait(t, s, "after", accepted(3))
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		kind   siem.Kind
		taken  int
		closes bool
	}{
		{siem.CloseDuring, 0, true}, {siem.CloseAfter, 0, true}, {siem.AcceptClose, 1, true}, {siem.Slow, 1, false},
		{siem.Endless, 0, true},
	} {
		t.Run(c.kind.String(), func(t *testing.T) {
			s := start(t, Source{Protocol: "tcp"})
			s.Inject(siem.Fault{Kind: c.kind, Times: 1, Delay: time.Millisecond})
			conn := dial(t, s, nil)
			write(conn, good+"\n")
			if c.kind == siem.Endless {
				_, _ = io.ReadFull(conn, make([]byte, 1<<20))
				conn.Close()
			} else if c.closes {
				_ = ended(t, conn)
			}
			wait(t, s, "taken", accepted(c.taken))
			write(dial(t, s, nil), good+"\n")
			wait(t, s, "the next", accepted(c.taken+1))
		})
	}
}

func TestHang(t *testing.T) {
	s := start(t, Source{Protocol: "tcp"})
	s.Inject(siem.Fault{Kind: siem.AcceptHang, Times: 1})
	c := dial(t, s, nil)
	write(c, good+"\n")
	write(dial(t, s, nil), good+"\n")
	wait(t, s, "another connection", accepted(1))
	s.Inject(siem.Fault{Kind: siem.Heal})
	wait(t, s, "once healed", accepted(2))
	s.Inject(siem.Fault{Kind: siem.AcceptHang})
	write(c, good+"\n")
	if err := s.Close(); err != nil { // does not wait for what hangs
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	s.Inject(siem.Fault{Kind: siem.Heal})
}

// hasty is a connection whose deadlines have passed when they are set.
type hasty struct{ *net.TCPConn }

func (h hasty) SetDeadline(time.Time) error     { return h.TCPConn.SetDeadline(time.Unix(1, 0)) }
func (h hasty) SetReadDeadline(time.Time) error { return h.TCPConn.SetReadDeadline(time.Unix(1, 0)) }

// TestHangUpReadsWhatTheKernelHas: the sender may have counted as delivered what the kernel has when the simulator
// closes the connection, however late the simulator reads it.
func TestHangUpReadsWhatTheKernelHas(t *testing.T) {
	s := start(t, Source{Protocol: "tcp"})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sender, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	raw, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	write(sender, good+"\n"+good+"\n")
	c := &connection{source: s, raw: hasty{raw.(*net.TCPConn)}, Conn: raw}
	c.hangUp()
	if err := ended(t, sender); err != nil {
		t.Errorf("the connection ended with %v, want good order", err)
	}
	sender.Close()
	c.serve()
	if n := s.Stats().Accepted; n != 2 {
		t.Errorf("accepted %d messages, want 2", n)
	}
}

// TestHealBeforeTheFaultApplies: a fault is healed between its choice and its effect.
func TestHealBeforeTheFaultApplies(t *testing.T) {
	s := start(t, Source{Protocol: "tcp"})
	s.Inject(siem.Fault{Kind: siem.AcceptHang})
	fault := s.next()
	s.Inject(siem.Fault{Kind: siem.Heal})
	over := make(chan bool, 1)
	go func() { over <- (&connection{source: s}).suffer(fault) }()
	select {
	case <-over:
	case <-time.After(time.Minute):
		t.Error("the healed fault still applies")
	}
}

func TestNew(t *testing.T) {
	s, err := New(siem.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := s.Settings(); s.Name() != "qradar" || got["QRADAR_SYSLOG_PROTOCOL"] != "tls" ||
		got["QRADAR_TLS_CA_BUNDLE"] == "" || got["QRADAR_CEF_KEYS"] != "standard" {
		t.Errorf("settings %v", got)
	}
	if secret := s.Secret(); secret["QRADAR_TLS_CLIENT_CERT"] == "" || secret["QRADAR_TLS_CLIENT_KEY"] == "" {
		t.Error("no client certificate")
	}
	plain, err := New(siem.Options{Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if plain.Settings()["QRADAR_SYSLOG_PROTOCOL"] != "tcp" || len(plain.Secret()) != 0 {
		t.Errorf("plain: settings %v", plain.Settings())
	}
}
