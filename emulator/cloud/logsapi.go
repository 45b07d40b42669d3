package cloud

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxHistory is how many lines of a function's log are kept.
const maxHistory = 2000

// history keeps the latest lines that the functions printed, by log group.
type history struct {
	mu     sync.Mutex
	groups map[string][]logEvent
	next   int
}

// logEvent is a line of a log as CloudWatch Logs returns it.
type logEvent struct {
	ID   string `json:"eventId"`
	At   int64  `json:"timestamp"` // Unix milliseconds
	Text string `json:"message"`
}

// logGroup is the physical name of a function's log group.
func logGroup(functionID string) string { return "/aws/lambda/" + functionName(functionID) }

func (h *history) add(functionID, line string, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.groups == nil {
		h.groups = map[string][]logEvent{}
	}
	h.next++
	group := logGroup(functionID)
	h.groups[group] = append(h.groups[group], logEvent{strconv.Itoa(h.next), at.UnixMilli(), line})
	if rest := len(h.groups[group]) - maxHistory; rest > 0 {
		h.groups[group] = h.groups[group][rest:]
	}
}

// since returns the lines of a group from a time on.
func (h *history) since(group string, from int64) []logEvent {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := []logEvent{}
	for _, e := range h.groups[group] {
		if e.At >= from {
			list = append(list, e)
		}
	}
	return list
}

// logEvents answers FilterLogEvents without a filter pattern, on one page.
// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
func (a *api) logEvents(w http.ResponseWriter, r *http.Request) {
	body, ok := readBody(w, r)
	if !ok {
		return
	}
	var in struct {
		Group string `json:"logGroupName"`
		From  int64  `json:"startTime"`
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if json.Unmarshal(body, &in) != nil || !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".FilterLogEvents") {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": "InvalidParameterException",
			"message": "only FilterLogEvents is supported"})
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"events": a.cloud.history.since(in.Group, in.From)})
}
