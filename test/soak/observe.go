package main

import (
	"encoding/json"

	"github.com/arbitex/siem-connectors/emulator/lambda/runtimeapi"
	"github.com/arbitex/siem-connectors/emulator/siem"
)

// observe records how a batch ended; see [cloud.Options]. A dead letter of the drain is settled; only the drain shows
// an event that SQS itself moved to the dead-letter queue.
func (s *soak) observe(function string, payload []byte, r runtimeapi.Result) {
	var batch struct {
		Records []struct {
			MessageID string `json:"messageId"`
			Body      string `json:"body"`
		}
	}
	var answer struct {
		BatchItemFailures []struct {
			ItemIdentifier string `json:"itemIdentifier"`
		} `json:"batchItemFailures"`
	}
	if json.Unmarshal(payload, &batch) != nil {
		return
	}
	how := endOf(r)
	if how == finished && json.Unmarshal(r.Payload, &answer) != nil {
		how = failed
	}
	again := map[string]bool{}
	for _, item := range answer.BatchItemFailures {
		again[item.ItemIdentifier] = true
	}
	l := s.byName[function]
	if l != nil {
		l.catchUp() // what the SIEM took in this attempt is in the tracker before its end is
	}
	for _, record := range batch.Records {
		end := how
		if again[record.MessageID] {
			end = listed
		}
		id := siem.EventID([]byte(record.Body))
		switch {
		case l != nil:
			s.tracker.finish(id, end)
		case end == finished:
			s.tracker.drained(id)
		}
	}
}

// endOf returns how the invocation ended for the whole batch.
func endOf(r runtimeapi.Result) ending {
	switch {
	case r.Error == nil:
		return finished
	case r.Error.Type == "Sandbox.Timedout":
		return timedOut
	case r.Error.Type == "Runtime.ExitError":
		return killed
	}
	return failed
}
