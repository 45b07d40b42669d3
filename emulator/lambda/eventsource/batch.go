package eventsource

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// maxPayloadBytes is the largest payload of an invocation, including the metadata of each message.
// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
const maxPayloadBytes = 6 << 20

const payloadBrackets = len(`{"Records":[]}`)

// Message is a received SQS message.
type Message struct {
	ID                string
	ReceiptHandle     string
	Body              string
	MD5OfBody         string
	MD5OfAttributes   string
	Attributes        map[string]string // system attributes
	MessageAttributes map[string]Attribute
}

// Attribute is a message attribute.
type Attribute struct {
	DataType    string
	StringValue *string
	BinaryValue []byte
}

// record is a message in the event that Lambda passes to a function.
// https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event
type record struct {
	MessageID              string                     `json:"messageId"`
	ReceiptHandle          string                     `json:"receiptHandle"`
	Body                   string                     `json:"body"`
	Attributes             map[string]string          `json:"attributes"`
	MessageAttributes      map[string]recordAttribute `json:"messageAttributes"`
	MD5OfMessageAttributes string                     `json:"md5OfMessageAttributes,omitempty"`
	MD5OfBody              string                     `json:"md5OfBody"`
	EventSource            string                     `json:"eventSource"`
	EventSourceARN         string                     `json:"eventSourceARN"`
	AWSRegion              string                     `json:"awsRegion"`
}

type recordAttribute struct {
	StringValue      *string  `json:"stringValue,omitempty"`
	BinaryValue      []byte   `json:"binaryValue,omitempty"`
	StringListValues []string `json:"stringListValues"`
	BinaryListValues [][]byte `json:"binaryListValues"`
	DataType         string   `json:"dataType"`
}

// batch collects messages until it is passed to the function.
type batch struct {
	cfg      Config
	messages []Message
	bytes    int // of the payload so far
}

func newBatch(cfg Config) *batch { return &batch{cfg: cfg, bytes: payloadBrackets} }

// add adds messages up to the limits of the batch and the payload, and returns the rest. A message that the batch
// already contains replaces the earlier copy, because only the last receipt handle is valid. The first message is
// always added: SQS accepts none that exceeds the payload.
func (b *batch) add(messages []Message) (rest []Message) {
	for i, m := range messages {
		if at := slices.IndexFunc(b.messages, func(have Message) bool { return have.ID == m.ID }); at >= 0 {
			b.messages[at] = m
			continue
		}
		size := recordSize(b.cfg, m) + len(",")
		if len(b.messages) > 0 && (len(b.messages) == b.cfg.BatchSize || b.bytes+size > maxPayloadBytes) {
			return messages[i:]
		}
		b.messages = append(b.messages, m)
		b.bytes += size
	}
	return nil
}

func recordSize(cfg Config, m Message) int {
	data, err := marshal(cfg, m)
	if err != nil {
		return 0 // encode returns the error
	}
	return len(data)
}

// encode returns the event that Lambda passes to the function.
func encode(cfg Config, messages []Message) ([]byte, error) {
	out := bytes.NewBufferString(`{"Records":[`)
	for i, m := range messages {
		if i > 0 {
			out.WriteByte(',')
		}
		data, err := marshal(cfg, m)
		if err != nil {
			return nil, fmt.Errorf("message %s: %w", m.ID, err)
		}
		out.Write(data)
	}
	out.WriteString(`]}`)
	return out.Bytes(), nil
}

func marshal(cfg Config, m Message) ([]byte, error) {
	r := record{
		MessageID: m.ID, ReceiptHandle: m.ReceiptHandle, Body: m.Body, MD5OfBody: m.MD5OfBody,
		MD5OfMessageAttributes: m.MD5OfAttributes, EventSource: "aws:sqs", EventSourceARN: cfg.QueueARN,
		AWSRegion:  cfg.Region,
		Attributes: map[string]string{}, MessageAttributes: map[string]recordAttribute{},
	}
	maps.Copy(r.Attributes, m.Attributes)
	if cfg.Attributes != nil {
		maps.Copy(r.Attributes, cfg.Attributes(m))
	}
	for name, a := range m.MessageAttributes {
		r.MessageAttributes[name] = recordAttribute{a.StringValue, a.BinaryValue, []string{}, [][]byte{}, a.DataType}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(r)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}

// Finished parses the response of a function with ReportBatchItemFailures, and returns the messages to delete. After an
// error, no message of the batch is deleted. AWS's rules:
//
//	{"batchItemFailures":[]}, {"batchItemFailures":null}, {}, null    delete all
//	{"batchItemFailures":[{"itemIdentifier":"id"}, …]}                delete all except these
//	invalid JSON; an empty, null, missing or unknown identifier; another key    delete none
//
// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting
func Finished(response []byte, batch []Message) ([]Message, error) {
	if !json.Valid(response) {
		return nil, fmt.Errorf("%.200q is not JSON", response)
	}
	if isNull(response) {
		return batch, nil
	}
	var fields map[string]json.RawMessage // not a struct: encoding/json matches its keys in any letter case
	if err := json.Unmarshal(response, &fields); err != nil {
		return nil, fmt.Errorf("expected an object, found %.200q", response)
	}
	list, ok := fields["batchItemFailures"]
	if !ok && len(fields) > 0 {
		return nil, fmt.Errorf("expected batchItemFailures, found %.200q", response)
	}
	if !ok || isNull(list) {
		return batch, nil
	}
	var items []map[string]json.RawMessage
	if err := json.Unmarshal(list, &items); err != nil {
		return nil, fmt.Errorf("expected batchItemFailures to be a list of objects, found %.200q", list)
	}
	return without(items, batch)
}

// without returns the messages of the batch that items do not name.
func without(items []map[string]json.RawMessage, batch []Message) ([]Message, error) {
	failed := make(map[string]bool, len(batch))
	for _, m := range batch {
		failed[m.ID] = false
	}
	for i, item := range items {
		var id string
		if err := json.Unmarshal(item["itemIdentifier"], &id); err != nil || id == "" {
			return nil, fmt.Errorf("batchItemFailures[%d]: expected an itemIdentifier, found %.100q", i, item["itemIdentifier"])
		}
		if _, known := failed[id]; !known {
			return nil, fmt.Errorf("batchItemFailures[%d]: %.100q is not a message of the batch", i, id)
		}
		failed[id] = true
	}
	var finished []Message
	for _, m := range batch {
		if !failed[m.ID] {
			finished = append(finished, m)
		}
	}
	return finished, nil
}

func isNull(data []byte) bool { return bytes.Equal(bytes.TrimSpace(data), []byte("null")) }
