package secret_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

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

// limit is longer than the texts of most tests.
const limit = 4096

// TestRedactorReplaces: the usual encodings of a secret are replaced, and the rest of the text remains.
func TestRedactorReplaces(t *testing.T) {
	const signs = "token>>>???~~~" // its two forms of base64 differ
	r := secret.NewRedactor(secret.New(hidden), secret.New("short"), secret.New("shorter"), secret.New(signs),
		secret.Value{}, secret.New("ab"))
	quoted, _ := json.Marshal(hidden)
	for _, form := range []string{hidden, url.QueryEscape(hidden), url.PathEscape(hidden),
		string(quoted[1 : len(quoted)-1]),
		base64.StdEncoding.EncodeToString([]byte(hidden)), base64.RawURLEncoding.EncodeToString([]byte(hidden)), "shorter",
		"short",
		base64.StdEncoding.EncodeToString([]byte(signs)), base64.URLEncoding.EncodeToString([]byte(signs)),
		hex.EncodeToString([]byte(signs))} {
		got := r.Redact("before "+form+" after", limit)
		if strings.Contains(got, form) || !strings.HasPrefix(got, "before [redacted]") || !strings.HasSuffix(got, " after") {
			t.Errorf("%q becomes %q", form, got)
		}
	}
	if got := r.Redact("a shorter text", limit); got != "a [redacted] text" {
		t.Errorf("a secret that contains another one becomes %q", got)
	}
	if got, text := r.Redact(`a \\\\\\\\"quoted\\\\\\\\" word`, limit), `a \\\\\\\\"quoted\\\\\\\\" word`; got != text {
		t.Errorf("a text of four layers without a secret becomes %q", got)
	}
	if got := r.Redact("about nothing", limit); got != "about nothing" {
		t.Errorf("a value of two letters was redacted: %q remains", got)
	}
	var none *secret.Redactor
	if none.Redact("x", limit) != "x" || secret.NewRedactor().Redact("xyz", 2) != "xy" ||
		none.With(secret.New("hunter2")).Redact("hunter2", limit) != "[redacted]" {
		t.Error("a redactor without secrets changes something, or learns none")
	}
	if got, text := secret.NewRedactor(secret.New("hunter2")).Redact(`\"nothing\" to%20cut &amp; \ &lt`, limit),
		`\"nothing\" to%20cut &amp; \ &lt`; got != text {
		t.Errorf("a text without the secret becomes %s", got)
	}
}

// TestRedactorUndoesEscapes: however a SIEM escapes what it echoes, no part of eight characters remains.
func TestRedactorUndoesEscapes(t *testing.T) {
	const core = "feather-and-tar"
	each := func(value, format string) string {
		var b strings.Builder
		for i := range len(value) {
			fmt.Fprintf(&b, format, value[i])
		}
		return b.String()
	}
	signs := func(value string, escape func(string) string) string {
		for _, sign := range []string{"/", "=", "+", "-"} {
			value = strings.ReplaceAll(value, sign, escape(sign))
		}
		return value
	}
	for _, value := range []string{`a "7f\3/+ %41=&<>'` + core + "~", "a/b+" + core + "==", core + "-é-😀-/+"} {
		r := secret.NewRedactor(secret.New(value))
		var plain bytes.Buffer
		encoder := json.NewEncoder(&plain)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(value); err != nil {
			t.Fatal(err)
		}
		quoted, _ := json.Marshal(value)
		for _, form := range []string{
			plain.String(), string(quoted), fmt.Sprintf("%+q", value), html.EscapeString(value),
			strings.ReplaceAll(plain.String(), "/", `\/`), strings.ReplaceAll(plain.String(), "=", `\u003d`),
			fmt.Sprintf("%q", plain.String()), fmt.Sprintf("%q", fmt.Sprintf("%q", quoted)),
			fmt.Sprintf("%q", url.QueryEscape(value)),
			url.PathEscape(plain.String()), strings.ToLower(url.PathEscape(value)), html.EscapeString(string(quoted)),
			each(value, "&#%d;"), each(value, "&#x%x;"), each(value, "&#x%X"), each(value, `\x%02x`), each(value, `\%03o`),
			each(value, "%%%02x"),
			each(value, `\u{%x}`), each(value, "%%u%04x"), each(value, "&amp;#%d;"), each(value, "%%26%%23%d;"),
			signs(value, func(s string) string { return fmt.Sprintf("&#%d;", s[0]) }),
			signs(value, func(s string) string {
				return map[string]string{"/": "&sol;", "=": "&equals;", "+": "&plus;", "-": "&hyphen;"}[s]
			}),
			signs(value, func(string) string { return " " }), strings.Join(strings.Split(value, ""), "\n"),
			base64.StdEncoding.EncodeToString([]byte(":" + value)),
			base64.StdEncoding.EncodeToString([]byte("id:" + value + "@")),
			base64.URLEncoding.EncodeToString([]byte("Bearer " + value)),
			strings.ToUpper(hex.EncodeToString([]byte("x" + value))),
			strings.ToUpper(value), strings.ToLower("X" + value),
			strings.ToLower(base64.StdEncoding.EncodeToString([]byte(value))),
			strings.ReplaceAll(fmt.Sprintf("% x", value), " ", ":"),
		} {
			got := r.Redact("before "+form+" after", limit)
			if !strings.Contains(got, "[redacted]") || strings.Contains(got, form) ||
				strings.Contains(strings.ToLower(got), core[:8]) {
				t.Errorf("%s becomes %s", form, got)
			}
		}
	}
}

// TestRedactorCountsSigns: a part of a password that has few letters does not remain either.
func TestRedactorCountsSigns(t *testing.T) {
	r := secret.NewRedactor(secret.New(`kEy+/=<>&"!?99`))
	for _, text := range []string{`in "+/=<>&\"!"`, "in kEy%2B%2F%3D%3C%3E", "in &#43;&#47;&#61;&lt;&gt;&#38;&#34;&#33;"} {
		if got := r.Redact(text, limit); got != "[redacted]" {
			t.Errorf("%s becomes %s", text, got)
		}
	}
}

// TestRedactorCut: no part of a secret that crosses the end of the quotation remains.
func TestRedactorCut(t *testing.T) {
	const value, short = "feather-and-tar-0123456789", 40
	r := secret.NewRedactor(secret.New(value))
	for _, form := range []string{value, base64.StdEncoding.EncodeToString([]byte(value)), strings.ReplaceAll(value, "e",
		"&#101;"), `"` + strings.ReplaceAll(value, "-", `\u002d`)} {
		for before := range short + 10 {
			got := r.Redact(strings.Repeat(".", before)+form+strings.Repeat(" filler", 1000), short)
			rest := strings.TrimLeft(got, ".")
			if len(got) > short || len(rest) > 8 && !strings.HasPrefix("[redacted]", rest) &&
				!strings.HasPrefix(rest, "[redacted]") {
				t.Errorf("%s behind %d bytes: %q", form, before, got)
			}
		}
	}
}

// TestRedactorIsBounded: a text of megabytes costs as much as one that is as long as the quotation.
func TestRedactorIsBounded(t *testing.T) {
	r := secret.NewRedactor(secret.New("feather-and-tar"), secret.New(strings.Repeat("0123456789abcdef", 64)))
	text := strings.Repeat(`\\u005c&amp;%2525\"&#38;`, 4<<20/24)
	took := time.Hour // the shortest of several, since the machine may be busy
	for range 10 {
		start := time.Now()
		if got := r.Redact(text, 512); len(got) > 512 {
			t.Errorf("%d bytes", len(got))
		}
		took = min(took, time.Since(start))
	}
	if took > 50*time.Millisecond {
		t.Errorf("took %v, want less than 50 ms", took)
	}
}

func FuzzRedactor(f *testing.F) {
	f.Add(`a "7f\3/`, `x\"7f\\3\/%41&lt;\ud83d`)
	f.Add("feather-and-tar", `f&#101;ather\u002dand%2Dtar`)
	f.Fuzz(func(t *testing.T, value, text string) {
		r := secret.NewRedactor(secret.New(value))
		if got := r.Redact(text, limit); len(value) >= 12 && strings.Contains(got, value) && !strings.Contains("[redacted]",
			value) || len(got) > limit {
			t.Errorf("%q becomes %q", text, got)
		}
	})
}
