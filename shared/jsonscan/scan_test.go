package jsonscan_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/shared/jsonscan"
)

// valid reports whether b is one JSON value, according to this package.
func valid(b []byte) bool {
	end, ok := jsonscan.Value(b, 0, 0)
	return ok && jsonscan.Space(b, end) == len(b)
}

var seeds = []string{
	`{}`, `[]`, `""`, `0`, `-0`, `-1.5e+10`, `01`, `1.`, `.5`, `1e`, `-`, `tru`, `true`, `nul`, `null`,
	`false `, ` { "a" : [ 1 , "b\n" ] } `,
	`{"a":1,}`, `[1,]`, `[,1]`, `{"a"}`, `{"a":}`, `{a:1}`,
	`"\u12"`, `"\u12g4"`, `"\ud83d\ude00"`, `"\ud800"`, `"\ud800\u0041"`, `"\x"`,
	"\"\t\"",
	"\"01234567\x01\"", "\"0123\n567 89abcdef\"", `"1234567\"89"`, `"a\u00e9\nbcdefg\n"`, `"\u00e9\u00e9abc\"d"`,
	`"é\\"`, `{"a":{"b":[{"c":null}]}}`, ``, ` `, `}`, `]`, `"`, `"\`, `{"a":1 "b":2}`, "\xef\xbb\xbf{}",
}

func FuzzValue(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, want := valid(b), json.Valid(b); got != want {
			t.Fatalf("%q: valid is %v, encoding/json says %v", b, got, want)
		}
		if !valid(b) {
			return
		}
		var want bytes.Buffer
		if err := json.Compact(&want, b); err != nil {
			t.Fatal(err)
		}
		if got := jsonscan.AppendCompact(nil, b); !bytes.Equal(got, want.Bytes()) {
			t.Fatalf("%q: compact is %q, want %q", b, got, want.Bytes())
		}
	})
}

func FuzzText(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || b[0] != '"' || !utf8.Valid(b) {
			b = append([]byte{'"'}, bytes.ToValidUTF8(b, nil)...)
		}
		end, _, ok := jsonscan.String(b, 0)
		text, inPlaceEnd, inPlaceOK := jsonscan.UnquoteInPlace(bytes.Clone(b), 0)
		if ok != inPlaceOK || end != inPlaceEnd {
			t.Fatalf("%q: String says %d %v, UnquoteInPlace %d %v", b, end, ok, inPlaceEnd, inPlaceOK)
		}
		if !ok {
			return
		}
		var want string
		if err := json.Unmarshal(b[:end], &want); err != nil {
			t.Fatalf("%q: accepted as a string, encoding/json says %v", b[:end], err)
		}
		if got := jsonscan.AppendUnquoted([]byte("x"), b[:end]); string(got) != "x"+want {
			t.Fatalf("%q: unquoted is %q, want %q", b[:end], got, "x"+want)
		}
		if string(text) != want {
			t.Fatalf("%q: unquoted in place is %q, want %q", b[:end], text, want)
		}
		var back string
		if err := json.Unmarshal(jsonscan.AppendQuoted(nil, want), &back); err != nil || back != want {
			t.Fatalf("%q: quoted and read again is %q (%v)", want, back, err)
		}
	})
}

func TestDepth(t *testing.T) {
	for depth, want := range map[int]bool{jsonscan.MaxDepth: true, jsonscan.MaxDepth + 1: false, 1 << 20: false} {
		if got := valid([]byte(strings.Repeat("[", depth) + strings.Repeat("]", depth))); got != want {
			t.Errorf("%d levels: %v, want %v", depth, got, want)
		}
	}
}

func TestAppendQuotedEscapesNothingElse(t *testing.T) {
	in := "a\"b\\c\nd\re\tf\x00g\x1fh</script>&é\u2028😀\x7f"
	want := `"a\"b\\c\nd\re\tf\u0000g\u001fh</script>&é` + "\u2028😀\x7f" + `"`
	if got := string(jsonscan.AppendQuoted(nil, in)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
