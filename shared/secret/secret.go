// Package secret holds values that must not be printed: tokens, keys, and URLs that are credentials.
package secret

import "log/slog"

// redacted replaces a value wherever it would be printed.
const redacted = "[redacted]"

// Value is a string that no formatting verb, encoder or logger can print. The pointer makes reflection print an
// address even if the Value is in an unexported field, where fmt calls no method.
// The zero Value is empty.
type Value struct{ p *string }

// New makes a Value of s.
func New(s string) Value {
	if s == "" {
		return Value{}
	}
	return Value{&s}
}

// Reveal returns the string. Call it only where the value is sent.
func (v Value) Reveal() string {
	if v.p == nil {
		return ""
	}
	return *v.p
}

// Empty reports whether there is no value.
func (v Value) Empty() bool { return v.p == nil }

// String implements fmt.Stringer.
func (Value) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (Value) GoString() string { return redacted }

// MarshalText implements encoding.TextMarshaler.
func (Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer.
func (Value) LogValue() slog.Value { return slog.StringValue(redacted) }
