package ocsf_test

import (
	"encoding/json"
	"testing"

	"github.com/arbitex/siem-connectors/emulator/siem/ocsf"
)

func TestRead(t *testing.T) {
	for _, test := range []struct{ event, want string }{
		{
			`{"time":1773360000123,"class_uid":6003,"severity_id":2,"actor":{"user":{"uid":"u","email_addr":"e","groups":[{"uid":"g","name":"n"},{"name":"m"},{},7]}},` +
				`"api":{"operation":"o","request":{"uid":"r"}},"unmapped":{"model_id":"m","policy_action":"p","dlp_labels":["a",1,"b"],"tokens_input":1,"tokens_output":0},"src_endpoint":{"ip":"192.0.2.7"}}`,
			`{"Time":1773360000123,"Class":6003,"Severity":2,"UserID":"u","UserEmail":"e","RequestID":"r","Operation":"o","ModelID":"m","PolicyAction":"p","SourceAddress":"192.0.2.7",` +
				`"Groups":["g","m"],"DLPLabels":["a","b"],"TokensInput":1,"TokensOutput":0}`,
		},
		{
			`{"time":0,"class_uid":"6003","actor":{"user":7},"activity_name":"x","unmapped":{"group_ids":["h"],"tokens_input":1.5,"dlp_labels":"no"}}`,
			`{"Time":0,"Class":0,"Severity":0,"UserID":null,"UserEmail":null,"RequestID":null,"Operation":"x","ModelID":null,"PolicyAction":null,"SourceAddress":null,` +
				`"Groups":["h"],"DLPLabels":[],"TokensInput":null,"TokensOutput":null}`,
		},
	} {
		e, err := ocsf.Read([]byte(test.event))
		got, _ := json.Marshal(e)
		if err != nil || string(got) != test.want {
			t.Errorf("%v\n%s\nwant\n%s", err, got, test.want)
		}
	}
	e, _ := ocsf.Read([]byte(`{"time":1773360000123}`))
	if e.ISO() != "2026-03-13T00:00:00.123Z" {
		t.Errorf("ISO %s", e.ISO())
	}
	for text, want := range map[string]int64{
		"1773360000123456": 1773360000123, "1773360000123456789": 1773360000123, "1773360000": 1773360000000,
		"1773360000123.0": 1773360000123,
		"0":               0, "631151999": 631151999,
		"4102444800": 4102444800, // before 1990 and after 2100 in seconds: milliseconds
	} {
		if e, err := ocsf.Read([]byte(`{"time":` + text + `}`)); err != nil || e.Time != want {
			t.Errorf("time %s is read as %d, %v; want %d", text, e.Time, err, want)
		}
	}
	e, _ = ocsf.Read([]byte(`{"time":1,"ai_model":{"name":"m"},"message_context":{"prompt_tokens":3,"completion_tokens":4}}`))
	if e.ModelID == nil || *e.ModelID != "m" || *e.TokensInput != 3 || *e.TokensOutput != 4 {
		t.Errorf("fields of OCSF 1.8: %+v", e)
	}
	for _, bad := range []string{`{}`, `{"time":"x"}`, `{"time":1.5}`, `[]`, `{`} {
		if _, err := ocsf.Read([]byte(bad)); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}
