// Package catalog lists the simulated SIEMs with the data that the emulator needs. A connector of the list in
// shared/connectors has its simulator and its script here.
package catalog

import (
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/datadog"
	"github.com/arbitex/siem-connectors/emulator/siem/elastic"
	"github.com/arbitex/siem-connectors/emulator/siem/qradar"
	"github.com/arbitex/siem-connectors/emulator/siem/sentinel"
	"github.com/arbitex/siem-connectors/emulator/siem/splunk"
	"github.com/arbitex/siem-connectors/emulator/siem/sumo"
	"github.com/arbitex/siem-connectors/emulator/siem/xsiam"
	"github.com/arbitex/siem-connectors/shared/connectors"
)

// SIEM is an entry of the list.
type SIEM struct {
	connectors.Connector

	// New starts the simulator.
	New func(siem.Options) (siem.Simulator, error)
	// Key identifies an event in a SIEM whose wire format does not carry the whole event: events with one key are equal
	// there. nil: Accepted.Event holds the event.
	Key func(event []byte) string
	// Took returns the key of an accepted event; nil together with Key.
	Took func(siem.Accepted) string
	// Script is the sequence of failures in the demo.
	Script []Act
}

// KeyOf returns the key of an event: the event itself without Key.
func (s SIEM) KeyOf(event string) string {
	if s.Key == nil {
		return event
	}
	return s.Key([]byte(event))
}

// Arrived returns the key of an accepted event.
func (s SIEM) Arrived(a siem.Accepted) string {
	if s.Took == nil {
		return string(a.Event)
	}
	return s.Took(a)
}

// Function returns the logical id of the connector's function.
func (s SIEM) Function() string { return s.Name + "Function" }

// Queue returns the logical id of its queue.
func (s SIEM) Queue() string { return s.Name + "Queue" }

// Secret returns the logical id of its secret.
func (s SIEM) Secret() string { return s.Name + "Secret" }

// Parameters returns the template's parameters that deploy the connectors of these SIEMs. The emulator has no alarms,
// and so no guard.
func Parameters(list []SIEM) map[string]string {
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = s.Name
	}
	return map[string]string{"Connectors": strings.Join(names, ","), "EnableGuard": "false"}
}

// List returns the SIEMs in the order of connectors.All.
func List() []SIEM {
	simulators := map[string]SIEM{
		"splunk":   {New: simulator(splunk.New), Script: splunkScript()},
		"sentinel": {New: simulator(sentinel.New), Script: sentinelScript()},
		"elastic":  {New: simulator(elastic.New), Script: elasticScript()},
		"datadog":  {New: simulator(datadog.New), Script: datadogScript()},
		"sumo":     {New: simulator(sumo.New), Script: sumoScript()},
		"qradar":   {New: simulator(qradar.NewConsole), Key: cefOfEvent, Took: cefOfMessage, Script: qradarScript()},
		"xsiam":    {New: simulator(xsiam.New), Script: xsiamScript()},
	}
	var all []SIEM
	for _, c := range connectors.All() {
		s := simulators[c.Name]
		s.Connector = c
		all = append(all, s)
	}
	return all
}

// simulator converts the constructor of a simulator.
func simulator[S siem.Simulator](open func(siem.Options) (S, error)) func(siem.Options) (siem.Simulator, error) {
	return func(o siem.Options) (siem.Simulator, error) { return open(o) }
}

// Act is one step of a script: a fault begins or ends.
type Act struct {
	At time.Duration // earliest time since the first event was enqueued
	// what the SIEM must have refused since the previous act, by Stats().Refused; "": nothing. See [Patience]
	After string
	Dead  int    // number of dead letters that it must have caused by then, as After
	Say   string // description, after the SIEM's name: "is down: 503 to everything"
	Do    func(*Stage)
}

// Patience is the time that an act waits for its condition: on a slow machine everything is late, and a fault without a
// request shows nothing.
const Patience = 20 * time.Second

// Ready reports whether the act's After has occurred between two states of the SIEM.
func (a Act) Ready(before, now siem.Stats) bool {
	return a.After == "" || now.Refused[a.After] > before.Refused[a.After]
}

// Stage is what an act can change.
type Stage struct {
	SIEM siem.Simulator
	// Poison is the id of an enqueued event.
	Poison string
	// Distinct reports whether all enqueued events have different ids.
	Distinct bool
	// Publish stores the SIEM's current credential in its secret.
	Publish func()
}

// PoisonFault is the name of the fault that must be healed before the refused event can be replayed.
const PoisonFault = "poison"

func poison(s *Stage) {
	s.SIEM.Inject(siem.Fault{Kind: siem.Poison, Name: PoisonFault, Match: func(id string) bool { return id == s.Poison }})
}

// begin injects faults.
func begin(faults ...siem.Fault) func(*Stage) {
	return func(s *Stage) {
		for _, f := range faults {
			s.SIEM.Inject(f)
		}
	}
}

// end heals the faults with that name.
func end(name string) func(*Stage) { return begin(siem.Fault{Kind: siem.Heal, Name: name}) }

func revoke(s *Stage) { s.SIEM.Rotate() }

func publish(s *Stage) { s.Publish() }

// both runs two functions.
func both(first, second func(*Stage)) func(*Stage) {
	return func(s *Stage) {
		first(s)
		second(s)
	}
}

// Names of faults that a later act ends.
const (
	outage = "outage"
	fault  = "fault"
)

func down() siem.Fault {
	return siem.Fault{Kind: siem.Status, Status: http.StatusServiceUnavailable, Name: outage}
}

// hangUp accepts one request without a response: its events arrive again.
func hangUp() func(*Stage) { return begin(siem.Fault{Kind: siem.AcceptClose, Times: 1}) }

func product(name, code string, times int) siem.Fault {
	return siem.Fault{Kind: siem.Product, Name: name, Code: code, Times: times}
}

func splunkScript() []Act {
	return []Act{
		{At: 0, Say: "refuses one event for its content at every attempt (400 code 6)", Do: poison},
		{At: 3 * time.Second, After: "400 code 6", Say: "is down: 503 to everything", Do: begin(down())},
		{At: 8 * time.Second, After: "503", Say: "has recovered and is busy: two requests get 429, Retry-After: 2",
			Do: both(end(outage), begin(siem.RetryAfter(http.StatusTooManyRequests, "2", 2)))},
		{At: 11 * time.Second, After: "429", Say: "has its token revoked: 403 code 1", Do: revoke},
		{At: 14 * time.Second, After: "403 code 1", Say: "has a new token, stored in Secrets Manager", Do: publish},
		{At: 15 * time.Second, Say: "indexes half of a request, then is busy (503 code 9); compresses its next responses",
			Do: begin(product(fault, "9", 1), siem.Fault{Kind: siem.Compressed, Times: 5})},
		{At: 16 * time.Second, After: "503 code 9", Say: "indexes a request and closes the connection without a response",
			Do: hangUp()},
	}
}

func sentinelScript() []Act {
	busy := siem.RetryAfter(http.StatusTooManyRequests, "2", 2)
	busy.On = sentinel.Ingests
	return []Act{
		{At: 0, Say: "refuses every request with one event (400 InvalidPayload)", Do: poison},
		{At: 3 * time.Second, After: "400 InvalidPayload", Say: "loses the role on the rule: 403 OperationFailed",
			Do: begin(product(fault, "OperationFailed", 0))},
		{At: 9 * time.Second, After: "403 OperationFailed", Say: "has the role again, and throttles: 429, Retry-After: 2",
			Do: both(end(fault), begin(busy))},
		{At: 12 * time.Second, After: "429", Say: "expires its client secret and revokes its tokens: AADSTS7000222",
			Do: revoke},
		{At: 15 * time.Second, After: "401 AADSTS7000222", Say: "has a new client secret, stored in Secrets Manager",
			Do: publish},
	}
}

func elasticScript() []Act {
	return []Act{
		{At: 0, Say: "cannot map one event (item 400 document_parsing_exception)", Do: poison},
		{At: 3 * time.Second, After: "item 400 document_parsing_exception",
			Say: "is short of memory: every second document gets 429", Do: begin(product(fault, "item 429", 0))},
		{At: 8 * time.Second, After: "item 429 es_rejected_execution_exception",
			Say: "has memory again, and its index becomes a data stream: create only",
			Do: both(end(fault), func(s *Stage) {
				if s.Distinct { // a data stream keeps only the first document of an _id
					s.SIEM.Inject(product("", "data-stream", 0))
				}
			})},
		{At: 11 * time.Second, Say: "invalidates its API key: 401", Do: revoke},
		{At: 14 * time.Second, After: "401 security_exception", Say: "has a new API key, stored in Secrets Manager",
			Do: publish},
		{At: 16 * time.Second, Say: "stores a request and closes the connection: the same _id arrives again", Do: hangUp()},
	}
}

func datadogScript() []Act {
	busy := siem.Fault{Kind: siem.Status, Status: http.StatusTooManyRequests,
		Header: map[string]string{"X-RateLimit-Reset": "2"}, Times: 2}
	return []Act{
		{At: 0, Say: "refuses every payload with one event (400)", Do: poison},
		{At: 3 * time.Second, After: "400", Say: "is down: 503 to everything", Do: begin(down())},
		{At: 8 * time.Second, After: "503", Say: "has recovered and limits: 429, X-RateLimit-Reset: 2, no Retry-After",
			Do: both(end(outage), begin(busy))},
		{At: 11 * time.Second, After: "429", Say: "revokes its API key: 403", Do: revoke},
		{At: 14 * time.Second, After: "403", Say: "has a new API key, stored in Secrets Manager", Do: publish},
		{At: 16 * time.Second, Say: "accepts a payload and closes the connection without a response", Do: hangUp()},
	}
}

func sumoScript() []Act {
	busy := siem.Fault{Kind: siem.Early, Status: http.StatusTooManyRequests, Times: 3}
	return []Act{
		{At: 0, Say: "refuses every request with one event (400 parameter.invalid)", Do: poison},
		{At: 3 * time.Second, After: "400 parameter.invalid", Say: "accepts half of a request, then times out (408)",
			Do: begin(product(fault, "408", 1))},
		{At: 7 * time.Second, After: "408 timeout",
			Say: "responds 429 to three requests before it has read them, without Retry-After", Do: begin(busy)},
		{At: 11 * time.Second, After: "429", Say: "replaces its URL, which is the credential: 401", Do: revoke},
		{At: 14 * time.Second, After: "401 unauthorized", Say: "has a new URL, stored in Secrets Manager", Do: publish},
		{At: 15 * time.Second, Say: "accepts a request with a warning: 200 with a body (header.invalid)",
			Do: begin(product(fault, "header.invalid", 1))},
	}
}

func qradarScript() []Act {
	return []Act{
		{At: 0, Say: "closes the connection after a batch, three times",
			Do: begin(siem.Fault{Kind: siem.AcceptClose, Times: 3})},
		{At: 3 * time.Second, Say: "is down: resets every connection",
			Do: begin(siem.Fault{Kind: siem.CloseBefore, Name: outage})},
		{At: 8 * time.Second, After: "close-before", Say: "has recovered, and stops reading what its kernel accepts",
			Do: both(end(outage), begin(siem.Fault{Kind: siem.AcceptHang, Name: fault}))},
		{At: 12 * time.Second, Say: "reads again", Do: end(fault)},
		{At: 13 * time.Second, Say: "revokes the client certificate", Do: revoke},
		{At: 15 * time.Second, After: "certificate", Say: "has a new client certificate, stored in Secrets Manager",
			Do: publish},
	}
}

// xsiamScript ends with an outage that is longer than all attempts of an event in the demo: such events become dead
// letters.
func xsiamScript() []Act {
	return []Act{
		{At: 0, Say: "refuses every request with one event (400)", Do: poison},
		{At: 3 * time.Second, After: "400", Say: "throttles two requests: 429, Retry-After: 2",
			Do: begin(siem.RetryAfter(http.StatusTooManyRequests, "2", 2))},
		{At: 5 * time.Second, After: "429", Say: "replaces its key and key id: 401", Do: revoke},
		{At: 8 * time.Second, After: "401", Say: "has the new pair stored in Secrets Manager", Do: publish},
		{At: 9 * time.Second, Say: "closes the connection within the body of a request",
			Do: begin(siem.Fault{Kind: siem.CloseDuring, Times: 1})},
		{At: 10 * time.Second, Say: "responds 500 to everything, beyond an event's last attempt",
			Do: begin(siem.Fault{Kind: siem.Status, Status: http.StatusInternalServerError, Name: outage})},
		// the refused event, the invalid one, and an exhausted one
		{At: 25 * time.Second, Dead: 3, Say: "has recovered", Do: end(outage)},
	}
}

// QRadar receives fields of an event, not the whole event. The functions below return these fields of an event and of a
// message as one text each. Two texts are equal if all fields are equal.

// columns are the compared fields, by their names in Accepted.Fields. rt is the event's time.
var columns = []string{
	"externalId", "rt", "class", "name", "severity", "msgid", "suser", "suid", "act", "cs4", "cn1", "cn2", "cs1", "cs2",
	"cs3", "src",
}

// cefOfEvent returns the fields that the message of an event must have. An invalid event is its own key.
func cefOfEvent(body []byte) string {
	e, err := siem.ReadEvent(body)
	if err != nil {
		return string(body)
	}
	fields := map[string]string{
		"externalId": siem.EventID(body), "rt": strconv.FormatInt(e.Time, 10), "class": strconv.FormatInt(e.Class, 10),
		"name": cefName(e), "severity": cefSeverity(e.Severity), "msgid": messageID(e.RequestID),
		"suser": word(e.UserEmail), "suid": word(e.UserID), "act": word(e.PolicyAction), "cs4": word(e.ModelID),
		"cn1": number(e.TokensInput), "cn2": number(e.TokensOutput),
		"cs1": word(e.PolicyAction), "cs2": list(e.DLPLabels), "cs3": list(e.Groups), "src": word(e.SourceAddress),
	}
	last := "cs3" // without the blanks at the end of the message
	if fields["src"] != "" {
		last = "src"
	}
	fields[last] = strings.TrimRightFunc(fields[last], func(r rune) bool {
		return r != '\n' && r != '\r' && blank(r) == ' '
	})
	return cefKey(fields)
}

// cefOfMessage returns the fields of a message.
func cefOfMessage(a siem.Accepted) string { return cefKey(maps.Clone(a.Fields)) }

func cefKey(fields map[string]string) string {
	values := make([]string, len(columns))
	for i, column := range columns {
		values[i] = column + "=" + strings.Map(blank, fields[column])
	}
	key, _ := json.Marshal(values) // texts always marshal
	return string(key)
}

// blank replaces the characters for which CEF has no escape.
func blank(r rune) rune {
	if r < ' ' || 0x7f <= r && r < 0xa0 || slices.Contains([]rune{0x2028, 0x2029}, r) {
		return ' '
	}
	return r
}

func cefName(e siem.Event) string {
	if word(e.Operation) == "" {
		return "OCSF class " + strconv.FormatInt(e.Class, 10)
	}
	return *e.Operation
}

// cefSeverity returns the CEF severity by the table of the wire format.
func cefSeverity(id int64) string {
	severity, ok := map[int64]string{0: "0", 1: "3", 2: "4", 3: "6", 4: "8", 5: "9", 6: "10"}[id]
	if !ok {
		return "5"
	}
	return severity
}

// messageID returns the MSGID of a request id: without characters that the wire format excludes, at most 32 characters
// long, without hyphens if necessary.
func messageID(id *string) string {
	const most = 32
	text := notMessageID.ReplaceAllString(word(id), "")
	if len(text) > most {
		text = strings.ReplaceAll(text, "-", "")
	}
	if text == "" {
		return "-"
	}
	return text[:min(len(text), most)]
}

var notMessageID = regexp.MustCompile(`[^A-Za-z0-9._-]`)

// list joins the items of a list. A comma in an item becomes a space.
func list(items []string) string {
	joined := make([]string, len(items))
	for i, item := range items {
		joined[i] = strings.ReplaceAll(item, ",", " ")
	}
	return strings.Join(joined, ",")
}

func word(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func number(n *int64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(*n, 10)
}
