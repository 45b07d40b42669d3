package connector

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

const (
	// renewBefore is how long before its expiry a token is renewed.
	renewBefore = 5 * time.Minute

	// renewAgain is how long a token that still works is used when it could not be renewed.
	renewAgain = 30 * time.Second
)

// token is an access token, ready for use.
type token struct {
	text    secret.Value
	header  http.Header // of an ingestion request
	renewAt int64       // wall clock, Unix ms: the other clock may stand still while the process is frozen
	expires int64
}

func newToken(text secret.Value, from time.Time, life time.Duration) *token {
	early := renewBefore
	if life < 2*renewBefore {
		early = life / 2 // or a short-lived one would be asked for with each request
	}
	return &token{
		text: text,
		header: http.Header{
			"Authorization": {"Bearer " + text.Reveal()},
			"Content-Type":  {"application/json"},
		},
		renewAt: from.Add(life - early).UnixMilli(),
		expires: from.Add(life).UnixMilli(),
	}
}

// tokens keeps the access token and renews it: at most one request for it is under way, and all who need it wait for its
// answer.
type tokens struct {
	client *httpsend.Client
	cfg    config
	header http.Header

	mu      sync.Mutex
	current *token  // nil when there is none
	flight  *flight // the request under way, nil when there is none
}

// flight is one request for a token. Its results are there when done is closed.
type flight struct {
	done      chan struct{}
	token     *token
	err       error
	abandoned bool // the time of the one who made it was over, which says nothing to those who wait
}

func newTokens(cfg config) *tokens {
	http := cfg.http
	http.URLSetting = "SENTINEL_AUTHORITY_HOST"
	return &tokens{
		client: httpsend.New(http), cfg: cfg,
		header: map[string][]string{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}},
	}
}

// get returns a token to use now. It makes a request only when there is none, or it is about to expire.
func (ts *tokens) get(ctx context.Context, m *telemetry.Meter) (*token, error) {
	for {
		t, f, mine := ts.join()
		switch {
		case t != nil:
			return t, nil
		case mine:
			ts.fly(ctx, f, m)
			return f.token, f.err
		}
		select {
		case <-f.done:
			if !f.abandoned {
				return f.token, f.err
			}
		case <-ctx.Done():
			return nil, &failure.Error{Step: failure.Auth, Detail: "no access token in time", Err: ctx.Err()}
		}
	}
}

// join returns the token when it is good, else the request to wait for, which is the caller's to make when mine.
func (ts *tokens) join() (t *token, f *flight, mine bool) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.current != nil && ts.now() < ts.current.renewAt {
		return ts.current, nil, false
	}
	if ts.flight != nil {
		return nil, ts.flight, false
	}
	ts.flight = &flight{done: make(chan struct{}), abandoned: true}
	return nil, ts.flight, true
}

func (ts *tokens) now() int64 { return ts.client.Now().UnixMilli() }

// fly makes the request of f. Whatever happens, nobody is left waiting for it.
func (ts *tokens) fly(ctx context.Context, f *flight, m *telemetry.Meter) {
	defer func() {
		ts.mu.Lock()
		defer ts.mu.Unlock()
		ts.flight = nil
		close(f.done)
	}()
	t, err := ts.request(ctx, m)
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if err == nil {
		ts.current = t
	} else if old := ts.current; old != nil && ts.now() < old.expires && failure.Of(err).Kind != failure.Unauthorized {
		// It was only to be renewed early, and still works. A copy, since others read the old one.
		still := *old
		still.renewAt = min(ts.now()+renewAgain.Milliseconds(), old.expires)
		ts.current, t, err = &still, &still, nil
	}
	f.token, f.err = t, err
	f.abandoned = err != nil && ctx.Err() != nil
}

// request requests a token. Its lifetime counts from the request, not from the response.
func (ts *tokens) request(ctx context.Context, m *telemetry.Meter) (*token, error) {
	from := ts.client.Now()
	form, proof, err := ts.cfg.form(ctx)
	if err != nil {
		return nil, err
	}
	a, err := ts.client.Do(ctx, httpsend.Request{
		URL: ts.cfg.authority, Header: ts.header, Body: []byte(form), Plain: true, Meter: m, Secret: proof,
	})
	if err != nil {
		return nil, err
	}
	return classifyToken(a, from)
}

// drop forgets t, which the SIEM has refused, unless it has been replaced already.
func (ts *tokens) drop(t *token) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.current != nil && ts.current.text == t.text { // the same answer's, not only alike
		ts.current = nil
	}
}

// dropAll forgets the token, whichever it is.
func (ts *tokens) dropAll() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.current = nil
}
