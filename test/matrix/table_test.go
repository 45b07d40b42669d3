package matrix

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/docgen"
)

// render returns all results.
func render(list []section, all []*target, results *cells) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d cells. *delivered*: the SIEM has the event. *n s*: it is retried after n seconds; 300 s is the "+
		"longest back-off, "+
		"for what an operator must fix. *dead letter*: it is on the dead-letter queue. *error*: the function returns an "+
		"error, and SQS "+
		"redelivers the batch. On attempt %d, an event that is not delivered is a dead letter; the last column is its "+
		"reason, for the first "+
		"connector that has one. \"…\" replaces text that differs between runs.\n", len(results.outcomes), maxAttempts)
	for _, s := range list {
		fmt.Fprintf(&b, "\n### %s\n\n", s.title)
		if s.text != "" {
			b.WriteString(s.text + "\n\n")
		}
		s.table(&b, s.columns(all), results)
	}
	return b.String()
}

func (s *section) table(b *strings.Builder, columns []*target, results *cells) {
	b.WriteString("| |")
	for _, c := range columns {
		b.WriteString(" " + c.name + " |")
	}
	b.WriteString(" reason |\n|" + strings.Repeat(" --- |", len(columns)+2) + "\n")
	for _, r := range s.rows {
		fmt.Fprintf(b, "| %s |", r.name)
		reason := ""
		for _, c := range columns {
			outcome, ok := results.outcomes[s.title+r.name+"/"+c.name]
			if !ok {
				outcome = none
			}
			fmt.Fprintf(b, " %s |", outcome)
			if reason == "" {
				reason = tidy(results.reasons[s.title+r.name+"/"+c.name])
			}
		}
		fmt.Fprintf(b, " %s |\n", reason)
	}
}

// tidying removes what differs between runs and machines, and the bodies of responses.
func tidying() []struct {
	what *regexp.Regexp
	with string
} {
	return []struct {
		what *regexp.Regexp
		with string
	}{
		{regexp.MustCompile(`^given up after [0-9]+ attempts, the last of which: `), ""},
		{regexp.MustCompile(`127\.0\.0\.1:[0-9]+(->127\.0\.0\.1:[0-9]+)?`), "127.0.0.1"},
		{regexp.MustCompile(`current time \S+ is after [^\s;]+`), "…"},
		{regexp.MustCompile(`lookup no-such-host\.invalid[^;]*`), "lookup no-such-host.invalid: …"},
		{regexp.MustCompile(`"(you sent|\\x1f|[{<])(\\.|[^"\\])*("…?|…$)`), "…"},
		{regexp.MustCompile(`acknowledged [0-9]+ bytes`), "acknowledged … bytes"},
		{regexp.MustCompile(`(read|write|dial) (tcp|udp) 127\.0\.0\.1: `), ""},
		// A closed connection is an EOF, a reset or a broken pipe, depending on the timing.
		{regexp.MustCompile(`(unexpected )?EOF|(read|write): (connection reset by peer|broken pipe)|use of closed network ` +
			`connection|http: server closed idle connection`), "*connection closed*"},
	}
}

// tidy shortens a reason for a table that is compared.
func tidy(reason string) string {
	const most = 250
	for _, t := range tidying() {
		reason = t.what.ReplaceAllString(reason, t.with)
	}
	if r := []rune(reason); len(r) > most {
		reason = string(r[:most]) + "…"
	}
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "\n", " ").Replace(reason)
}

// results holds the outcome of every cell. The document has the summary.
const results = "testdata/results.txt"

// compare compares the results and the summary with the run, or writes them.
func compare(t *testing.T, list []section, all []*target, cells *cells) {
	t.Helper()
	docgen.Check(t, filepath.Join("..", "..", "docs", "reliability.md"), "matrix", summary(list, cells), *update)
	table := render(list, all, cells)
	if *update {
		if err := os.WriteFile(results, []byte(table), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	old, err := os.ReadFile(results)
	if err != nil {
		t.Fatal(err)
	}
	if string(old) != table {
		t.Errorf("%s differs from this run; make matrix UPDATE=1 writes it:\n%s", results, docgen.Diff(string(old), table))
	}
}

// summary counts the cells by outcome.
func summary(list []section, cells *cells) string {
	count := map[string]int{}
	for _, outcome := range cells.outcomes {
		count[outcome]++
	}
	counted := count["delivered"] + count[again] + count[held]
	return fmt.Sprintf("%d cells in %d sections: %d delivered, %d retried after 1 s, %d held for 300 s, %d with another "+
		"outcome.", len(cells.outcomes), len(list), count["delivered"], count[again], count[held],
		len(cells.outcomes)-counted)
}

const (
	ownQueue  = "https://sqs.test/123456789012/own"
	deadQueue = "https://sqs.test/123456789012/dead"
	secretID  = "matrix"
)

// account is SQS and Secrets Manager, as one function uses them.
type account struct {
	*httptest.Server

	secret string // JSON

	mu          sync.Mutex
	waits       map[string]int // seconds, by receipt
	deadLetters []deadLetter
	reads       int  // of the secret
	hang        bool // after the first read of the secret
	wrong       []string
}

// deadLetter is a message on the dead-letter queue.
type deadLetter struct {
	body       string
	attributes map[string]string
}

func newAccount(secret string, hang bool) *account {
	a := &account{secret: secret, hang: hang, waits: map[string]int{}}
	a.Server = httptest.NewServer(a)
	return a
}

// call is a request of any of the three operations.
type call struct {
	QueueUrl, SecretId string //nolint:revive // AWS's own names
	Entries            []struct {
		Id, ReceiptHandle, MessageBody string //nolint:revive // as above
		VisibilityTimeout              int
		MessageAttributes              map[string]struct{ DataType, StringValue string }
	}
}

// ServeHTTP answers in AWS's JSON protocol, whose header names the operation.
func (a *account) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var c call
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &c)
	}
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if operation == "GetSecretValue" && a.hangs() {
		<-r.Context().Done()
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var response any
	switch {
	case err == nil && operation == "GetSecretValue" && c.SecretId == secretID:
		a.reads++
		response = map[string]string{"Name": c.SecretId, "SecretString": a.secret, "ARN": "arn", "VersionId": "v"}
	case err == nil && operation == "ChangeMessageVisibilityBatch" && c.QueueUrl == ownQueue:
		response = a.change(&c)
	case err == nil && operation == "SendMessageBatch" && c.QueueUrl == deadQueue:
		response = a.send(&c)
	default:
		a.wrong = append(a.wrong, operation+" "+c.QueueUrl+c.SecretId)
		w.WriteHeader(http.StatusBadRequest)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	_ = json.NewEncoder(w).Encode(response) // fails only if the function has ended
}

// hangs reports whether a read of the secret gets no response.
func (a *account) hangs() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.hang || a.reads == 0 {
		return false
	}
	a.reads++
	return true
}

type done struct{ Successful, Failed []map[string]string }

func (a *account) change(c *call) done {
	d := done{Failed: []map[string]string{}}
	for _, e := range c.Entries {
		a.waits[e.ReceiptHandle] = e.VisibilityTimeout
		d.Successful = append(d.Successful, map[string]string{"Id": e.Id})
	}
	return d
}

func (a *account) send(c *call) done {
	d := done{Failed: []map[string]string{}}
	for _, e := range c.Entries {
		l := deadLetter{body: e.MessageBody, attributes: map[string]string{}}
		for name, v := range e.MessageAttributes {
			l.attributes[name] = v.StringValue
		}
		a.deadLetters = append(a.deadLetters, l)
		sum := md5.Sum([]byte(e.MessageBody))
		d.Successful = append(d.Successful, map[string]string{"Id": e.Id, "MessageId": "m" + e.Id,
			"MD5OfMessageBody": hex.EncodeToString(sum[:])})
	}
	return d
}
