package connector

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// HEC answers before its indexers have an event. With acknowledgement it returns an ackId, which the acknowledgement
// endpoint reports as true once they have it. An id that is false is pending or unknown, never failed.
// https://help.splunk.com/en/splunk-enterprise/get-data-in/collect-http-event-data/about-http-event-collector-indexer-acknowledgment

// The pauses between polls. A poll costs the indexers more than a pause costs in Lambda, which bills by the
// millisecond.
const (
	firstPause = 500 * time.Millisecond
	maxPause   = 5 * time.Second
)

// acks confirms the requests of one channel.
type acks struct {
	client  *httpsend.Client
	cfg     config
	pause   func(context.Context, time.Duration) // returns early when the context ends
	mu      sync.Mutex
	cookies map[string]string // a load balancer's, which lead to the node that knows the channel's ids
}

func newAcks(client *httpsend.Client, cfg config) *acks {
	return &acks{client: client, cfg: cfg, cookies: map[string]string{}, pause: func(ctx context.Context,
		d time.Duration) {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}}
}

// do makes a request of the channel, with the cookies of its earlier responses.
func (k *acks) do(ctx context.Context, r httpsend.Request) (*httpsend.Response, error) {
	k.mu.Lock()
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(k.cookies)) {
		pairs = append(pairs, name+"="+k.cookies[name])
	}
	k.mu.Unlock()
	if len(pairs) > 0 {
		r.Header = r.Header.Clone()
		r.Header["Cookie"] = []string{strings.Join(pairs, "; ")}
	}
	a, err := k.client.Do(ctx, r)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range (&http.Response{Header: a.Header}).Cookies() {
		if k.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(k.cookies, c.Name)
		}
	}
	return a, nil
}

// ackCodes are the responses of the acknowledgement endpoint: {"acks":{"7":true}}, or HEC's codes.
var ackCodes = &httpsend.Codes{SIEM: codes.SIEM, Rows: codes.Rows, Hint: codes.Hint,
	Read: func(a *httpsend.Response) httpsend.Reply {
		if readAcks(a) != nil {
			return httpsend.Reply{Success: true}
		}
		r := read(a)
		r.Success = false
		return r
	}}

func readAcks(a *httpsend.Response) map[string]bool {
	var body struct{ Acks map[string]bool }
	if json.Unmarshal(a.Body, &body) != nil {
		return nil
	}
	return body.Acks
}

// poll asks once which ids are acknowledged.
func (k *acks) poll(ctx context.Context, header http.Header, ids []int64, m *telemetry.Meter) (map[string]bool, error) {
	body := []byte(`{"acks":[`)
	for i, id := range ids {
		if i > 0 {
			body = append(body, ',')
		}
		body = strconv.AppendInt(body, id, 10)
	}
	body = append(body, "]}"...)
	a, err := k.do(ctx, httpsend.Request{URL: k.cfg.ackURL, Header: header, Body: body, Plain: true, Meter: m})
	if err != nil {
		return nil, err
	}
	if f := ackCodes.Classify(a); f != nil {
		return nil, f
	}
	return readAcks(a), nil
}

// Confirm implements deliver.Confirmer: it polls until all ids are acknowledged, the time for that is over, or a poll
// shows that they never will be.
func (c *connector) Confirm(ctx context.Context, ids []int64, m *telemetry.Meter) []error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.ackTimeout)
	defer cancel()
	left := slices.Clone(ids)
	late := &failure.Error{
		Step: failure.Request, Detail: fmt.Sprintf("the indexers did not acknowledge the events within %s", c.cfg.ackTimeout),
		Hint: "check the indexers, and that a load balancer in front of them keeps sessions; or raise " +
			"SPLUNK_HEC_ACK_TIMEOUT_SECONDS",
	}
	for pause := firstPause; len(left) > 0; pause = min(2*pause, maxPause) {
		if c.acks.pause(ctx, pause); ctx.Err() != nil {
			break
		}
		done, err := c.acks.poll(ctx, c.header, left, m)
		if f := failure.Of(err); f != nil && (f.Kind == failure.Misconfigured || f.Kind == failure.Unauthorized) {
			late = f
			break
		}
		late.Err = err
		left = slices.DeleteFunc(left, func(id int64) bool { return done[strconv.FormatInt(id, 10)] })
	}
	results := make([]error, len(ids))
	for i, id := range ids {
		if slices.Contains(left, id) {
			results[i] = late
		}
	}
	return results
}
