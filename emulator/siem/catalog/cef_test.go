package catalog

import (
	"maps"
	"testing"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// came holds the fields of the event's message, as the simulator parses it.
var came = map[string]string{
	"externalId": "e-1", "rt": "1741824000123", "class": "6003", "name": "chat", "severity": "8",
	"msgid": "0123456789abcdef0123456789abcdef",
	"suser": "a@b.c", "suid": "u", "act": "block", "cs4": "gpt", "cn1": "1", "cn2": "2", "cs1": "block", "cs2": "pii,p hi",
	"cs3": "g 1,g2",
	"src": "192.0.2.7", "hostname": "h", "message": "whole",
}

const enqueued = `{"time":1741824000123000,"class_uid":6003,"severity_id":4,"metadata":{"uid":"e-1"},
	"api":{"operation":"chat","request":{"uid":"01234567-89ab-cdef-0123-456789abcdef"}},
	"actor":{"user":{"uid":"u","email_addr":"a@b.c","groups":[{"uid":"g\n1"},{"name":"g2"}]}},
	"unmapped":{"model_id":"gpt","policy_action":"block","dlp_labels":["pii","p,hi"],"tokens_input":1,"tokens_output":2},"src_endpoint":{"ip":"192.0.2.7"}}`

func TestCEFColumns(t *testing.T) {
	want := cefOfEvent([]byte(enqueued))
	if got := cefOfMessage(siem.Accepted{Fields: came}); got != want {
		t.Fatalf("the message's columns are\n%s, the event's\n%s", got, want)
	}
	for _, column := range columns {
		other := maps.Clone(came)
		other[column] += "x"
		if cefOfMessage(siem.Accepted{Fields: other}) == want {
			t.Errorf("another %s makes no difference", column)
		}
	}
}

func TestCEFColumnsOfAMinimalEvent(t *testing.T) {
	const event = `{"time":1, "severity_id":99}`
	want := cefOfEvent([]byte(event))
	fields := map[string]string{"externalId": siem.ContentHash([]byte(`{"time":1,"severity_id":99}`))[:32], "rt": "1",
		"class": "0", "name": "OCSF class 0", "severity": "5", "msgid": "-"}
	if got := cefOfMessage(siem.Accepted{Fields: fields}); got != want {
		t.Errorf("the message's columns are\n%s, the event's\n%s", got, want)
	}
	if got := cefOfEvent([]byte("no event")); got != "no event" {
		t.Errorf("the key of an invalid event is %q", got)
	}
}
