package replay

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// skip is a kind of reason why a dead letter cannot be replayed.
type skip string

// The kinds. Each makes one entry in the response's errors.
const (
	skipUnknown     skip = `their connector is unknown`
	skipNotDeployed skip = `their connector is not deployed: the function has no queue URL for it`
	skipBody        skip = `their body is not a JSON object`
	skipLine        skip = `their line is not a dead letter of its folder's connector`
	skipName        skip = `their object is not named pending/connector=<connector>/date=<date>/<name>.jsonl`
	skipReplayed    skip = `they have been replayed three times already; "force": true replays them nevertheless`
	skipRefused     skip = `SQS refuses them`
)

// skipCounts counts skipped dead letters by kind and connector.
type skipCounts map[skip]*skipCount

type skipCount struct {
	by    map[string]int
	place string // of the first: an object and a line
}

func (c skipCounts) add(kind skip, connector string, n int, place string) {
	if n <= 0 {
		return
	}
	if c[kind] == nil {
		c[kind] = &skipCount{by: make(map[string]int), place: place}
	}
	c[kind].by[connector] += n
}

// total returns the count of one connector, or of all for "".
func (c skipCounts) total(connector string) (n int) {
	for _, one := range c {
		for by, count := range one.by {
			if connector == "" || connector == by {
				n += count
			}
		}
	}
	return n
}

// texts describes the counts, one entry for each kind.
func (c skipCounts) texts() []string {
	texts := make([]string, 0, len(c))
	for _, kind := range slices.Sorted(maps.Keys(c)) {
		sum := 0
		for _, n := range c[kind].by {
			sum += n
		}
		names := strings.Join(slices.Sorted(maps.Keys(c[kind].by)), ", ")
		texts = append(texts, fmt.Sprintf("%d skipped (%s): %s; the first is %s", sum, names, kind, c[kind].place))
	}
	return texts
}
