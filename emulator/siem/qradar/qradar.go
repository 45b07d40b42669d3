// Package qradar simulates a log source of IBM QRadar: a syslog listener for CEF over UDP, TCP, TLS, or TLS with client
// certificates, which is what [New] starts.
//
// Syslog answers nothing, so there is little to refuse: a client certificate, and connections. What QRadar would store as an
// unknown event (no valid header, no CEF, another host's name, a payload beyond its limit) is a violation and not accepted.
//
// Faults, of which one comes to bear on a new connection and one on each read of it:
//   - Status and CloseBefore are a collector that is down: connections are reset before they say anything. Injecting one
//     also hangs up on those that stand, in good order: it stops sending, and reads on until the peer has gone.
//   - AcceptClose takes what it has read, then hangs up in the same way.
//   - AcceptHang stops reading until healed, and reads on then.
//   - CloseDuring and CloseAfter throw away what was read and reset. A peer's kernel had taken it: this is the loss that no
//     sender of syslog can see in every case, so do not expect an account to add up.
//   - Slow waits before it reads; Endless talks without end. Poison does nothing: QRadar refuses no event.
package qradar

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/pki"
)

var _ siem.Simulator = (*Simulator)(nil)

// Source is what an administrator sets for a log source.
type Source struct {
	Protocol string // "udp", "tcp" or "tls"
	Mutual   bool   // tls: client certificates are demanded
	Octets   bool   // tcp and tls: octet counting, else newlines
	Page     bool   // keys of the platform's page, else CEF's own
	Payload  int    // most bytes of a message; 0 = QRadar's defaults
}

// Simulator is a log source.
type Simulator struct {
	siem.Journal
	siem.Faults

	source   Source
	ca       *pki.Authority
	stream   net.Listener
	datagram net.PacketConn
	tls      *tls.Config

	mu     sync.Mutex
	client pki.Certificate
	conns  map[*connection]bool
	healed chan struct{} // closed and made anew by Heal
	closed bool
	wg     sync.WaitGroup
}

// New starts a log source for TLS with client certificates, newlines and CEF's own keys; with Options.Plain for TCP.
func New(o siem.Options) (*Simulator, error) {
	if o.Plain {
		return Start(o, Source{Protocol: "tcp"})
	}
	return Start(o, Source{Protocol: "tls", Mutual: true})
}

// Start starts a log source.
func Start(o siem.Options, source Source) (*Simulator, error) {
	if source.Payload == 0 {
		source.Payload = map[string]int{"udp": 1024, "tcp": 4096, "tls": 4096}[source.Protocol]
	}
	s := &Simulator{source: source, ca: o.Authority, conns: map[*connection]bool{}, healed: make(chan struct{})}
	s.Now = o.Now
	if err := s.certify(); err != nil {
		return nil, fmt.Errorf("starting the qradar simulator: %w", err)
	}
	if err := s.listen(); err != nil {
		return nil, fmt.Errorf("starting the qradar simulator: %w", err)
	}
	return s, nil
}

func (s *Simulator) certify() (err error) {
	if s.ca == nil {
		if s.ca, err = pki.New("QRadar simulator CA"); err != nil {
			return err
		}
	}
	server, err := s.ca.Server("127.0.0.1", "localhost")
	if err != nil {
		return err
	}
	if s.client, err = s.ca.Client("arbitex"); err != nil {
		return err
	}
	s.tls = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{server.TLS}, SessionTicketsDisabled: true}
	if s.source.Mutual {
		s.tls.ClientAuth, s.tls.ClientCAs = tls.RequireAndVerifyClientCert, s.ca.Pool()
		s.tls.VerifyConnection = s.verify
	}
	return nil
}

var errRevoked = errors.New("the client certificate is revoked")

func (s *Simulator) verify(state tls.ConnectionState) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client.Serial.Cmp(serial(state)) != 0 {
		return errRevoked
	}
	return nil
}

func serial(state tls.ConnectionState) *big.Int { return state.PeerCertificates[0].SerialNumber }

func (s *Simulator) listen() (err error) {
	if s.source.Protocol == "udp" {
		if s.datagram, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			return err
		}
		s.wg.Go(s.receive)
		return nil
	}
	if s.stream, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	s.wg.Go(s.accept)
	return nil
}

// Name is "qradar".
func (s *Simulator) Name() string { return "qradar" }

// Settings is the address, the protocol, and the CA to trust.
func (s *Simulator) Settings() map[string]string {
	var address net.Addr
	if s.datagram != nil {
		address = s.datagram.LocalAddr()
	} else {
		address = s.stream.Addr()
	}
	host, port, _ := net.SplitHostPort(address.String())
	settings := map[string]string{"QRADAR_SYSLOG_HOST": host, "QRADAR_SYSLOG_PORT": port, "QRADAR_SYSLOG_PROTOCOL": s.source.Protocol}
	if !s.source.Page {
		settings["QRADAR_CEF_KEYS"] = "standard"
	}
	if s.source.Octets {
		settings["QRADAR_SYSLOG_FRAMING"] = "octet-counted"
	}
	if s.source.Protocol == "tls" {
		settings["QRADAR_TLS_CA_BUNDLE"] = s.ca.PEM()
	}
	return settings
}

// Secret is the client certificate and its key.
func (s *Simulator) Secret() map[string]string {
	if !s.source.Mutual {
		return map[string]string{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]string{"QRADAR_TLS_CLIENT_CERT": s.client.CertPEM, "QRADAR_TLS_CLIENT_KEY": s.client.KeyPEM}
}

// Rotate makes a new client certificate, refuses the old one from now on, and hangs up on who came with it.
func (s *Simulator) Rotate() {
	client, err := s.ca.Client("arbitex")
	if err != nil { // no randomness: nothing works any more
		return
	}
	s.mu.Lock()
	s.client = client
	s.mu.Unlock()
	s.hangUpAll()
}

// Inject adds a fault. A fault that takes the collector down hangs up on those who are connected.
func (s *Simulator) Inject(f siem.Fault) {
	s.Faults.Inject(f)
	switch f.Kind {
	case siem.Heal:
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.closed {
			close(s.healed)
			s.healed = make(chan struct{})
		}
	case siem.Status, siem.CloseBefore:
		s.hangUpAll()
	}
}

// heals returns what is closed when the faults are healed next, or the simulator is closed.
func (s *Simulator) heals() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.healed
}

// hangUpAll has hung up on everybody when it returns.
func (s *Simulator) hangUpAll() {
	s.mu.Lock()
	conns := slices.Collect(maps.Keys(s.conns))
	s.mu.Unlock()
	var all sync.WaitGroup
	for _, c := range conns {
		all.Go(c.hangUp)
	}
	all.Wait()
}

// Close stops listening and drops every connection.
func (s *Simulator) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.healed)
	for c := range s.conns {
		_ = c.raw.Close() // its end is all that matters
	}
	s.mu.Unlock()
	var err error
	if s.datagram != nil {
		err = s.datagram.Close()
	} else {
		err = s.stream.Close()
	}
	s.wg.Wait()
	return err
}

// strike uses and returns the fault whose turn it is.
func (s *Simulator) strike() (siem.Fault, bool) {
	if f, ok := s.Next(nil); ok {
		return f, true
	}
	return s.Unanswered(nil)
}

func (s *Simulator) receive() {
	b := make([]byte, 1<<16)
	for {
		n, _, err := s.datagram.ReadFrom(b)
		if err != nil {
			return
		}
		if _, faulty := s.strike(); faulty { // the network loses it
			continue
		}
		s.take(b[:n])
	}
}

func (s *Simulator) accept() {
	for {
		raw, err := s.stream.Accept()
		if err != nil {
			return
		}
		c := &connection{source: s, raw: raw.(*net.TCPConn), Conn: raw}
		c.fault, c.faulty = s.strike()
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			raw.Close()
			return
		}
		s.conns[c] = true
		s.mu.Unlock()
		s.wg.Go(c.serve)
	}
}

// handshakeTimeout ends a handshake that a client began and never finishes.
const handshakeTimeout = 10 * time.Second

// secure makes the TLS handshake, and counts what came of it.
func (s *Simulator) secure(c *connection) bool {
	secure := tls.Server(c.raw, s.tls)
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	err := secure.HandshakeContext(ctx)
	if err == nil {
		c.mu.Lock()
		c.Conn, c.secured = secure, secure
		c.mu.Unlock()
		return true
	}
	var broken *net.OpError
	if s.source.Mutual && !errors.As(err, &broken) && !errors.Is(err, io.EOF) {
		s.AuthFailed()
		s.Refuse("certificate", err.Error())
	} else {
		s.Refuse("handshake", err.Error())
	}
	return false
}
