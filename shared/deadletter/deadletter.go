// Package deadletter keeps what could not be delivered, and puts it back. The drain writes the messages of the
// dead-letter queue as JSONL objects to S3; the replay reads them and sends their events to the queues they came from.
//
// Below SIEM_DEAD_LETTER_PATH stand
//
//	pending/connector=<c>/date=<d>/<batch>.jsonl   dead letters that wait
//	replayed/…the same…                            objects whose every line has been put back
//	ledger/connector=<c>/date=<d>/<call>-<n>.ids   the message ids that have been put back, 16 bytes each
//	partial/…as pending…/<lines>                   how many lines of a pending object have been put back, for counting
//	replay.lock                                    the lease of the replay that is running
//
// The ledger alone decides whether a line has been put back. It is written after each chunk of sent messages and before
// an object is moved, so a crash at any point loses nothing and repeats at most one chunk.
package deadletter

import (
	"io"
	"log/slog"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// unknown is the connector of a dead letter whose origin cannot be determined.
const unknown = connectors.Unknown

// Options is what the functions run with besides their settings. All of them are needed.
type Options struct {
	Now     func() time.Time
	Log     *slog.Logger
	Metrics io.Writer // embedded metrics, a line each
}

// location is where dead letters are kept.
type location struct {
	bucket string
	prefix string // of all keys: "", or with a slash at its end
}

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// maxPrefix leaves room in a key for what stands behind the prefix.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
const maxPrefix = 512

func readLocation(s *settings.Settings) location {
	const name, expected = "SIEM_DEAD_LETTER_PATH", "s3://bucket/prefix, where dead letters are kept"
	value := s.Required(name, expected)
	if value == "" {
		return location{}
	}
	rest, ok := strings.CutPrefix(value, "s3://")
	bucket, prefix, _ := strings.Cut(rest, "/")
	prefix = strings.TrimRight(prefix, "/")
	if !ok || !bucketName.MatchString(bucket) || prefix != "" && path.Clean("/"+prefix) != "/"+prefix || len(prefix) > maxPrefix {
		s.Problem(name, value, expected)
		return location{}
	}
	if prefix != "" {
		prefix += "/"
	}
	return location{bucket: bucket, prefix: prefix}
}

// readQueues reads the URL of each connector's queue. A connector without one is not deployed.
func readQueues(s *settings.Settings) map[string]string {
	queues := make(map[string]string)
	for _, c := range connectors.All() {
		name := c.Variable("QUEUE_URL")
		value := s.String(name, "")
		if value == "" {
			continue
		}
		u, err := url.Parse(value)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || queueName(value) == "" {
			s.Problem(name, value, "the URL of the connector's SQS queue")
			continue
		}
		queues[c.Name] = value
	}
	return queues
}

// queueName is the last part of a queue's URL.
func queueName(queueURL string) string { return queueURL[strings.LastIndexByte(queueURL, '/')+1:] }

// bound cuts foreign text to so many bytes, and makes it UTF-8.
func bound(text string, most int) string {
	if len(text) > most {
		text = text[:most]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
