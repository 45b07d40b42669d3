package deadletter

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// skip is a kind of reason why a dead letter cannot be put back.
type skip string

// The kinds. Each makes one entry in the answer's errors.
const (
	skipUnknown     skip = `their connector cannot be told`
	skipNotDeployed skip = `their connector is not deployed: the function has no queue URL for it`
	skipBody        skip = `their body is not a JSON object`
	skipLine        skip = `their line is not a dead letter, or not one of its folder's connector`
	skipReplayed    skip = `they have been put back three times already: "force": true puts them back all the same`
	skipRefused     skip = `SQS refuses them`
)

// tally counts skipped dead letters by kind and connector.
type tally map[skip]map[string]int

func (t tally) add(kind skip, connector string, n int) {
	if n <= 0 {
		return
	}
	if t[kind] == nil {
		t[kind] = make(map[string]int)
	}
	t[kind][connector] += n
}

// skipped is how many there are.
func (t tally) skipped() (n int) {
	for _, by := range t {
		for _, count := range by {
			n += count
		}
	}
	return n
}

// of is how many there are of one connector.
func (t tally) of(connector string) (n int) {
	for _, by := range t {
		n += by[connector]
	}
	return n
}

// texts says it in words, one entry a kind.
func (t tally) texts() []string {
	texts := make([]string, 0, len(t))
	for _, kind := range slices.Sorted(maps.Keys(t)) {
		sum := 0
		for _, n := range t[kind] {
			sum += n
		}
		names := strings.Join(slices.Sorted(maps.Keys(t[kind])), ", ")
		texts = append(texts, fmt.Sprintf("%d skipped (%s): %s", sum, names, kind))
	}
	return texts
}
