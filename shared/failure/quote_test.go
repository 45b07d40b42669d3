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
