// Package deadletter is the only reader and writer of stored dead letters: the record, the names of objects, the store,
// and the progress of replays.
//
// Below SIEM_DEAD_LETTER_PATH are these keys:
//
//	pending/connector=<c>/date=<d>/<batch>.jsonl   dead letters that wait, one record a line
//	replayed/…, discarded/…                        lines that a replay or a discard moved there, for operators
//	progress/connector=<c>/<n>.ids                 ids of replayed records, 16 bytes each
//	replay.lock                                    the lease of the running replay, and where later calls continue
//
// A pending object contains exactly the lines that wait: a call that replays some lines of an object rewrites it
// without them. The ids bridge the time between sending a message and rewriting its object, and identify records that
// were written twice. Nothing reads them later than 30 days after the replay.
package deadletter

import (
	"crypto/sha256"
	"fmt"
	"math"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
	"github.com/arbitex/siem-connectors/shared/settings"
)

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// maxPrefix leaves room in a key for the names below the prefix.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
const maxPrefix = 512

const locationForm = "s3://bucket/prefix, where dead letters are kept"

// newBucket makes the bucket at a location of the form s3://bucket/prefix.
func newBucket(location string, store Store) (Bucket, error) {
	rest, ok := strings.CutPrefix(location, "s3://")
	name, prefix, _ := strings.Cut(rest, "/")
	prefix = strings.TrimRight(prefix, "/")
	if !ok || !bucketName.MatchString(name) || prefix != "" && path.Clean("/"+prefix) != "/"+prefix ||
		len(prefix) > maxPrefix {
		return Bucket{}, fmt.Errorf("SIEM_DEAD_LETTER_PATH: expected %s, found %q", locationForm, location)
	}
	if prefix != "" {
		prefix += "/"
	}
	return Bucket{Name: name, Prefix: prefix, Store: store, Sleep: Sleep, Piece: pieceBytes}, nil
}

// OpenBucket reads SIEM_DEAD_LETTER_PATH. The error names every problem of s. A nil store is S3.
func OpenBucket(s *settings.Settings, env settings.Lookup, store Store) (Bucket, error) {
	const name = "SIEM_DEAD_LETTER_PATH"
	location := s.Required(name, locationForm)
	b, err := newBucket(location, store)
	if err != nil && location != "" {
		s.Problem(name, location, locationForm)
	}
	if err = s.Err(); err == nil && store == nil {
		var cfg aws.Config
		cfg, err = lambdahost.AWSConfig(env, "S3")
		b.Store = s3.NewFromConfig(cfg)
	}
	return b, err
}

// ReadQueues reads <CONNECTOR>_QUEUE_URL of each connector and returns the URLs by connector. A connector without a
// queue is not deployed.
func ReadQueues(s *settings.Settings) map[string]string {
	queues := make(map[string]string)
	for _, c := range connectors.All() {
		name := c.Variable("QUEUE_URL")
		value := s.String(name, "")
		u, err := url.Parse(value)
		switch {
		case value == "":
		case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil ||
			QueueName(value) == "":
			s.Problem(name, value, "the URL of the connector's SQS queue")
		default:
			queues[c.Name] = value
		}
	}
	return queues
}

// QueueName returns the last part of a queue's URL.
func QueueName(queueURL string) string { return queueURL[strings.LastIndexByte(queueURL, '/')+1:] }

// Bound cuts text to at most so many bytes and replaces invalid UTF-8.
func Bound(text string, most int) string {
	return strings.ToValidUTF8(text[:min(len(text), most)], "\uFFFD")
}

// width is the number of concurrent requests to S3.
const width = 10

// Each calls do for 0 to n-1, at most ten at a time, and returns the errors by number. A panic is an error.
func Each(n int, do func(i int) error) []error {
	errs := make([]error, n)
	var g errgroup.Group
	g.SetLimit(width)
	for i := range n {
		g.Go(func() error {
			errs[i] = lambdahost.Guard(func() error { return do(i) })
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs
	return errs
}

// The folders below the prefix.
const (
	PendingFolder   = "pending/"
	ReplayedFolder  = "replayed/"
	DiscardedFolder = "discarded/"
	ProgressFolder  = "progress/"
	LockName        = "replay.lock"
)

// Object is one object of dead letters.
type Object struct {
	folder    string
	RelKey    string // its key without prefix and folder
	Connector string
	Size      int64 // bytes
	ETag      string
	Modified  time.Time
	Lines     int   // as its name says; -1 when the name does not say, or the object was rewritten
	Oldest    int64 // lower bound of its records' timestamps, Unix ms
	Newest    int64 // upper bound
}

// ObjectName returns the relative key of the object that holds a batch: a function of the message ids, and of the
// number, bytes and timestamps of its lines, so that dead letters can be counted and skipped without opening an object.
func ObjectName(connector string, ids []string, bytes int, oldest, newest time.Time) string {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	h := sha256.New()
	for _, id := range ids {
		fmt.Fprintf(h, "%d:%s", len(id), id)
	}
	return fmt.Sprintf("connector=%s/date=%s/%x-n%d-b%d-t%d-%d.jsonl", connector, oldest.UTC().Format(time.DateOnly),
		h.Sum(nil)[:16], len(ids), bytes, oldest.UnixMilli(), newest.UnixMilli())
}

// relKey matches the relative key of an object that the drain wrote, or that an operator wrote in its place.
var relKey = regexp.MustCompile(`^connector=([a-z]+)/date=([0-9]{4}-[0-9]{2}-[0-9]{2})/(?:[0-9a-f]{32}` +
	`-n([1-9][0-9]{0,6})-b([1-9][0-9]{0,10})-t([0-9]{1,15})-([0-9]{1,15})|[^/]+)\.jsonl$`)

// parseObject reads the relative key of an object with its size. It reports false for a key that neither the drain nor
// an operator who follows its form writes. The name counts the lines only if the size shows that the object is
// unchanged.
func parseObject(key string, size int64) (Object, bool) {
	m := relKey.FindStringSubmatch(key)
	if m == nil || m[1] != connectors.Unknown && !connectors.Known(m[1]) {
		return Object{}, false
	}
	date, err := time.Parse(time.DateOnly, m[2])
	if err != nil {
		return Object{}, false
	}
	o := Object{RelKey: key, Connector: m[1], Size: size, Lines: -1, Oldest: date.UnixMilli(), Newest: math.MaxInt64}
	var n [4]int64 // lines, bytes, oldest, newest: zero if the name has none; the expression excludes overflow
	for i := range n {
		n[i], _ = strconv.ParseInt(m[3+i], 10, 64)
	}
	if n[0] > 0 && n[1] == size && time.UnixMilli(n[2]).UTC().Format(time.DateOnly) == m[2] && n[2] <= n[3] {
		o.Lines, o.Oldest, o.Newest = int(n[0]), n[2], n[3]
	}
	return o, true
}

// LinesAtMost returns the number of lines of the object if its name tells it, otherwise the most that its size allows.
func (o *Object) LinesAtMost() int {
	const shortest = 128 // bytes of a line that the drain writes, at least
	if o.Lines >= 0 {
		return o.Lines
	}
	return int(max(1, o.Size/shortest))
}
