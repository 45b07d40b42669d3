package failure

import (
	"strings"
	"testing"
)

// TestQuoteIsBounded: foreign text is cut at MaxQuote bytes, and printable.
func TestQuoteIsBounded(t *testing.T) {
	for text, want := range map[string]string{
		strings.Repeat("x", MaxQuote):        `"` + strings.Repeat("x", MaxQuote) + `"`,
		strings.Repeat("x", MaxQuote+1):      `"` + strings.Repeat("x", MaxQuote) + `"…`,
		"line\nbreak\x1b[31m":                `"line\nbreak\x1b[31m"`,
		strings.Repeat("x", 511) + "é" + "y": `"` + strings.Repeat("x", 511) + `�"…`,
	} {
		if got := Quote(text); got != want {
			t.Errorf("%.20q…: %.40s…, %d bytes; want %d", text, got, len(got), len(want))
		}
	}
}

// TestBrief: the text by which a batch's log line counts a failure.
func TestBrief(t *testing.T) {
	for want, f := range map[string]Error{
		"transient at connect":   {Step: Connect},
		"held at tls":            {Kind: Misconfigured, Step: TLS},
		"held status=404":        {Kind: Misconfigured, Step: Request, Status: 404},
		"held status=400 code=7": {Kind: Misconfigured, Step: Request, Status: 400, Code: "7"},
	} {
		if got := f.Brief(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
