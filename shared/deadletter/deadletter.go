// Package deadletter is the only reader and writer of stored dead letters: the record, the names of objects, the store,
// and the progress of replays.
//
// Below SIEM_DEAD_LETTER_PATH are these keys:
//
//	pending/connector=<c>/date=<d>/<batch>.jsonl   dead letters that wait, one record a line
//	replayed/…, discarded/…                        lines that a replay or a discard moved there; nothing reads them
//	progress/connector=<c>/<n>.ids                 ids of replayed records, 16 bytes each
//	progress/cursor-<request>.json                 where the next call with the same request continues
//	replay.lock                                    the lease of the running replay
//
// A pending object contains exactly the lines that wait: a call that replays some lines of an object rewrites it
// without them. The ids bridge the time between sending a message and rewriting its object, and identify records that
// were written twice. Nothing reads them later than 30 days after the replay.
package deadletter

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// Unknown is the connector of a dead letter whose origin cannot be determined.
const Unknown = connectors.Unknown

// Location is the place of dead letters in S3.
type Location struct {
	Bucket string
	Prefix string // of all keys: empty, or with a slash at its end
}

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// maxPrefix leaves room in a key for the names below the prefix.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
const maxPrefix = 512

const pathForm = "s3://bucket/prefix, where dead letters are kept"

// ParseLocation reads a path of the form s3://bucket/prefix.
func ParseLocation(value string) (Location, error) {
	rest, ok := strings.CutPrefix(value, "s3://")
	bucket, prefix, _ := strings.Cut(rest, "/")
	prefix = strings.TrimRight(prefix, "/")
	if !ok || !bucketName.MatchString(bucket) || prefix != "" && path.Clean("/"+prefix) != "/"+prefix ||
		len(prefix) > maxPrefix {
		return Location{}, fmt.Errorf("SIEM_DEAD_LETTER_PATH: expected %s, found %q", pathForm, value)
	}
	if prefix != "" {
		prefix += "/"
	}
	return Location{Bucket: bucket, Prefix: prefix}, nil
}

// ReadLocation reads SIEM_DEAD_LETTER_PATH.
func ReadLocation(s *settings.Settings) Location {
	const name = "SIEM_DEAD_LETTER_PATH"
	value := s.Required(name, pathForm)
	if value == "" {
		return Location{}
	}
	l, err := ParseLocation(value)
	if err != nil {
		s.Problem(name, value, pathForm)
	}
	return l
}

// ReadQueues reads <CONNECTOR>_QUEUE_URL of each connector and returns the URLs by connector. A connector without a
// queue is not deployed.
func ReadQueues(s *settings.Settings) map[string]string {
	queues := make(map[string]string)
	for _, c := range connectors.All() {
		name := c.Variable("QUEUE_URL")
		value := s.String(name, "")
		if value == "" {
			continue
		}
		u, err := url.Parse(value)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil ||
			QueueName(value) == "" {
			s.Problem(name, value, "the URL of the connector's SQS queue")
			continue
		}
		queues[c.Name] = value
	}
	return queues
}

// QueueName returns the last part of a queue's URL.
func QueueName(queueURL string) string { return queueURL[strings.LastIndexByte(queueURL, '/')+1:] }

// Bound cuts text to at most so many bytes and replaces invalid UTF-8.
func Bound(text string, most int) string {
	if len(text) > most {
		text = text[:most]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// PanicError is a recovered panic. Text is safe to show; Stack is for the log.
type PanicError struct{ Text, Stack string }

func (e *PanicError) Error() string { return "panic: " + e.Text }

// Guard calls do and returns a panic as a [PanicError]. A panic in a goroutine would otherwise end the process and
// print its value, which may be an event, to standard error.
func Guard(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			e := &PanicError{Text: fmt.Sprintf("%T", p), Stack: string(debug.Stack())}
			if own, ok := p.(runtime.Error); ok {
				e.Text = own.Error()
			}
			err = e
		}
	}()
	return do()
}
