package deadletter

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/shared/connectors"
)

// The folders below the prefix.
const (
	pendingFolder  = "pending/"
	replayedFolder = "replayed/"
	ledgerFolder   = "ledger/"
	partialFolder  = "partial/"
	lockName       = "replay.lock"
)

const dateLayout = time.DateOnly

// object is one object of dead letters.
type object struct {
	tail      string // its key without prefix and folder
	connector string
	day       int64 // of its oldest record, days since 1970
	size      int64
	etag      string
	lines     int   // by its name, -1 when the name does not tell
	oldest    int64 // timestamp of its oldest record by its name, Unix ms; the day's begin when the name does not tell
	done      int   // lines of it that have been put back, as far as is noted
}

// dayOf returns the days since 1970 of a time in Unix milliseconds.
func dayOf(ms int64) int64 {
	const day = 24 * 60 * 60 * 1000
	return (ms - ((ms%day)+day)%day) / day
}

func dayStart(day int64) time.Time { return time.Unix(day*24*60*60, 0).UTC() }

// batchTail names the object that keeps a batch. The name is a function of the messages: their ids, how many they are,
// and the timestamp of the oldest, so that dead letters can be counted without opening an object.
func batchTail(connector string, ids []string, oldest time.Time) string {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	h := sha256.New()
	for _, id := range ids {
		fmt.Fprintf(h, "%d:%s", len(id), id)
	}
	return fmt.Sprintf("connector=%s/date=%s/%s-n%d-t%d.jsonl", connector, oldest.UTC().Format(dateLayout),
		hex.EncodeToString(h.Sum(nil)[:16]), len(ids), oldest.UnixMilli())
}

var (
	objectTail  = regexp.MustCompile(`^connector=([a-z]+)/date=([0-9]{4}-[0-9]{2}-[0-9]{2})/([^/]+)\.jsonl$`)
	batchName   = regexp.MustCompile(`^[0-9a-f]{32}-n([1-9][0-9]{0,6})-t([0-9]{1,15})$`)
	segmentTail = regexp.MustCompile(`^connector=[a-z]+/date=([0-9]{4}-[0-9]{2}-[0-9]{2})/[^/]+\.ids$`)
)

// parseTail reads an object's key without prefix and folder. It is false for what the drain did not name and an
// operator did not name alike. A name is trusted to count lines only when it has exactly the drain's form.
func parseTail(tail string) (object, bool) {
	m := objectTail.FindStringSubmatch(tail)
	if m == nil || m[1] != unknown && !connectors.Known(m[1]) {
		return object{}, false
	}
	date, err := time.Parse(dateLayout, m[2])
	if err != nil {
		return object{}, false
	}
	o := object{tail: tail, connector: m[1], day: dayOf(date.UnixMilli()), lines: -1, oldest: date.UnixMilli()}
	if name := batchName.FindStringSubmatch(m[3]); name != nil {
		lines, _ := strconv.Atoi(name[1])
		oldest, _ := strconv.ParseInt(name[2], 10, 64)
		if dayOf(oldest) == o.day {
			o.lines, o.oldest = lines, oldest
		}
	}
	return o, true
}

// parsePartial reads the key, without prefix and folder, that notes how many lines of an object have been put back.
func parsePartial(key string) (tail string, done int, ok bool) {
	i := strings.LastIndexByte(key, '/')
	if i < 0 {
		return "", 0, false
	}
	n, err := strconv.ParseUint(key[i+1:], 10, 31)
	return key[:i], int(n), err == nil
}

func partialTail(tail string, done int) string { return tail + "/" + strconv.Itoa(done) }
