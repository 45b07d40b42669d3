// Package fault says what a failure means for what happens next. It is decided once, by type, next to the answer or
// the network error that shows it, and nobody downstream looks at an error's text.
//
// A plain error that carries no Error is Transient: only proof makes a failure anything else, so what nobody has
// understood is tried again and never thrown away. A refused credential is never the event's fault.
package failure

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// Kind decides one thing each: what is done with the records the failure is about.
type Kind uint8

// The kinds of failure.
const (
	// Transient: the SIEM or the way to it failed and may recover. Back to the queue with growing delay.
	Transient Kind = iota
	// Throttled: the SIEM asks for less. As Transient, and nothing more is sent in this batch.
	Throttled
	// Unauthorized: the credential was refused. The secret is read again and the request tried once more; then Held.
	Unauthorized
	// Misconfigured: no event is at fault, the set-up is (TLS, a redirect, 404, an unknown index). Back to the queue with the longest delay.
	Misconfigured
	// TooLarge: the request was too large. It is halved; a record alone is rejected.
	TooLarge
	// Rejected: the SIEM refused the content. Records are halved until the culprit stands alone, which is then a dead letter.
	Rejected
	// Unprocessed: the SIEM did not look at this record, or asks for it in another form. It is sent again in this invocation. Only in a Partial.
	Unprocessed
)

var kinds = [...]string{"transient", "throttled", "denied", "held", "too large", "rejected", "unjudged"}

// String names the kind for logs.
func (k Kind) String() string {
	if int(k) < len(kinds) {
		return kinds[k]
	}
	return "kind " + strconv.Itoa(int(k))
}

// Step is how far a request came, in the words of the connection check.
type Step string

// The steps of a connection check, in their order.
const (
	Config  Step = "config"
	Secret  Step = "secret"
	DNS     Step = "dns"
	Connect Step = "connect"
	TLS     Step = "tls"
	Auth    Step = "auth"
	Request Step = "request"
)

// Error is a failure with its meaning. Its texts hold no secret and no event content but the SIEM's own bounded words.
type Error struct {
	Kind       Kind
	Step       Step          // how far it came; empty means Request
	Status     int           // HTTP status, 0 where there was none
	Code       string        // the vendor's code or error type, "" where there was none
	Detail     string        // what happened, one line, bounded
	Hint       string        // what an operator can do about it, "" where nothing is known
	RetryAfter time.Duration // what the SIEM asked for, 0 where it did not
	Err        error         // the cause, nil where the answer is the cause

	// Foreign reports whether a response came that is not in the SIEM's own format, such as a page of a proxy or a web
	// application firewall. A foreign refusal never rejects an event: the engine treats Rejected as Misconfigured. On an
	// event's last attempt, a foreign 4xx response is bisected, because one event may have caused it.
	Foreign bool

	// Disconnected reports whether the connection broke after the request began, before a response came. It is false
	// for a timeout, and for a failed DNS lookup, connection or TLS handshake. On an event's last attempt, such a
	// failure is bisected, because one event may have caused it.
	Disconnected bool
}

// Error says what was seen, in the form that goes into a dead letter.
func (f *Error) Error() string {
	var b strings.Builder
	if f.Status != 0 {
		b.WriteString("status " + strconv.Itoa(f.Status))
	}
	if f.Code != "" {
		sep(&b, ", ")
		b.WriteString("code " + f.Code)
	}
	if f.Detail != "" {
		sep(&b, ": ")
		b.WriteString(f.Detail)
	}
	if f.Err != nil {
		sep(&b, ": ")
		b.WriteString(f.Err.Error())
	}
	if f.Hint != "" {
		sep(&b, "; ")
		b.WriteString(f.Hint)
	}
	if b.Len() == 0 {
		return f.Kind.String()
	}
	return b.String()
}

func sep(b *strings.Builder, s string) {
	if b.Len() > 0 {
		b.WriteString(s)
	}
}

// Unwrap gives the cause to errors.Is and errors.As.
func (f *Error) Unwrap() error { return f.Err }

// Brief is what a log may say: kind, status and code, none of the SIEM's words.
func (f *Error) Brief() string {
	s := f.Kind.String()
	if f.Step != "" && f.Step != Request {
		s += " at " + string(f.Step)
	}
	if f.Status != 0 {
		s += " status=" + strconv.Itoa(f.Status)
	}
	if f.Code != "" {
		s += " code=" + f.Code
	}
	return s
}

// Alike tells whether two failures are the same refusal: same status and same code, whatever the words.
func (f *Error) Alike(g *Error) bool {
	return f.Kind == g.Kind && f.Status == g.Status && f.Code == g.Code
}

// Of returns the Error in err's chain. An error without one is Transient. Of(nil) is nil.
func Of(err error) *Error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*Error](err); ok {
		return f
	}
	return &Error{Kind: Transient, Err: err}
}

// MaxQuote is how many bytes of foreign text a Error quotes.
const MaxQuote = 512

// Quote makes foreign text fit for one line of a dead letter: bounded, printable, quoted.
func Quote(text string) string {
	cut := len(text) > MaxQuote
	if cut {
		text = text[:MaxQuote]
	}
	q := strconv.Quote(strings.ToValidUTF8(text, "�"))
	if cut {
		q += "…"
	}
	return q
}
