package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/shared/deadletter"
)

// events makes n events that no other test has.
func events(n int) []string {
	generator := ocsfgen.New(uint64(time.Now().UnixNano()))
	generator.Now = time.Now
	out := make([]string, n)
	for i := range out {
		for out[i] == "" || len(out[i]) > 20_000 { // TestLargestEvents has larger ones
			out[i] = string(generator.Next())
		}
	}
	return out
}

func idOf(event string) string { return siem.EventID([]byte(event)) }

// enqueue sends messages, and returns their ids.
func (w *world) enqueue(t *testing.T, queue string, bodies ...string) []string {
	t.Helper()
	return must(w.cloud.Enqueue(t.Context(), queue, bodies...))(t)
}

// depth returns the number of messages in a queue, including those in flight.
func (w *world) depth(t *testing.T, queue string) int {
	t.Helper()
	waiting, inFlight, err := w.cloud.Depth(t.Context(), queue)
	if err != nil {
		t.Fatal(err)
	}
	return waiting + inFlight
}

func (w *world) deadLetterQueue() string { return w.cloud.Queue("DeadLetterQueue") }

// settle waits until every event is in its SIEM or in the bucket.
func (w *world) settle(t *testing.T, actors ...*actor) {
	t.Helper()
	eventually(t, "the queues to be empty", func() bool {
		for _, a := range actors {
			if w.depth(t, w.cloud.Queue(a.Queue())) > 0 {
				return false
			}
		}
		return w.depth(t, w.deadLetterQueue()) == 0
	})
}

// feed enables the connectors' event source mappings until the test ends.
func (w *world) feed(t *testing.T, actors ...*actor) (stop func()) {
	t.Helper()
	w.enable(t, true, actors)
	stop = sync.OnceFunc(func() { w.enable(t, false, actors) })
	t.Cleanup(stop)
	return stop
}

// enable starts or stops mappings concurrently, because stopping one takes as long as its long poll.
func (w *world) enable(t *testing.T, on bool, actors []*actor) {
	t.Helper()
	var all sync.WaitGroup
	for _, a := range actors {
		all.Go(func() {
			if err := w.cloud.SetEnabled(a.mapping(), on); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// receive receives and deletes all messages of a queue.
func (w *world) receive(t *testing.T, queue string) []types.Message {
	t.Helper()
	var all []types.Message
	for w.depth(t, queue) > 0 {
		out := must(w.sqs.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{
			QueueUrl: &queue, MaxNumberOfMessages: 10, VisibilityTimeout: 5, MessageAttributeNames: []string{"All"},
			MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
		}))(t)
		for _, m := range out.Messages {
			must(w.sqs.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &queue, ReceiptHandle: m.ReceiptHandle}))(t)
		}
		all = append(all, out.Messages...)
	}
	return all
}

// objects returns the keys of the bucket that contain a text.
func (w *world) objects(t *testing.T, with string) []string {
	t.Helper()
	var keys []string
	pages := s3.NewListObjectsV2Paginator(w.s3, &s3.ListObjectsV2Input{Bucket: aws.String(w.bucket())})
	for pages.HasMorePages() {
		for _, o := range must(pages.NextPage(t.Context()))(t).Contents {
			if strings.Contains(*o.Key, with) {
				keys = append(keys, *o.Key)
			}
		}
	}
	return keys
}

func (w *world) bucket() string { return w.cloud.Bucket("DeadLetterBucket") }

func (w *world) object(t *testing.T, key string) string {
	t.Helper()
	out := must(w.s3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(w.bucket()), Key: &key}))(t)
	defer out.Body.Close()
	return string(must(io.ReadAll(out.Body))(t))
}

// letter is a dead letter in the bucket.
type letter = deadletter.Letter

// pending returns the pending dead letters in the bucket.
func (w *world) pending(t *testing.T) (all []letter) {
	t.Helper()
	reader := must(deadletter.NewReader(w.s3, "s3://"+w.bucket()+"/dead-letters"))(t)
	broken := must(reader.Each(t.Context(), deadletter.Filter{}, func(l *letter) error {
		kept := *l
		kept.Body, kept.Line = bytes.Clone(l.Body), bytes.Clone(l.Line)
		all = append(all, kept)
		return nil
	}))(t)
	if broken > 0 {
		t.Errorf("%d lines are not dead letters", broken)
	}
	return all
}

// emptyBucket deletes all objects of the bucket.
func (w *world) emptyBucket(t *testing.T) {
	t.Helper()
	for _, key := range w.objects(t, "") {
		must(w.s3.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(w.bucket()), Key: aws.String(key)}))(t)
	}
}

const replayPath = "/api/admin/siem/replay-dead-letter"

// replayed is the replay's response to a POST.
type replayed struct {
	Replayed, Skipped, Remaining int
	ByConnector                  map[string]int `json:"by_connector"`
	DryRun                       bool           `json:"dry_run"`
	Errors                       []string
}

// ask calls the function URL and decodes the response into v.
func (w *world) ask(t *testing.T, method, body string, v any) int {
	t.Helper()
	request := must(http.NewRequestWithContext(t.Context(), method, w.cloud.URL("ReplayFunction")+replayPath,
		bytes.NewReader([]byte(body))))(t)
	request.Header.Set("Content-Type", "application/json")
	response := must(http.DefaultClient.Do(request))(t)
	defer response.Body.Close()
	text := must(io.ReadAll(response.Body))(t)
	if response.StatusCode == http.StatusOK {
		if err := json.Unmarshal(text, v); err != nil {
			t.Fatalf("%s %s: %s: %v", method, body, text, err)
		}
	}
	return response.StatusCode
}

func (w *world) replay(t *testing.T, body string) replayed {
	t.Helper()
	var r replayed
	if status := w.ask(t, http.MethodPost, body, &r); status != http.StatusOK {
		t.Fatalf("replaying %s: status %d", body, status)
	}
	return r
}

func (w *world) counts(t *testing.T) map[string]int {
	t.Helper()
	var r struct{ Pending map[string]int }
	if status := w.ask(t, http.MethodGet, "", &r); status != http.StatusOK {
		t.Fatalf("counting: status %d", status)
	}
	return r.Pending
}

// message is a record of an SQS event.
type message struct {
	body       string // its bytes as they are
	receives   int    // 0 means 1
	id         string // empty means a generated one
	attributes map[string]string
}

// payload returns an SQS event from a connector's queue. A body that is not UTF-8 is written as it is, so it must hold
// nothing that JSON escapes.
func payload(a *actor, messages ...message) []byte {
	var out bytes.Buffer
	out.WriteString(`{"Records":[`)
	for i, m := range messages {
		if i > 0 {
			out.WriteByte(',')
		}
		id := m.id
		if id == "" {
			id = fmt.Sprintf("%08d-0000-4000-8000-%012d", i, time.Now().UnixNano()%1e12)
		}
		attributes := map[string]map[string]string{}
		for name, value := range m.attributes {
			attributes[name] = map[string]string{"stringValue": value, "dataType": "String"}
		}
		fmt.Fprintf(&out, `{"messageId":%q,"receiptHandle":"generated-%d","body":%s,`+
			`"attributes":{"ApproximateReceiveCount":"%d","SentTimestamp":"%d"},"messageAttributes":%s,`+
			`"eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:us-east-1:123456789012:siem-%s","awsRegion":"us-east-1"}`,
			id, i, quoted(m.body), max(1, m.receives), time.Now().UnixMilli(), encode(attributes), a.Name)
	}
	out.WriteString(`]}`)
	return out.Bytes()
}

func payloadOf(a *actor, bodies ...string) []byte {
	messages := make([]message, len(bodies))
	for i, body := range bodies {
		messages[i] = message{body: body}
	}
	return payload(a, messages...)
}

// quoted returns a JSON string, or the bytes between quotes if they are not UTF-8.
func quoted(text string) string {
	if strings.ToValidUTF8(text, "") != text {
		return `"` + text + `"`
	}
	return encode(text)
}

func encode(v any) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic(err) // strings and maps of them always marshal
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// compact returns an event without the white space between its tokens.
func compact(t *testing.T, event string) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Compact(&out, []byte(event)); err != nil {
		t.Fatalf("%.100q: %v", event, err)
	}
	return out.String()
}

// vault holds every secret of the run.
type vault struct {
	mu      sync.Mutex
	secrets map[string]string // by secret, what it is
}

// keep adds the values of a secret, except public ones: certificates and key ids.
func (v *vault) keep(values map[string]string) {
	for name, value := range values {
		switch {
		case strings.HasSuffix(name, "_CERT") || strings.HasSuffix(name, "_ID"):
		case strings.HasSuffix(name, "_CLIENT_KEY"):
			v.add(name, pemBody(value))
		case strings.HasPrefix(value, "https://"):
			v.add(name, value)
			v.add(name, value[strings.LastIndexByte(value, '/')+1:])
		default:
			v.add(name, value)
		}
	}
}

// pemBody is a line of a PEM text's inside: what all of it would show by.
func pemBody(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)/2]
}

func (v *vault) add(what, secret string) {
	if len(secret) < 8 {
		panic(what + " is too short to be looked for")
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.secrets == nil {
		v.secrets = map[string]string{}
	}
	v.secrets[secret] = what
}

func (v *vault) all() map[string]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.secrets)
}

// forms returns the forms in which a secret may appear: plain, escaped for URLs, JSON and Go, in base64 at any offset,
// and in hex.
func forms(secret string) []string {
	out := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), hex.EncodeToString([]byte(secret))}
	for _, text := range []any{secret, url.QueryEscape(secret)} {
		quoted, _ := json.Marshal(text) // with <, > and & escaped
		out = append(out, strings.Trim(string(quoted), `"`), strings.Trim(encode(text), `"`))
	}
	goQuoted := fmt.Sprintf("%q", secret)
	out = append(out, goQuoted[1:len(goQuoted)-1])
	again, _ := json.Marshal(goQuoted) // in a log line, which is JSON, of an error that quotes
	for _, text := range []string{string(again), encode(goQuoted)} {
		out = append(out, strings.TrimSuffix(strings.TrimPrefix(text, `"\"`), `\""`))
	}
	for offset := range 3 {
		whole := []byte(strings.Repeat("\x00", offset) + secret)
		whole = whole[:len(whole)/3*3]
		first := 0
		if offset > 0 {
			first = 4 // what other bytes are in
		}
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			if text := encoding.EncodeToString(whole)[first:]; len(text) >= 8 {
				out = append(out, text)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// said returns everything that the functions produced, except their requests to SIEMs.
func (w *world) said() map[string]string {
	said := map[string]string{"standard output": w.output.String()}
	for i, e := range w.gate.since(time.Time{}, "") {
		if strings.HasPrefix(e.door, "siem:") {
			continue
		}
		said[fmt.Sprintf("request %d: %s", i, e.step)] = e.path + "\n" + fmt.Sprint(e.header) + "\n" + string(e.request)
		if e.name != "GetSecretValue" && e.name != "next" {
			said[fmt.Sprintf("answer %d: %s", i, e.step)] = string(e.answer)
		}
	}
	return said
}

// leaks returns the places where a secret appears.
func (w *world) leaks() []string {
	var found []string
	said := w.said()
	for secret, what := range w.vault.all() {
		for _, form := range forms(secret) {
			for where, text := range said {
				if i := strings.Index(text, form); i >= 0 {
					found = append(found, fmt.Sprintf("%s in %s: …%.200q", what, where, text[max(0, i-80):]))
				}
			}
		}
	}
	return found
}
