package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/shared/secret"
)

const hidden = `hunter2 "q" /+`

// TestValueIsNeverPrinted tries every verb and encoder, on the value itself and in fields that reflection reaches
// without asking any method.
func TestValueIsNeverPrinted(t *testing.T) {
	v := secret.New(hidden)
	if v.Reveal() != hidden {
		t.Fatal("Reveal does not reveal, so that nothing is proven")
	}
	type holder struct {
		Public  secret.Value
		private secret.Value
		list    []secret.Value
		pointer *secret.Value
	}
	h := holder{v, v, []secret.Value{v}, &v}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b", "%o", "%t", "%e", "%p", "%T",
		"%c", "%U"} {
		for _, x := range []any{v, &v, h, &h, []any{v, h}, map[string]any{"a": v}} {
			fmt.Fprintf(&out, verb+"\n", x)
		}
	}
	fmt.Fprint(&out, v, h, fmt.Errorf("wrapped: %v", v))
	for _, x := range []any{v, h, map[string]secret.Value{"k": v}} {
		b, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	for _, handler := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(handler).Info("x", "value", v, "holder", h, "pointer", &h)
	}
	for _, form := range []string{"hunter2", fmt.Sprintf("%x", "hunter2"), fmt.Sprintf("%X", "hunter2"), "104 117 110"} {
		if strings.Contains(out.String(), form) {
			t.Errorf("%q shows in:\n%s", form, out.String())
		}
	}
	if (secret.Value{}).Reveal() != "" || !(secret.Value{}).Empty() || !secret.New("").Empty() || v.Empty() {
		t.Error("the zero value is the empty one, and no other")
	}
}
