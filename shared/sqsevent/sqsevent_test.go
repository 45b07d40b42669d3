package sqsevent_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"

	"github.com/arbitex/siem-connectors/shared/sqsevent"
)

const samplePayload = `{"Records":[
 {"messageId":"m-1","receiptHandle":"r\/1","body":"{\"a\":\"\\u00e9 \u00e9\\n\"}",
	"attributes":{"ApproximateReceiveCount":"3","SentTimestamp":"1741824000123","SenderId":"x"},
  "messageAttributes":{"replays":{"stringValue":"2","dataType":"Number","stringListValues":[],"binaryListValues":[]},
	"blob":{"binaryValue":"AAA=","dataType":"Binary"}},
  "md5OfBody":"0","eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:eu-central-1:1:q","awsRegion":"eu-central-1",
  "someday":{"new":[1,{"x":null}]}},
 {"body":"two","attributes":{"DeadLetterQueueSourceArn":"arn:aws:sqs:eu-central-1:1:src",
	"ApproximateReceiveCount":"x"},"messageId":"m-2","messageAttributes":null},
 {"messageId":"m-3","body":"","messageAttributes":{"attempts":{"stringValue":"4","dataType":"Number"},"none":null}}
]}`

func TestPayload(t *testing.T) {
	var p sqsevent.Payload
	if err := p.Read([]byte(samplePayload)); err != nil {
		t.Fatal(err)
	}
	if len(p.Messages) != 3 || p.Check {
		t.Fatalf("read %d messages, check %v", len(p.Messages), p.Check)
	}
	a, b := p.Messages[0], p.Messages[1]
	if string(a.ID) != "m-1" || string(a.Receipt) != "r/1" || string(a.Body) != `{"a":"\u00e9 é\n"}` || a.Receives != 3 ||
		a.Sent != 1741824000123 || string(a.Attribute("replays")) != "2" || a.Attribute("blob") != nil ||
		string(a.SourceARN) != "arn:aws:sqs:eu-central-1:1:q" {
		t.Errorf("first message: %+v", a)
	}
	if string(b.ID) != "m-2" || string(b.Body) != "two" || b.Receives != 1 ||
		string(b.DeadLetterQueue) != "arn:aws:sqs:eu-central-1:1:src" || len(b.Attributes) != 0 ||
		string(a.Sender) != "x" || b.Sender != nil {
		t.Errorf("second message: %+v", b)
	}
	if c := p.Messages[2]; len(c.Attributes) != 1 || c.Count("attempts") != 4 || c.Body == nil {
		t.Errorf("third message: %+v", c)
	}
}

func TestCount(t *testing.T) {
	for value, want := range map[string]int{"3": 3, "0": 0, "-1": 0, "1000000": 1000000, "1000001": 0,
		"99999999999999999999": 0, "1.5": 0, "": 0, "x": 0} {
		m := sqsevent.Message{Attributes: []sqsevent.Attribute{{Name: []byte("attempts"), Type: []byte("Number"),
			Value: []byte(value)}}}
		if got := m.Count("attempts"); got != want {
			t.Errorf("%q counts as %d, want %d", value, got, want)
		}
	}
	m := sqsevent.Message{Attributes: []sqsevent.Attribute{{Name: []byte("attempts"), Type: []byte("String"),
		Value: []byte("3")}}}
	if m.Count("attempts") != 0 || m.Count("replays") != 0 {
		t.Errorf("an attribute of type String counts as %d, an absent one as %d, want 0", m.Count("attempts"),
			m.Count("replays"))
	}
}

func TestPayloadKeepsInvalidUTF8(t *testing.T) {
	var p sqsevent.Payload
	if err := p.Read([]byte("{\"Records\":[{\"messageId\":\"m\",\"body\":\"a\xff\\n\"}]}")); err != nil {
		t.Fatal(err)
	}
	if got := string(p.Messages[0].Body); got != "a\xff\n" {
		t.Errorf("body is %q, want its bytes unchanged", got)
	}
}

func TestPayloadErrors(t *testing.T) {
	for payload, want := range map[string]string{
		``:                         "payload: expected an object, found the end at byte 0",
		`[]`:                       "payload: expected an object, found '['",
		`{}`:                       "expected an SQS event",
		`{"check":false}`:          "expected an SQS event",
		`{"Records":5}`:            "expected an array, found '5' at byte 11",
		`{"Records":[7]}`:          "expected an object, found '7' at byte 12",
		`{"Records":[{"body":7}]}`: "expected a string, found '7' at byte 20",
		`{"Records":[{"body":"x]}`: "expected a string, found the end",
		`{"Records":[]`:            "expected a comma or }, found the end",
		`{"Records":[]}x`:          "expected the end, found 'x' at byte 14",
		`{"Records":[{"a":nul}]}`:  "expected a JSON value, found",
		`{"Records":[{"a":1}{}]}`:  "expected a comma or ], found '{'",
		`{"Records":[{"a" 1}]}`:    "expected a colon, found '1'",
		"{\"Records\":[{\"messageId\":\"\x01\"}]}": `expected a string, found '\x01'`,
	} {
		var p sqsevent.Payload
		if err := p.Read([]byte(payload)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", payload, err, want)
		}
		if len(p.Messages) != 0 {
			t.Errorf("%s: there are messages despite the error", payload)
		}
	}
	var p sqsevent.Payload
	if err := p.Read([]byte(` {"check" : true, "x":[]} `)); err != nil || !p.Check {
		t.Errorf("check: %v %v", p.Check, err)
	}
	if err := p.Read([]byte(`{"Records":[]}`)); err != nil || p.Check {
		t.Errorf("no records: %v", err)
	}
}

// FuzzPayload compares with what aws-lambda-go reads from the same payload.
func FuzzPayload(f *testing.F) {
	f.Add([]byte(samplePayload))
	f.Add([]byte(`{"Records":[]}`))
	f.Add([]byte(`{"Records":[{"messageId":"a","body":"\ud800\ud83d\ude00",` +
		`"messageAttributes":{"a\"":{"stringValue":"","dataType":"String"}}}],"Records":[{"body":"b"}]}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		var want events.SQSEvent
		wantErr := json.Unmarshal(payload, &want)
		foreign := keysDifferByCase(payload)
		var p sqsevent.Payload
		err := p.Read(bytes.Clone(payload))
		if wantErr != nil || foreign {
			return // values that are skipped need not have the right type
		}
		if err != nil {
			if want.Records != nil {
				t.Fatalf("%q: %v, and aws-lambda-go reads it", payload, err)
			}
			return
		}
		if len(p.Messages) != len(want.Records) || p.Check {
			if countKey(payload, "Records") == 1 {
				t.Fatalf("%q: %d messages, want %d", payload, len(p.Messages), len(want.Records))
			}
			return
		}
		for i, m := range p.Messages {
			r := want.Records[i]
			for name, pair := range map[string][2]string{
				"messageId": {string(m.ID), r.MessageId}, "receiptHandle": {string(m.Receipt), r.ReceiptHandle},
				"body": {string(m.Body), r.Body}, "eventSourceARN": {string(m.SourceARN), r.EventSourceARN},
			} {
				if got := replaceInvalid(pair[0]); got != pair[1] && countKey(payload, name) <= len(p.Messages) {
					t.Fatalf("%q: %s is %q, want %q", payload, name, got, pair[1])
				}
			}
		}
	})
}

// replaceInvalid replaces bytes that are not UTF-8 as encoding/json does.
func replaceInvalid(s string) string {
	var b strings.Builder
	for _, r := range s {
		b.WriteRune(r) // ranging gives U+FFFD for each invalid byte
	}
	return b.String()
}

func countKey(payload []byte, key string) int { return bytes.Count(payload, []byte(`"`+key+`"`)) }

// keysDifferByCase reports whether a payload has keys that match Lambda's only without regard to case, as in
// encoding/json, or that contain escapes. The keys of such a payload cannot be counted by their text.
func keysDifferByCase(payload []byte) bool {
	lower := bytes.ToLower(payload)
	for _, key := range []string{"Records", "messageId", "receiptHandle", "body", "attributes", "messageAttributes",
		"eventSourceARN"} {
		if bytes.Count(lower, []byte(`"`+strings.ToLower(key)+`"`)) != countKey(payload, key) {
			return true
		}
	}
	return !utf8.Valid(payload) && bytes.ContainsAny(payload, "ſK") || bytes.Contains(payload, []byte("ſ")) ||
		bytes.Contains(payload, []byte("\u212a"))
}

func BenchmarkPayload(b *testing.B) {
	body := `{\"class_uid\":6003,\"time\":1741824000123,\"actor\":{\"user\":{\"uid\":\"user_abc\",` +
		`\"email_addr\":\"alice@example.com\"}},\"message\":\"` + strings.Repeat("some words ", 60) + `\"}`
	record := `{"messageId":"059f36b4-87a3-44ab-83d2-661975830a7d","receiptHandle":"` + strings.Repeat("AQEBw", 60) +
		`","body":"` + body +
		`","attributes":{"ApproximateReceiveCount":"1","SentTimestamp":"1545082649183",` +
		`"SenderId":"AIDAIENQZJOLO23YVJ4VO","ApproximateFirstReceiveTimestamp":"1545082649185"},` +
		`"messageAttributes":{},"md5OfBody":"e4e68fb7bd0e697a0ae8f1bb342846b3","eventSource":"aws:sqs",` +
		`"eventSourceARN":"arn:aws:sqs:us-east-2:123456789012:my-queue","awsRegion":"us-east-2"}`
	payload := []byte(`{"Records":[` + strings.TrimSuffix(strings.Repeat(record+",", 100), ",") + `]}`)
	b.Run("ours", func(b *testing.B) {
		var p sqsevent.Payload
		work := make([]byte, len(payload))
		b.SetBytes(int64(len(payload)))
		b.ReportAllocs()
		for b.Loop() {
			copy(work, payload)
			if err := p.Read(work); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("events.SQSEvent", func(b *testing.B) {
		b.SetBytes(int64(len(payload)))
		b.ReportAllocs()
		for b.Loop() {
			var e events.SQSEvent
			if err := json.Unmarshal(payload, &e); err != nil {
				b.Fatal(err)
			}
		}
	})
}
