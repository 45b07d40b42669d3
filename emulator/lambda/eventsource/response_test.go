package eventsource

import (
	"slices"
	"strings"
	"testing"
)

func ids(messages []Message) []string {
	var out []string
	for _, m := range messages {
		out = append(out, m.ID)
	}
	return out
}

func TestFinishedFollowsTheTable(t *testing.T) {
	batch := []Message{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	all := []string{"a", "b", "c"}
	for _, c := range []struct {
		answer string
		done   []string // nil: the whole batch failed
	}{
		{`{"batchItemFailures":[]}`, all},
		{`{"batchItemFailures":null}`, all},
		{`{}`, all},
		{`null`, all},
		{" null\n", all},
		{`{"batchItemFailures":[{"itemIdentifier":"b"}]}`, []string{"a", "c"}},
		{`{"batchItemFailures":[{"itemIdentifier":"b"},{"itemIdentifier":"b"}],"more":1}`, []string{"a", "c"}},
		{`{"batchItemFailures":[{"itemIdentifier":"c"},{"itemIdentifier":"a"},{"itemIdentifier":"b"}]}`, []string{}},
		{``, nil},
		{`{`, nil},
		{`{"batchItemFailures":[]} x`, nil},
		{`[]`, nil},
		{`"done"`, nil},
		{`true`, nil},
		{`{"failures":[]}`, nil},
		{`{"batchitemfailures":[]}`, nil},
		{`{"batchItemFailures":"b"}`, nil},
		{`{"batchItemFailures":{}}`, nil},
		{`{"batchItemFailures":["b"]}`, nil},
		{`{"batchItemFailures":[null]}`, nil},
		{`{"batchItemFailures":[{}]}`, nil},
		{`{"batchItemFailures":[{"itemIdentifier":""}]}`, nil},
		{`{"batchItemFailures":[{"itemIdentifier":null}]}`, nil},
		{`{"batchItemFailures":[{"itemIdentifier":7}]}`, nil},
		{`{"batchItemFailures":[{"itemidentifier":"b"}]}`, nil},
		{`{"batchItemFailures":[{"id":"b"}]}`, nil},
		{`{"batchItemFailures":[{"itemIdentifier":"b"},{"itemIdentifier":"d"}]}`, nil},
	} {
		done, err := Finished([]byte(c.answer), batch)
		if (err == nil) != (c.done != nil) || !slices.Equal(ids(done), c.done) {
			t.Errorf("%s: done %v, error %v; want %v", c.answer, ids(done), err, c.done)
		}
	}
}

func FuzzFinished(f *testing.F) {
	f.Add(`{"batchItemFailures":[{"itemIdentifier":"b"}]}`)
	f.Add(`{"batchItemFailures":null}`)
	batch := []Message{{ID: "a"}, {ID: "b"}}
	f.Fuzz(func(t *testing.T, answer string) {
		done, err := Finished([]byte(answer), batch)
		if err == nil && len(done) < len(batch) && !strings.Contains(answer, "itemIdentifier") {
			t.Errorf("%q: done %v without a failure named", answer, ids(done))
		}
		if err != nil && len(done) > 0 {
			t.Errorf("%q: a failed batch has messages done", answer)
		}
	})
}
