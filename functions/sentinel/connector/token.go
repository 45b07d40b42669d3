package connector

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/refresh"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

const (
	// renewBefore is how long before its expiry a token is renewed.
	renewBefore = 5 * time.Minute

	// renewAgain is the pause after a failed renewal, while the old token is still valid.
	renewAgain = 30 * time.Second
)

// token is an access token, ready for use.
type token struct {
	text   secret.Value
	header http.Header // of an ingestion request
	life   refresh.Life
}

func newToken(text secret.Value, from time.Time, life time.Duration) *token {
	early := renewBefore
	if life < 2*renewBefore {
		early = life / 2 // or a short-lived one would be requested every time
	}
	return &token{
		text: text,
		header: http.Header{
			"Authorization": {"Bearer " + text.Reveal()},
			"Content-Type":  {"application/json"},
		},
		life: refresh.Life{Renew: from.Add(life - early), Expire: from.Add(life)},
	}
}

// tokens keeps the access token and renews it.
type tokens struct {
	client *httpsend.Client
	cfg    config
	header http.Header
	cache  *refresh.Cache[*token]
}

func newTokens(cfg config) *tokens {
	http := cfg.http
	http.URLSetting = "SENTINEL_AUTHORITY_HOST"
	client := httpsend.New(http)
	return &tokens{
		client: client, cfg: cfg,
		header: map[string][]string{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}},
		cache: refresh.New[*token](client.Now, renewAgain,
			func(err error) bool { return failure.Of(err).Kind != failure.Unauthorized }),
	}
}

// get returns a token to use now. It makes a request only if there is none, or it is about to expire.
func (ts *tokens) get(ctx context.Context, m *telemetry.Meter) (*token, error) {
	if t, ok := ts.cache.Fresh(); ok {
		return t, nil
	}
	t, err := ts.cache.Get(ctx, func(ctx context.Context) (*token, refresh.Life, error) {
		t, err := ts.request(ctx, m)
		if err != nil {
			return nil, refresh.Life{}, err
		}
		return t, t.life, nil
	})
	if f := (*failure.Error)(nil); err != nil && !errors.As(err, &f) {
		err = &failure.Error{Step: failure.Auth, Detail: "no access token in time", Err: err}
	}
	return t, err
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

// drop removes t, which Azure refused, unless it has been replaced.
func (ts *tokens) drop(t *token) { ts.cache.Drop(t) }

// dropAll removes the token.
func (ts *tokens) dropAll() {
	if t, ok := ts.cache.Current(); ok {
		ts.cache.Drop(t)
	}
}
