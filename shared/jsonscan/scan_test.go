package jsonscan_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/shared/jsonscan"
)

// valid reports whether b is one JSON value, according to this package.
func valid(b []byte) bool {
	r := jsonscan.NewReader(b, 0)
	r.Skip()
	return r.End()
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
		r, inPlace := jsonscan.NewReader(b, 0), jsonscan.NewReader(bytes.Clone(b), 0)
		raw, text := r.String(), inPlace.Text()
		if (r.Err() == nil) != (inPlace.Err() == nil) || r.Pos() != inPlace.Pos() {
			t.Fatalf("%q: String says %v, Text %v", b, r.Err(), inPlace.Err())
		}
		if r.Err() != nil {
			return
		}
		var want string
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatalf("%q: accepted as a string, encoding/json says %v", raw, err)
		}
		if got := jsonscan.AppendUnquoted([]byte("x"), raw); string(got) != "x"+want {
			t.Fatalf("%q: unquoted is %q, want %q", raw, got, "x"+want)
		}
		if string(text) != want {
			t.Fatalf("%q: unquoted in place is %q, want %q", raw, text, want)
		}
		var back string
		if err := json.Unmarshal(jsonscan.AppendQuoted(nil, want), &back); err != nil || back != want {
			t.Fatalf("%q: quoted and read again is %q (%v)", want, back, err)
		}
	})
}

func TestAppendQuotedEscapesNothingElse(t *testing.T) {
	in := "a\"b\\c\nd\re\tf\x00g\x1fh</script>&é\u2028😀\x7f"
	want := `"a\"b\\c\nd\re\tf\u0000g\u001fh</script>&é` + "\u2028😀\x7f" + `"`
	if got := string(jsonscan.AppendQuoted(nil, in)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// decode reads the next value as encoding/json does with UseNumber.
func decode(r *jsonscan.Reader) any {
	switch r.Peek() {
	case '{':
		object := map[string]any{}
		r.Object()
		for key, ok := r.Key(); ok; key, ok = r.Key() {
			object[string(key)] = decode(r)
		}
		return object
	case '[':
		array := []any{}
		r.Array()
		for r.Element() {
			array = append(array, decode(r))
		}
		return array
	case '"':
		return string(jsonscan.AppendUnquoted(nil, r.String()))
	case 't', 'f':
		return r.Bool()
	case 'n':
		r.Null()
		return nil
	}
	raw, _ := r.Number()
	return json.Number(raw)
}

// FuzzReader compares what a Reader reads, token by token, with encoding/json.
func FuzzReader(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Add([]byte(`{"\u0061":[{},[],{"b":[1,2.50,-3e2]}],"c":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.ToValidUTF8(b, []byte("x"))
		r := jsonscan.NewReader(b, 0)
		got := decode(&r)
		if ok := r.End(); ok != json.Valid(b) || ok != (r.Err() == nil) {
			t.Fatalf("%q: End reports %v (%v), encoding/json %v", b, ok, r.Err(), json.Valid(b))
		}
		if r.Err() != nil {
			if r.Pos() > len(b) {
				t.Fatalf("%q: the position %d is outside the text", b, r.Pos())
			}
			return
		}
		var want any
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		if err := d.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: read %v, want %v", b, got, want)
		}
		if got, want := r.Spaced(), !bytes.Equal(jsonscan.AppendCompact(nil, b), b); got != want {
			t.Fatalf("%q: Spaced reports %v, want %v", b, got, want)
		}
		whole := jsonscan.NewReader(b, 0)
		if value := whole.Value(); !bytes.Equal(value, bytes.TrimSpace(b)) || !whole.End() || whole.Spaced() != r.Spaced() {
			t.Fatalf("%q: as one value it is %q (spaced %v): %v", b, value, whole.Spaced(), whole.Err())
		}
	})
}

func TestReaderErrors(t *testing.T) {
	object := func(r *jsonscan.Reader) {
		r.Object()
		for _, ok := r.Key(); ok; _, ok = r.Key() {
			r.Skip()
		}
	}
	array := func(r *jsonscan.Reader) {
		for r.Array(); r.Element(); {
			r.Skip()
		}
	}
	for _, c := range []struct {
		text string
		read func(*jsonscan.Reader)
		want string
	}{
		{`[]`, object, `expected an object, found '[' at byte 0`},
		{`{"a" 1}`, object, `expected a colon, found '1' at byte 5`},
		{`{"a":1;}`, object, `expected a comma or }, found ';' at byte 6`},
		{`{"a":1,}`, object, `expected a string, found '}' at byte 7`},
		{`{"a":}`, object, `expected a JSON value, found '}' at byte 5`},
		{`{"a":1`, object, `expected a comma or }, found the end at byte 6`},
		{`{} x`, object, `expected the end, found 'x' at byte 3`},
		{"{}\x00", object, `expected the end, found '\x00' at byte 2`},
		{`{}`, array, `expected an array, found '{' at byte 0`},
		{`[1 2]`, array, `expected a comma or ], found '2' at byte 3`},
		{`[1,]`, array, `expected a JSON value, found ']' at byte 3`},
		{`5`, func(r *jsonscan.Reader) { r.String() }, `expected a string, found '5' at byte 0`},
		{`5`, func(r *jsonscan.Reader) { r.Text() }, `expected a string, found '5' at byte 0`},
		{`"a`, func(r *jsonscan.Reader) { r.Text() }, `expected a string, found the end at byte 2`},
		{`-`, func(r *jsonscan.Reader) { r.Number() }, `expected a number, found the end at byte 1`},
		{` 1.5`, func(r *jsonscan.Reader) { r.Int() }, `expected an integer, found '1' at byte 1`},
		{`99999999999999999999`, func(r *jsonscan.Reader) { r.Int() }, `expected an integer, found '9' at byte 0`},
		{`"true"`, func(r *jsonscan.Reader) { r.Bool() }, `expected true or false, found '"' at byte 0`},
		{`tru`, func(r *jsonscan.Reader) { r.Bool() }, `expected a JSON value, found the end at byte 3`},
		{`nul`, func(r *jsonscan.Reader) { r.Null() }, `expected a JSON value, found the end at byte 3`},
	} {
		r := jsonscan.NewReader([]byte(c.text), 0)
		c.read(&r)
		if r.End() || r.Err().Error() != c.want {
			t.Errorf("%s: %v, want %q", c.text, r.Err(), c.want)
		}
		first := r.Err().Error()
		if r.Object() || r.Array() || r.Element() || r.String() != nil || r.Text() != nil || r.Int() != 0 || r.Bool() ||
			r.Null() ||
			r.Value() != nil || r.Err().Error() != first {
			t.Errorf("%s: the Reader continues after its error %v: %v", c.text, first, r.Err())
		}
	}
}

func TestReaderText(t *testing.T) {
	text := []byte(`{"n":12,"t":"a\u00e9\n","b":true,"z":null}`)
	r := jsonscan.NewReader(text, 0)
	var got []string
	r.Object()
	for key, ok := r.Key(); ok; key, ok = r.Key() {
		switch string(key) {
		case "n":
			got = append(got, strconv.FormatInt(r.Int(), 10))
		case "t":
			got = append(got, string(r.Text()))
		case "b":
			got = append(got, strconv.FormatBool(r.Bool()))
		default:
			got = append(got, strconv.FormatBool(r.Null()))
		}
	}
	if want := []string{"12", "aé\n", "true", "true"}; !r.End() || !reflect.DeepEqual(got, want) {
		t.Errorf("read %q (%v), want %q", got, r.Err(), want)
	}
}

// TestReaderDepth: the levels of an envelope do not count, so that a value at the limit can be wrapped and read again.
func TestReaderDepth(t *testing.T) {
	deep := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	for _, c := range []struct {
		levels, envelope int
		want             bool
	}{
		{jsonscan.MaxDepth, 0, true},
		{jsonscan.MaxDepth + 1, 0, false},
		{1 << 20, 0, false},
		{jsonscan.MaxDepth + 1, 1, true},
		{jsonscan.MaxDepth + 2, 1, false},
	} {
		whole := jsonscan.NewReader(deep(c.levels), c.envelope)
		if whole.Skip(); whole.End() != c.want {
			t.Errorf("%d levels, %d of them an envelope: %v, want %v", c.levels, c.envelope, whole.Err(), c.want)
		}
		steps := jsonscan.NewReader(deep(c.levels), c.envelope)
		for range c.levels {
			steps.Array()
			steps.Element()
			if steps.Peek() == ']' {
				steps.Element()
			}
		}
		if got := steps.Err() == nil; got != c.want {
			t.Errorf("%d levels one by one, %d of them an envelope: %v, want %v", c.levels, c.envelope, steps.Err(), c.want)
		}
	}
}

func TestReaderAllocatesNothing(t *testing.T) {
	text := []byte(`{"a":[{"b":"c"},1.5,true,null],"d":{"e":[]}}`)
	if n := testing.AllocsPerRun(100, func() {
		r := jsonscan.NewReader(text, 0)
		r.Object()
		for _, ok := r.Key(); ok; _, ok = r.Key() {
			r.Skip()
		}
		if !r.End() {
			t.Error(r.Err())
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
