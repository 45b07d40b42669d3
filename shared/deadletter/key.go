package deadletter

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/arbitex/siem-connectors/shared/connectors"
)

// The folders below the prefix.
const (
	PendingFolder   = "pending/"
	ReplayedFolder  = "replayed/"
	DiscardedFolder = "discarded/"
	ProgressFolder  = "progress/"
	LockName        = "replay.lock"
)

// Object is one pending object.
type Object struct {
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
	return fmt.Sprintf("connector=%s/date=%s/%s-n%d-b%d-t%d-%d.jsonl", connector, oldest.UTC().Format(time.DateOnly),
		hex.EncodeToString(h.Sum(nil)[:16]), len(ids), bytes, oldest.UnixMilli(), newest.UnixMilli())
}

var (
	objectKey = regexp.MustCompile(`(?s)^connector=([a-z]+)/date=([0-9]{4}-[0-9]{2}-[0-9]{2})/([^/]+)\.jsonl$`)
	batchName = regexp.MustCompile(`^[0-9a-f]{32}-n([1-9][0-9]{0,6})-b([1-9][0-9]{0,10})-t([0-9]{1,15})-([0-9]{1,15})$`)
)

// parseObject reads the relative key of an object with its size. It reports false for a key that neither the drain nor
// an operator who follows its form writes. The name counts the lines only if the size shows that the object is
// unchanged.
func parseObject(relKey string, size int64) (Object, bool) {
	m := objectKey.FindStringSubmatch(relKey)
	if m == nil || m[1] != Unknown && !connectors.Known(m[1]) {
		return Object{}, false
	}
	date, err := time.Parse(time.DateOnly, m[2])
	if err != nil {
		return Object{}, false
	}
	o := Object{RelKey: relKey, Connector: m[1], Size: size, Lines: -1, Oldest: date.UnixMilli(), Newest: math.MaxInt64}
	if name := batchName.FindStringSubmatch(m[3]); name != nil {
		var n [4]int64 // lines, bytes, oldest, newest; the expression excludes overflow
		for i := range n {
			n[i], _ = strconv.ParseInt(name[i+1], 10, 64)
		}
		if n[1] == size && time.UnixMilli(n[2]).UTC().Format(time.DateOnly) == m[2] && n[2] <= n[3] {
			o.Lines, o.Oldest, o.Newest = int(n[0]), n[2], n[3]
		}
	}
	return o, true
}

// LinesAtMost returns the number of lines of the object if its name tells it. Otherwise it estimates the number from
// the length in bytes of the shortest line of other objects, if that is known.
func (o *Object) LinesAtMost(shortest int64) int {
	const typical = 400
	if o.Lines >= 0 {
		return o.Lines
	}
	if shortest == math.MaxInt64 {
		shortest = typical
	}
	return int(max(1, o.Size/shortest))
}
