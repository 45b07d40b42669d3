package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/shared/secret"
)

// TestRedactorUndoesEscapes: a SIEM may escape what it echoes in ways that no list has, and an error may quote it again.
func TestRedactorUndoesEscapes(t *testing.T) {
	const core = "feather"
	for _, value := range []string{`a "7f\3/+ %41=&<>'` + core + "~", "a/b+" + core + "==", core + "-é-😀-/+"} {
		r := secret.NewRedactor(secret.New(value))
		var plain bytes.Buffer
		encoder := json.NewEncoder(&plain)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(value); err != nil {
			t.Fatal(err)
		}
		quoted, _ := json.Marshal(value)
		var all strings.Builder
		for _, c := range value {
			if c < 0x10000 {
				fmt.Fprintf(&all, `\u%04X`, c)
			} else {
				all.WriteString(`\ud83d\ude00`)
			}
		}
		for _, form := range []string{
			plain.String(), string(quoted), fmt.Sprintf("%+q", value), all.String(), html.EscapeString(value),
			strings.ReplaceAll(plain.String(), "/", `\/`), strings.ReplaceAll(plain.String(), "=", `\u003d`),
			fmt.Sprintf("%q", plain.String()), fmt.Sprintf("%q", fmt.Sprintf("%q", quoted)), fmt.Sprintf("%q", url.QueryEscape(value)),
			url.PathEscape(plain.String()), strings.ToLower(url.PathEscape(value)), html.EscapeString(string(quoted)),
		} {
			for _, text := range []string{form, "before " + form + " between \\ % & " + form + " after \\u12 %4 &lt"} {
				got := r.Cut(text)
				if strings.Contains(got, core) || !strings.Contains(got, "[redacted]") {
					t.Errorf("%s is cut to %s", text, got)
				}
				if text != form && (!strings.HasPrefix(got, "before ") || !strings.HasSuffix(got, ` after \u12 %4 &lt`) || !strings.Contains(got, ` between \ % & `)) {
					t.Errorf("%s has lost more than the secret: %s", text, got)
				}
			}
		}
	}
	if got, want := secret.NewRedactor(secret.New("hunter2")).Cut(`\"nothing\" to%20cut &amp; \`), `\"nothing\" to%20cut &amp; \`; got != want {
		t.Errorf("a text without the secret is changed to %s", got)
	}
}

// TestEscapedSecretIsCutWhole: what a secret was written with goes from its first byte to its last, and nothing beside it.
func TestEscapedSecretIsCutWhole(t *testing.T) {
	r := secret.NewRedactor(secret.New("to/ken=+value"))
	for _, written := range []string{
		`to\/ken=+value`, `to/ken\u003d+value`, `\u0074o/ken=+value`, `to/ken=+valu\x65`, "%74o%2Fken%3D%2Bvalue", "to&#x2F;ken=+value", `to\\\/ken=+value`,
	} {
		if got, want := r.Cut("before "+written+" behind"), "before [redacted] behind"; got != want {
			t.Errorf("%s: %q, want %q", written, got, want)
		}
	}
}

func FuzzRedactor(f *testing.F) {
	f.Add(`a "7f\3/`, `x\"7f\\3\/%41&lt;\ud83d`)
	f.Fuzz(func(t *testing.T, value, text string) {
		r := secret.NewRedactor(secret.New(value))
		if got := r.Cut(text); len(value) >= 12 && strings.Contains(got, value) && !strings.Contains("[redacted]", value) {
			t.Errorf("%q is cut to %q", text, got)
		}
	})
}
