package eventsource

import (
	"bytes"
	"encoding/json"
	"fmt"
)

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
