package eventsource

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// judge reads the answer of a function with ReportBatchItemFailures, and returns the messages that are done. An error
// means that none is. AWS's table:
//
//	{"batchItemFailures":[]}, {"batchItemFailures":null}, {}, null    all are done
//	{"batchItemFailures":[{"itemIdentifier":"id"}, …]}                all but these
//	no JSON; an identifier that is "", null, missing, or of no message of the batch; another key    none is
//
// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting
func judge(answer []byte, batch []Message) ([]Message, error) {
	if !json.Valid(answer) {
		return nil, fmt.Errorf("%.200q is no JSON", answer)
	}
	if isNull(answer) {
		return batch, nil
	}
	var fields map[string]json.RawMessage // not a struct, which would take a key in any letter case
	if err := json.Unmarshal(answer, &fields); err != nil {
		return nil, fmt.Errorf("want an object, have %.200q", answer)
	}
	list, ok := fields["batchItemFailures"]
	if !ok && len(fields) > 0 {
		return nil, fmt.Errorf("want batchItemFailures, have %.200q", answer)
	}
	if !ok || isNull(list) {
		return batch, nil
	}
	var items []map[string]json.RawMessage
	if err := json.Unmarshal(list, &items); err != nil {
		return nil, fmt.Errorf("want batchItemFailures to be a list of objects, have %.200q", list)
	}
	return without(items, batch)
}

// without returns the messages of the batch that no item names.
func without(items []map[string]json.RawMessage, batch []Message) ([]Message, error) {
	kept := make(map[string]bool, len(batch)) // whether the message failed
	for _, m := range batch {
		kept[m.ID] = false
	}
	for i, item := range items {
		var id string
		if err := json.Unmarshal(item["itemIdentifier"], &id); err != nil || id == "" {
			return nil, fmt.Errorf("batchItemFailures[%d]: want an itemIdentifier, have %.100q", i, item["itemIdentifier"])
		}
		if _, known := kept[id]; !known {
			return nil, fmt.Errorf("batchItemFailures[%d]: %.100q is no message of the batch", i, id)
		}
		kept[id] = true
	}
	var finished []Message
	for _, m := range batch {
		if !kept[m.ID] {
			finished = append(finished, m)
		}
	}
	return finished, nil
}

func isNull(data []byte) bool { return bytes.Equal(bytes.TrimSpace(data), []byte("null")) }

// errIncomplete is what an SQS reply without the fields that every message has is refused with.
var errIncomplete = errors.New("a message without an id, a body or a receipt handle")
