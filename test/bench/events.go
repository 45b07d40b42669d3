package main

import (
	"fmt"
	"strings"

	"github.com/arbitex/siem-connectors/shared/jsonscan"
)

// makePayloads returns SQS events with count distinct OCSF events of about size bytes, batch per invocation.
func makePayloads(count, batch, size int) [][]byte { return makeMessages(count, batch, 1, size) }

// makeMessages is makePayloads with several events per message.
func makeMessages(count, batch, perMessage, size int) [][]byte {
	var all [][]byte
	for from := 0; from < count; from += batch {
		p := []byte(`{"Records":[`)
		for n := from; n < min(from+batch, count); n += perMessage {
			if n > from {
				p = append(p, ',')
			}
			p = fmt.Appendf(p, `{"messageId":"059f36b4-87a3-44ab-83d2-%012d","receiptHandle":"%s","body":`, n,
				strings.Repeat("AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a", 5))
			p = jsonscan.AppendQuoted(p, makeBody(n, perMessage, size))
			p = fmt.Appendf(p, `,"attributes":{"ApproximateReceiveCount":"1","SentTimestamp":"1545082649183",`+
				`"SenderId":"AIDAIENQZJOLO23YVJ4VO","ApproximateFirstReceiveTimestamp":"1545082649185"},`+
				`"messageAttributes":{},"md5OfBody":"e4e68fb7bd0e697a0ae8f1bb342846b3","eventSource":"aws:sqs",`+
				`"eventSourceARN":"arn:aws:sqs:eu-central-1:123456789012:queue","awsRegion":"eu-central-1"}`)
		}
		all = append(all, append(p, `]}`...))
	}
	return all
}

// makeBody returns a message's body: event n, or an array of the events from n on.
func makeBody(n, events, size int) string {
	if events == 1 {
		return makeEvent(n, size)
	}
	list := make([]string, events)
	for i := range list {
		list[i] = makeEvent(n+i, size)
	}
	return "[" + strings.Join(list, ",") + "]"
}

// lines returns the same events, one per line.
func lines(count, size int) string {
	var b strings.Builder
	for n := range count {
		b.WriteString(makeEvent(n, size))
		b.WriteByte('\n')
	}
	return b.String()
}

// marker is in every event once, and in no other text of a connector.
const marker = "src_endpoint"

// makeEvent returns event n: the fields that a connector reads, and different words up to the size. A small event has
// few of the fields.
func makeEvent(n, size int) string {
	e := fmt.Sprintf(`{"class_uid":6003,"category_uid":6,"activity_id":1,"type_uid":600301,"time":%d,"severity_id":1,`+
		`"actor":{"user":{"uid":"user_%d","name":"user %d","email_addr":"user%d@example.com",`+
		`"groups":[{"uid":"finance-team"},{"uid":"team-%d"}]}},`+
		`"api":{"request":{"uid":"%08x-0000-4000-8000-%012x"},"operation":"chat_completion"},`+
		`"src_endpoint":{"ip":"10.1.%d.%d"},"metadata":{"uid":"evt-%d","version":"1.1.0","product":{"name":"Arbitex",`+
		`"vendor_name":"Arbitex"}},`+
		`"unmapped":{"model_id":"gpt-4o","policy_action":"allow","dlp_labels":["pii","secret-%d"],"tokens_input":%d,`+
		`"tokens_output":%d},"message":"`,
		1741824000000+n, n%977, n%977, n%977, n%13, n*7919, n, n/256%256, n%256, n, n%5, n%4096, n%1024)
	if size < len(e) {
		e = fmt.Sprintf(`{"time":%d,"class_uid":6003,"metadata":{"uid":"evt-%d"},"src_endpoint":{"ip":"10.1.%d.%d"},`+
			`"message":"`, 1741824000000+n, n, n/256%256, n%256)
	}
	var b strings.Builder
	b.WriteString(e)
	for x := uint32(n)*2654435761 + 1; b.Len() < size-2; x = x*1664525 + 1013904223 {
		b.WriteString(words[x>>24%uint32(len(words))])
		b.WriteByte(' ')
	}
	text := b.String()
	return text[:max(len(e), min(len(text), size-2))] + `"}`
}

var words = strings.Fields("policy request allowed model prompt redacted reviewed account token session region " +
	"budget limit exceeded normal audit export search summary draft contract invoice customer ticket incident response " +
	"latency cache retry queue event")
