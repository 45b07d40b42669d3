package deployed

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestPack(t *testing.T) {
	var events []string
	for i := range 250 {
		events = append(events, fmt.Sprintf(`{"n":%d}`, i))
	}
	large := `{"x":"` + strings.Repeat("x", MaxMessageBytes-10) + `"}`
	events = append(events, large, `{"n":250}`)
	messages := Pack(events, 100)
	if len(messages) != 5 || messages[3] != (Message{large, 1}) || messages[4] != (Message{`{"n":250}`, 1}) ||
		messages[0].Events != 100 {
		t.Errorf("%d messages", len(messages))
	}
	var got []string
	for _, m := range messages {
		if len(m.Body) > MaxMessageBytes {
			t.Errorf("a message of %d bytes", len(m.Body))
		}
		var array []json.RawMessage
		if json.Unmarshal([]byte(m.Body), &array) != nil {
			got = append(got, m.Body)
		}
		for _, e := range array {
			got = append(got, string(e))
		}
	}
	if strings.Join(got, "") != strings.Join(events, "") {
		t.Error("the messages do not hold the events in their order")
	}
	half := `{"x":"` + strings.Repeat("x", MaxMessageBytes/2-20) + `"}`
	if n := len(Pack([]string{half, half, half}, 100)); n != 2 {
		t.Errorf("three events of almost 128 KiB are %d messages, want 2", n)
	}
	if got := Pack([]string{"a", "b"}, 1); len(got) != 2 || got[0].Body != "a" {
		t.Errorf("one event per message: %v", got)
	}
}
