package sqsbatch_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/sqsbatch"
	"github.com/arbitex/siem-connectors/shared/sqsevent"
)

// withBody returns a message with that body.
func withBody(id, text string) sqsevent.Message {
	m := message(id, 1)
	m.Body = []byte(text)
	return m
}

// lines decodes the lines of an output.
func lines(t *testing.T, printed string) (all []map[string]any) {
	t.Helper()
	for line := range strings.Lines(printed) {
		if len(line) > 256<<10 {
			t.Errorf("a line has %d bytes, want at most 256 KB", len(line))
		}
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%.200q: %v", line, err)
		}
		all = append(all, v)
	}
	return all
}

func TestReadFilter(t *testing.T) {
	read := func(severity, classes string) (sqsbatch.Filter, error) {
		s := settings.New(func(name string) string {
			return map[string]string{"SIEM_MIN_SEVERITY": severity, "SIEM_CLASSES": classes}[name]
		}, nil)
		f := sqsbatch.ReadFilter(s)
		return f, s.Err()
	}
	if f, err := read("", ""); err != nil || f.MinSeverity != 0 || f.Classes != nil {
		t.Errorf("no settings: %+v, %v", f, err)
	}
	if f, err := read("4", " 6003 , 2001"); err != nil || f.MinSeverity != 4 || fmt.Sprint(f.Classes) != "[6003 2001]" {
		t.Errorf("settings: %+v, %v", f, err)
	}
	for _, bad := range [][2]string{{"7", ""}, {"-1", ""}, {"high", ""}, {"", "6003,"}, {"", "x"}, {"", "-1"},
		{"", "6003;2001"}} {
		if _, err := read(bad[0], bad[1]); err == nil || !strings.Contains(err.Error(), "SIEM_") {
			t.Errorf("%q: %v, want an error that names the setting", bad, err)
		}
	}
}

func TestFilter(t *testing.T) {
	const sent, left = true, false
	for _, c := range []struct {
		filter sqsbatch.Filter
		event  string
		want   bool
	}{
		{sqsbatch.Filter{}, `"severity_id":0,"class_uid":1`, sent},
		{sqsbatch.Filter{}, `"severity_id":-1`, sent},
		{sqsbatch.Filter{MinSeverity: 3}, `"severity_id":3`, sent},
		{sqsbatch.Filter{MinSeverity: 3}, `"severity_id":2`, left},
		{sqsbatch.Filter{MinSeverity: 3}, `"severity_id":0`, left},
		{sqsbatch.Filter{MinSeverity: 6}, `"severity_id":99`, sent},
		{sqsbatch.Filter{MinSeverity: 6}, `"x":1`, sent},
		{sqsbatch.Filter{MinSeverity: 6}, `"severity_id":"low"`, sent},
		{sqsbatch.Filter{Classes: []int64{6003, 2001}}, `"class_uid":2001`, sent},
		{sqsbatch.Filter{Classes: []int64{6003, 2001}}, `"class_uid":3002`, left},
		{sqsbatch.Filter{Classes: []int64{6003, 2001}}, `"x":1`, left},
		{sqsbatch.Filter{Classes: []int64{0}}, `"x":1`, sent},
		{sqsbatch.Filter{MinSeverity: 3, Classes: []int64{6003}}, `"class_uid":6003,"severity_id":2`, left},
	} {
		h := newHandler(&queue{})
		h.Filter = c.filter
		kept, printed := h.handle(t.Context(), t, withBody("m", `{"time":1741824000000,`+c.event+`}`))
		want := `"Received":1,"Delivered":1,"Requests":1`
		if c.want == left {
			want = `"Received":1,"Delivered":0,"Filtered":1,"Requests":0`
		}
		if kept != nil || !strings.Contains(printed, want) || strings.Contains(printed, `"filtered":1`) == c.want {
			t.Errorf("%+v, %s: kept %v, printed %s\nwant %s", c.filter, c.event, kept, printed, want)
		}
	}
}

func TestReceipts(t *testing.T) {
	h := newHandler(&queue{})
	h.Receipts = true
	ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "request-1"})
	long := strings.Repeat("secret text ", 6)
	noID := "{ \"time\": 1741824000000 }"
	_, printed := h.handle(ctx, t, array("m", 1, "ok-1", "retry-1", `q"1`), withBody("n", body(long)),
		withBody("o", noID), message("reject-1", 1))
	hash := func(text string, digits int) string {
		sum := sha256.Sum256([]byte(text))
		return hex.EncodeToString(sum[:])[:digits]
	}
	compact := strings.ReplaceAll(noID, " ", "")
	want := map[string]any{"receipt": map[string]any{
		"stack": "test", "connector": "splunk", "at": "2025-03-13T00:00:05.000Z", "request": "request-1",
		"delivered": []any{
			[]any{"ok-1", hash(body("ok-1"), 16)}, []any{`q"1`, hash(body(`q"1`), 16)},
			[]any{hash(body(long), 32), hash(body(long), 16)}, []any{hash(compact, 32), hash(compact, 16)},
		},
	}}
	all := lines(t, printed)
	if fmt.Sprint(all[0]) != fmt.Sprint(want) || len(all) != 3 {
		t.Errorf("%d lines, the first is\n%v\nwant\n%v", len(all), all[0], want)
	}
	if last := all[len(all)-1]; last["msg"] != "batch" || last["request"] != "request-1" {
		t.Errorf("the batch line is %v, want the request of the receipts in it", last)
	}
	if strings.Contains(printed, "secret text") {
		t.Errorf("printed event text: %s", printed)
	}
}

// TestReceiptsAreBounded: receipts take as many lines as they need, and name every delivered event once.
func TestReceiptsAreBounded(t *testing.T) {
	h := newHandler(&queue{})
	h.Receipts = true
	const n = 6000
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprintf(`{"time":1,"metadata":{"uid":"%s%05d"}}`, strings.Repeat("\\u0001", 50), i)
	}
	var messages []sqsevent.Message
	for i := 0; i < n; i += 1000 {
		messages = append(messages, withBody(fmt.Sprint(i), "["+strings.Join(texts[i:i+1000], ",")+"]"))
	}
	_, printed := h.handle(t.Context(), t, messages...)
	seen, receipts := map[string]bool{}, 0
	for _, line := range lines(t, printed) {
		if r, ok := line["receipt"].(map[string]any); ok {
			receipts++
			for _, pair := range r["delivered"].([]any) {
				seen[pair.([]any)[0].(string)] = true
			}
		}
	}
	if len(seen) != n || receipts < 8 || receipts > 12 {
		t.Errorf("%d events in %d lines, want %d", len(seen), receipts, n)
	}
}

// TestLogIsBounded: a log line names at most a few ids, for any number of events, and no id that may be event text.
func TestLogIsBounded(t *testing.T) {
	var messages []sqsevent.Message
	for i := range 40 {
		messages = append(messages, message(fmt.Sprintf("short-%d-%s", i, strings.Repeat("secret text ", 5000)), 1),
			message(fmt.Sprintf("short-%d", i), 1))
	}
	_, printed := handle(t, &queue{}, messages...)
	if strings.Contains(printed, "secret text") {
		t.Errorf("printed event text: %.300s", printed)
	}
	for _, line := range lines(t, printed) {
		if ids, ok := line["truncated"].([]any); ok {
			if len(ids) != 20 || ids[1] != "short-0" || len(ids[0].(string)) != 32 {
				t.Errorf("%d ids %v, want 20: a long one as a hash", len(ids), ids)
			}
		} else if line["Truncated"] != 80.0 {
			t.Errorf("metrics %v, want 80 truncated", line)
		}
	}
}

// TestLogOfManyErrors: different failures, warnings and errors of SQS do not make a line longer than CloudWatch keeps.
func TestLogOfManyErrors(t *testing.T) {
	var messages []sqsevent.Message
	for i := range 400 {
		messages = append(messages, message(fmt.Sprintf("e-%d", i), 1))
	}
	h := newHandler(&queue{err: errors.New(strings.Repeat("no SQS ", 1000))})
	h.siem.send = func(_ context.Context, b *deliver.Batch) error {
		id := string(b.Events[0].AppendID(nil))
		b.Warn(id + strings.Repeat("w", 5000))
		return &failure.Error{Status: 500, Code: id + strings.Repeat("c", 20000)}
	}
	_, printed := h.handle(t.Context(), t, messages...)
	for _, line := range lines(t, printed) {
		if failures, ok := line["failures"].(map[string]any); ok {
			sum := 0.0
			for _, n := range failures {
				sum += n.(float64)
			}
			if len(failures) != 20 || sum != 400 || len(line["queue_errors"].([]any)) != 20 ||
				len(line["warnings"].([]any)) != 20 {
				t.Errorf("%d failures of %v events, %d errors of SQS, %d warnings", len(failures), sum,
					len(line["queue_errors"].([]any)), len(line["warnings"].([]any)))
			}
			if last := line["queue_errors"].([]any)[19]; last != "21 more errors" {
				t.Errorf("the last error of SQS is %v, want how many there are more", last)
			}
		}
	}
}

// TestTimes: the delay is measured from the event's own time, whatever it is, and odd times are warned about once.
func TestTimes(t *testing.T) {
	for name, c := range map[string]struct {
		times    []string
		want     string // of the metrics
		warnings string
	}{
		"milliseconds":  {[]string{"1741824004000", "1741824002000"}, `,"EndToEndMilliseconds":3000}`, "<nil>"},
		"in the future": {[]string{"1741824006000"}, `"DeliveryMilliseconds":0}`, "<nil>"},
		"zero": {[]string{"0"}, `,"EndToEndMilliseconds":1741824005000}`,
			"[time: is 0 or in the year 9999 in 1 events]"},
		"year 9999": {[]string{"253402300799999", "0"}, `,"EndToEndMilliseconds":1741824005000}`,
			"[time: is 0 or in the year 9999 in 2 events]"},
		"seconds": {[]string{"1741824000", "1741824001.0"}, `,"EndToEndMilliseconds":5000}`,
			"[time: expected Unix milliseconds, converted from another unit in 2 events]"},
		"other units": {[]string{"1741824004000000", "1741824004000000000", "1741824004000"},
			`,"EndToEndMilliseconds":1000}`, "[time: expected Unix milliseconds, converted from another unit in 2 events]"},
		"none delivered": {nil, `"DeliveryMilliseconds":0}`, "<nil>"},
	} {
		var messages []sqsevent.Message
		for i, at := range c.times {
			messages = append(messages, withBody(fmt.Sprint(i), `{"time":`+at+`}`))
		}
		_, printed := handle(t, &queue{}, messages...)
		if !strings.Contains(printed, c.want) {
			t.Errorf("%s: printed %s\nwant %s", name, printed, c.want)
		}
		for _, line := range lines(t, printed) {
			if line["msg"] == "batch" && fmt.Sprint(line["warnings"]) != c.warnings {
				t.Errorf("%s: warnings %v, want %s", name, line["warnings"], c.warnings)
			}
		}
	}
}
