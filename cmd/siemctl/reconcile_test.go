package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/receipts"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/search"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
	"github.com/arbitex/siem-connectors/emulator/cloud"
	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// audit is a stack with receipts, and a SIEM with a search API.
type audit struct {
	t         *testing.T
	connector string
	stack     *fakeStack
	siem      siem.Searchable
	encoder   deliver.Connector // of qradar, else nil
	env       map[string]string
	waits     []time.Duration // that the command waited
	wait      func()          // called for each wait; may be nil
	start     time.Time       // of the window, which has one hour
	ahead     time.Duration   // that the command's clock is ahead

	fields map[string]string // of every accepted event

	stdout, stderr bytes.Buffer
}

// newSimulator starts the simulator of a SIEM.
func newSimulator(t *testing.T, name string, o siem.Options) siem.Simulator {
	t.Helper()
	list := catalog.List()
	s, err := list[slices.IndexFunc(list, func(s catalog.SIEM) bool { return s.Name == name })].New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newAudit(t *testing.T, connector string) *audit {
	t.Helper()
	a := &audit{t: t, connector: connector, stack: newFakeStack(t),
		start: time.Now().Add(-2 * time.Hour).Truncate(time.Second)}
	a.fields = map[string]string{"index": "arbitex", "source": "arbitex-platform", "service": "arbitex",
		"ddsource": "arbitex-audit", "_sourceCategory": "arbitex/audit", "_dataset": "arbitex_audit_raw"}
	simulator := newSimulator(t, connector, siem.Options{Plain: true})
	t.Cleanup(func() { simulator.Close() })
	searchable, ok := simulator.(siem.Searchable)
	if !ok && len(search.Variables(connector)) == 0 {
		t.Skipf("NOT TESTED: siemctl has no search for %s", connector)
	}
	if !ok {
		t.Fatalf("the simulator of %s has no search", connector)
	}
	a.siem = searchable
	own, err := json.Marshal(a.siem.Settings()) // a connector's settings are in its secret
	if err != nil {
		t.Fatal(err)
	}
	a.stack.secret, a.stack.environment = string(own), map[string]string{}
	a.env = a.siem.SearchSettings()
	if connector == "qradar" {
		c, err := find([]string{connector})
		if err != nil {
			t.Fatal(err)
		}
		a.encoder = c[0].Open(settings.New(func(string) string { return "" }, a.siem.Settings()))
	}
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_REGION": cloud.Region,
		"AWS_ENDPOINT_URL": a.stack.server.URL, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": filepath.Join(t.TempDir(), "none"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(t.TempDir(),
			"none"),
	} {
		t.Setenv(name, value)
	}
	return a
}

// eachSIEM runs a test for every SIEM.
func eachSIEM(t *testing.T, test func(t *testing.T, a *audit)) {
	t.Helper()
	for _, entry := range catalog.List() {
		t.Run(entry.Name, func(t *testing.T) { test(t, newAudit(t, entry.Name)) })
	}
}

// run runs siemctl in this process, without real waits, and returns the exit code.
func (a *audit) run(args ...string) int {
	a.t.Helper()
	a.stdout.Reset()
	a.stderr.Reset()
	env := func(name string) string {
		if name == "NO_COLOR" {
			return "1"
		}
		return a.env[name]
	}
	ctx := a.t.Context()
	now := func() time.Time { return time.Now().Add(a.ahead) }
	command := &app{env: env, now: now, out: term.New(&a.stdout, &a.stderr, env), in: term.NewInput(strings.NewReader(""))}
	command.pause = func(ctx context.Context, d time.Duration) error {
		a.waits = append(a.waits, d)
		if a.wait != nil {
			a.wait()
		}
		return ctx.Err()
	}
	command.out.JSON = wantsJSON(args)
	root := command.root()
	root.SetArgs(append(args, "--stack", "receipts"))
	root.SetOut(io.Discard)
	root.SetErr(io.Discard)
	return command.exit(ctx, root.ExecuteContext(ctx))
}

func (a *audit) reconcile(more ...string) int {
	a.t.Helper()
	return a.run(append([]string{"reconcile", a.connector, "--from", a.start.Format(time.RFC3339),
		"--to", a.start.Add(time.Hour).Format(time.RFC3339)}, more...)...)
}

// evidence returns the report of the last run, after it has checked its hash.
func (a *audit) evidence() report {
	a.t.Helper()
	var e evidence
	if err := json.Unmarshal(a.stdout.Bytes(), &e); err != nil {
		a.t.Fatalf("%v: %s%s", err, &a.stdout, &a.stderr)
	}
	var body bytes.Buffer
	if err := json.Compact(&body, e.Report); err != nil {
		a.t.Fatal(err)
	}
	if sum := sha256.Sum256(body.Bytes()); hex.EncodeToString(sum[:]) != e.SHA256 {
		a.t.Errorf("sha256 is %s, that of the body is %x", e.SHA256, sum)
	}
	var r report
	if err := json.Unmarshal(e.Report, &r); err != nil {
		a.t.Fatal(err)
	}
	return r
}

func eventID(n int) string { return fmt.Sprintf("0190a3b4-0000-7000-8000-%012d", n) }

func (a *audit) event(n int, operation string) []byte {
	return fmt.Appendf(nil, `{"class_uid":6003,"time":%d,"metadata":{"uid":"%s"},"api":{"operation":"%s"}}`,
		a.start.UnixMilli()+int64(n%3_000_000), eventID(n), operation)
}

func contentHash(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:8])
}

// accepted is an event as the SIEM holds it. sent is the event that was delivered under the id.
func (a *audit) accepted(body, sent []byte, copied int) siem.Accepted {
	held := siem.Accepted{ID: siem.OwnID(sent), Event: body, Fields: a.fields}
	switch a.connector {
	case "elastic":
		held.Fields = map[string]string{"_index": fmt.Sprint("arbitex-audit-", copied), "_id": held.ID + "-" +
			contentHash(sent)}
	case "qradar":
		var e event.Event
		if err := new(event.Parser).Parse(body, &e); err != nil {
			a.t.Fatal(err)
		}
		message, _, err := a.encoder.Append(nil, &e)
		if err != nil {
			a.t.Fatal(err)
		}
		held.Event, held.Fields = nil, map[string]string{"message": string(message)}
	}
	return held
}

// deliver writes receipts of n events and adds the events to the SIEM, except those that lose selects, twice those that
// twice selects, and with another content those that alter selects. It returns the ids by result.
func (a *audit) deliver(n int, lose, twice, alter func(n int) bool) (missing, repeated, altered []string) {
	a.t.Helper()
	const perLine = 100
	for start := 0; start < n; start += perLine {
		at := a.start.Add(time.Hour * time.Duration(start) / time.Duration(n))
		line := receipts.Line{Stack: "receipts", Connector: a.connector, At: at, Request: fmt.Sprint("r-", start)}
		for i := start; i < min(start+perLine, n); i++ {
			body := a.event(i, "login")
			line.Delivered = append(line.Delivered, [2]string{eventID(i), contentHash(body)})
			switch {
			case lose(i):
				missing = append(missing, eventID(i))
				continue
			case alter(i):
				altered = append(altered, eventID(i))
				a.siem.AcceptAt(at, a.accepted(a.event(i, "logout"), body, 0))
				continue
			case twice(i):
				repeated = append(repeated, eventID(i))
				a.siem.AcceptAt(at.Add(time.Minute), a.accepted(body, body, 1))
			}
			a.siem.AcceptAt(at, a.accepted(body, body, 0))
		}
		text, err := json.Marshal(map[string]any{"receipt": line})
		if err != nil {
			a.t.Fatal(err)
		}
		a.stack.receipts = append(a.stack.receipts, string(text))
	}
	return missing, repeated, altered
}

// every returns a function that selects the first count numbers that leave a remainder.
func every(step, remainder, count int) func(int) bool {
	return func(n int) bool { return n%step == remainder && n/step < count }
}

func idsOf(list []receipts.Event) []string {
	out := make([]string, len(list))
	for i, e := range list {
		out[i] = e.ID
	}
	return out
}

// TestReconcile: of 100,000 events in each SIEM, 37 are missing, 5 are present twice and 3 are altered. The command
// names exactly these, although the SIEM refuses a request because of a limit and has not indexed all events at first.
func TestReconcile(t *testing.T) {
	n := testenv.Scale(100_000, 10_000)
	eachSIEM(t, func(t *testing.T, a *audit) {
		missing, repeated, altered := a.deliver(n, every(n/37, 7, 37), every(n/5, 8, 5), every(n/3, 9, 3))
		for i := range 100 { // without a receipt in the window
			body := a.event(n+i, "login")
			a.siem.AcceptAt(a.start.Add(-time.Minute), a.accepted(body, body, 0))
		}
		a.siem.Inject(siem.Fault{Kind: siem.Product, Code: siem.SearchLimit, Times: 1})
		late := siem.Fault{Kind: siem.Product, Code: siem.SearchLate, Name: "late"}
		a.siem.Inject(late)
		a.wait = func() {
			if slices.Contains(a.waits, 45*time.Second) { // the command asks again
				a.siem.Inject(siem.Fault{Kind: siem.Heal, Name: "late"})
			}
		}
		args := []string{"--output", "json", "--settle", "45s"}
		if a.connector == "qradar" {
			args = append(args, "--events", a.originals(n))
		}
		if code := a.reconcile(args...); code != exitProblems {
			t.Fatalf("exit code %d: %s", code, &a.stderr)
		}
		r := a.evidence()
		if !slices.Equal(idsOf(r.MissingEvents), missing) || !slices.Equal(idsOf(r.RepeatedEvents), repeated) ||
			!slices.Equal(idsOf(r.AlteredEvents), altered) {
			t.Errorf("missing %d, present twice %d, altered %d: %+v", len(r.MissingEvents), len(r.RepeatedEvents),
				len(r.AlteredEvents), r.Counts)
		}
		if len(missing) != 37 || len(repeated) != 5 || len(altered) != 3 {
			t.Errorf("the test lost %d, repeated %d and altered %d", len(missing), len(repeated), len(altered))
		}
		if c := r.Counts; c.Receipts != n || c.Delivered != n || c.Present != n-40 || c.NotCompared != 0 {
			t.Errorf("counts %+v", c)
		}
		if !slices.Contains(a.waits, time.Second) || r.Searches != 3 || r.Query == "" || r.Connector != a.connector {
			t.Errorf("waits %v, %d searches, query %q", a.waits, r.Searches, r.Query)
		}
		if !strings.Contains(a.stderr.String(), `"progress":"events found by the SIEM"`) {
			t.Error("no progress")
		}
	})
}

// originals writes the events to a file.
func (a *audit) originals(n int) string {
	var text bytes.Buffer
	for i := range n {
		text.Write(append(a.event(i, "login"), '\n'))
	}
	name := filepath.Join(a.t.TempDir(), "events.jsonl")
	if err := os.WriteFile(name, text.Bytes(), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return name
}

func never(int) bool { return false }

// TestReconcileExitCode: an event that is present twice is an error only with --strict. Without --events, only the ids
// of QRadar's messages are compared.
func TestReconcileExitCode(t *testing.T) {
	eachSIEM(t, func(t *testing.T, a *audit) {
		a.deliver(50, never, never, never)
		if code := a.reconcile(); code != exitOK || len(a.waits) > 0 && slices.Contains(a.waits, 30*time.Second) {
			t.Errorf("all present: exit code %d, waits %v: %s%s", code, a.waits, &a.stdout, &a.stderr)
		}
		again := a.event(3, "login")
		a.siem.AcceptAt(a.start, a.accepted(again, again, 1))
		if code := a.reconcile(); code != exitOK || !strings.Contains(a.stdout.String(), eventID(3)+" (2 copies)") {
			t.Errorf("one twice: exit code %d: %s%s", code, &a.stdout, &a.stderr)
		}
		if code := a.reconcile("--strict"); code != exitProblems {
			t.Errorf("one twice, --strict: exit code %d", code)
		}
		if code := a.reconcile("--output", "json"); code != exitOK {
			t.Errorf("JSON: exit code %d", code)
		}
		if c := a.evidence().Counts; (c.NotCompared == 50) != (a.connector == "qradar") {
			t.Errorf("%d not compared", c.NotCompared)
		}
	})
}

// TestReconcileAltered: an altered event alone is an error, except with --ids-only.
func TestReconcileAltered(t *testing.T) {
	eachSIEM(t, func(t *testing.T, a *audit) {
		a.deliver(20, never, never, every(20, 3, 1))
		var args []string
		if a.connector == "qradar" {
			args = []string{"--events", a.originals(20)}
		}
		if code := a.reconcile(args...); code != exitProblems || !strings.Contains(a.stdout.String(),
			"altered\n  "+eventID(3)) {
			t.Errorf("exit code %d: %s%s", code, &a.stdout, &a.stderr)
		}
		if code := a.reconcile(append(args, "--ids-only")...); code != exitOK {
			t.Errorf("--ids-only: exit code %d: %s%s", code, &a.stdout, &a.stderr)
		}
		if a.connector == "qradar" { // an event without an original cannot be compared
			if code := a.reconcile("--events", a.originals(19)); code != exitProblems ||
				!strings.Contains(a.stderr.String(), eventID(19)) {
				t.Errorf("without an original: exit code %d: %s", code, &a.stderr)
			}
		}
	})
}
