// Package qradar simulates a log source of IBM QRadar: a syslog listener for CEF over UDP, TCP, TLS, or TLS with client
// certificates, which [New] starts.
//
// Syslog has no responses: the simulator can only refuse a client certificate or a connection. A message that QRadar
// would store as an unknown event (an invalid header, no CEF, an unknown host name, a payload beyond the limit) is a
// violation and is not accepted.
//
// One fault applies to a new connection, and one to each read:
//   - Status and CloseBefore reset new connections, as a collector that is down. Injecting one also closes the existing
//     connections: the simulator stops sending, and reads until the peer has closed.
//   - AcceptClose accepts what was read, then closes in the same way.
//   - AcceptHang stops reading until healed.
//   - CloseDuring and CloseAfter discard what was read and reset. The peer's kernel had the acknowledgement: a syslog
//     sender cannot always detect this loss.
//   - Slow waits before it reads. Endless sends data without end. Poison has no effect: QRadar refuses no event.
package qradar

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/internal/pki"
)

var _ siem.Simulator = (*Simulator)(nil)

// Source is the configuration of a log source.
type Source struct {
	Protocol string // "udp", "tcp" or "tls"
	Mutual   bool   // tls: client certificates are required
	Octets   bool   // tcp and tls: octet counting, else newlines
	Page     bool   // the keys of the platform's page, else CEF's standard keys
	Payload  int    // limit of a message in bytes; 0: QRadar's defaults
}

// Simulator is a log source.
type Simulator struct {
	siem.Base

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

// New starts a log source for TLS with client certificates, newlines and CEF's standard keys; with Options.Plain for
// TCP.
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
	s.certify()
	if err := s.listen(); err != nil {
		return nil, fmt.Errorf("starting the qradar simulator: %w", err)
	}
	return s, nil
}

func (s *Simulator) certify() {
	if s.ca == nil {
		s.ca = pki.New("QRadar simulator CA")
	}
	server := s.ca.Server("127.0.0.1", "localhost")
	s.client = s.ca.Client("arbitex")
	s.tls = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{server.TLS}}
	if s.source.Mutual {
		s.tls.ClientAuth, s.tls.ClientCAs = tls.RequireAndVerifyClientCert, s.ca.Pool()
		s.tls.VerifyConnection = s.verify
	}
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

// Name implements siem.Simulator.
func (s *Simulator) Name() string { return "qradar" }

// Settings implements siem.Simulator: the address, the protocol and the CA.
func (s *Simulator) Settings() map[string]string {
	var address net.Addr
	if s.datagram != nil {
		address = s.datagram.LocalAddr()
	} else {
		address = s.stream.Addr()
	}
	host, port, _ := net.SplitHostPort(address.String())
	settings := map[string]string{"QRADAR_SYSLOG_HOST": host, "QRADAR_SYSLOG_PORT": port,
		"QRADAR_SYSLOG_PROTOCOL": s.source.Protocol}
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

// Secret implements siem.Simulator: the client certificate and its key.
func (s *Simulator) Secret() map[string]string {
	if !s.source.Mutual {
		return map[string]string{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]string{"QRADAR_TLS_CLIENT_CERT": s.client.CertPEM, "QRADAR_TLS_CLIENT_KEY": s.client.KeyPEM}
}

// Rotate implements siem.Simulator. It closes the connections of the old client certificate.
func (s *Simulator) Rotate() {
	client := s.ca.Client("arbitex")
	s.mu.Lock()
	s.client = client
	s.mu.Unlock()
	s.hangUpAll()
}

// Inject implements siem.Simulator. Status and CloseBefore close the existing connections.
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

// hangUpAll closes the existing connections for sending.
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

// strike is a fault that may have hit, and ends when healed is closed.
type strike struct {
	siem.Fault
	hits   bool
	healed <-chan struct{} // by the next Heal, or by Close
}

// next uses and returns the next fault.
func (s *Simulator) next() (f strike) {
	s.mu.Lock()
	f.healed = s.healed // before the fault is read, so that no Heal is missed
	s.mu.Unlock()
	if f.Fault, f.hits = s.Next(nil); !f.hits {
		f.Fault, f.hits = s.OfAccepted(nil)
	}
	return f
}

func (s *Simulator) receive() {
	b := make([]byte, 1<<16)
	for {
		n, _, err := s.datagram.ReadFrom(b)
		if err != nil {
			return
		}
		if s.next().hits { // the network loses the datagram
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
		c := &connection{source: s, raw: raw.(*net.TCPConn), Conn: raw, fault: s.next()}
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

// searchesPath is the Ariel API of the Console. It supports one form of AQL: the payloads that contain a CEF header,
// with or without an event id, by the minutes of their arrival.
// https://www.ibm.com/docs/en/qradar-common?topic=endpoints-rest-api
const searchesPath = "/api/ariel/searches"

var aql = regexp.MustCompile(`^SELECT UTF8\(payload\) AS payload FROM events WHERE UTF8\(payload\) LIKE '%(.*?)%'` +
	`(?: AND UTF8\(payload\) LIKE '%(.*?)%')? START '([^']*)' STOP '([^']*)'$`)

// Console is the Console of a QRadar deployment, which answers searches for what its log source accepted.
type Console struct {
	*Simulator
	server   *siem.Server
	searches siem.Searches
}

var _ siem.Searchable = (*Console)(nil)

// NewConsole starts a log source as [New] does, and its Console.
func NewConsole(o siem.Options) (*Console, error) {
	source, err := New(o)
	if err != nil {
		return nil, err
	}
	c := &Console{Simulator: source}
	server, err := siem.Serve(o, siem.Config{Handle: c.handle})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting the qradar console: %w", err), source.Close())
	}
	c.server = server
	return c, nil
}

// Close implements siem.Simulator: it stops the Console and the log source.
func (c *Console) Close() error {
	err := c.server.Close()
	if sourceErr := c.Simulator.Close(); err == nil {
		err = sourceErr
	}
	return err
}

// SearchSettings implements siem.Searchable.
func (c *Console) SearchSettings() map[string]string {
	return c.server.Search("QRADAR_SEARCH_", map[string]string{"TOKEN": siem.SearchToken})
}

func problem(status int, text string) siem.Answer {
	return siem.JSON(status, map[string]any{"message": text, "code": status})
}

func (c *Console) handle(r *siem.Request) siem.Answer {
	if r.Header.Get("SEC") != siem.SearchToken {
		return problem(http.StatusUnauthorized, "No SEC header present in request.")
	}
	if refusal, limited := c.SearchLimited(); limited {
		return refusal
	}
	id, rest, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, searchesPath), "/"), "/")
	if id == "" && r.Method == http.MethodPost {
		return c.create(r.URL.Query().Get("query_expression"))
	}
	s := c.searches.Get(id)
	switch {
	case s == nil:
		return problem(http.StatusNotFound, "The search does not exist.")
	case rest == "" && r.Method == http.MethodDelete:
		c.searches.Delete(id)
		return siem.JSON(http.StatusOK, map[string]string{"search_id": id})
	case rest == "" && r.Method == http.MethodGet:
		status := "EXECUTE"
		if s.Done() {
			status = "COMPLETED"
		}
		return siem.JSON(http.StatusOK, map[string]any{"search_id": id, "status": status, "record_count": len(s.Found)})
	case rest == "results" && r.Method == http.MethodGet:
		return results(s.Found, r.Header.Get("Range"))
	}
	return problem(http.StatusMethodNotAllowed, "The method is not allowed.")
}

func (c *Console) create(query string) siem.Answer {
	part := aql.FindStringSubmatch(query)
	if part == nil {
		return problem(http.StatusUnprocessableEntity, "The query cannot be parsed.")
	}
	const minute = "2006-01-02 15:04Z"
	from, err1 := time.Parse(minute, part[3])
	to, err2 := time.Parse(minute, part[4])
	if err1 != nil || err2 != nil {
		return problem(http.StatusUnprocessableEntity, "START or STOP is not a time.")
	}
	id := c.searches.Add(c.Find(from, to.Add(time.Minute), 0, func(a siem.Accepted) bool {
		message := a.Fields["message"]
		return strings.Contains(message, part[1]) && strings.Contains(message, part[2])
	}))
	return siem.JSON(http.StatusCreated, map[string]any{"search_id": id, "status": "WAIT"})
}

// results returns the records of a range, which is inclusive.
func results(found []siem.Accepted, items string) siem.Answer {
	from, to := 0, len(found)-1
	if items != "" {
		n, err := fmt.Sscanf(items, "items=%d-%d", &from, &to)
		if n != 2 || err != nil || from > to || from >= len(found) {
			return problem(http.StatusRequestedRangeNotSatisfiable, "The range is not valid.")
		}
	}
	events := []any{}
	for _, a := range found[from:min(to+1, len(found))] {
		events = append(events, map[string]string{"payload": a.Fields["message"]})
	}
	answer := siem.JSON(http.StatusOK, map[string]any{"events": events})
	answer.Header["Content-Range"] = fmt.Sprintf("items %d-%d/%d", from, from+len(events)-1, len(found))
	return answer
}
