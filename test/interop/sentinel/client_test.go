// Package sentinel compares what the connector sends with what Azure's official Go client for the Logs Ingestion API
// sends, and shows that this client gets on with the simulator, so that the simulator is not only the connector's own
// idea of Azure.
// https://github.com/Azure/azure-sdk-for-go/tree/main/sdk/monitor/ingestion/azlogs
package sentinel

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/monitor/ingestion/azlogs"

	"github.com/arbitex/siem-connectors/emulator/siem"
	simulator "github.com/arbitex/siem-connectors/emulator/siem/sentinel"
	"github.com/arbitex/siem-connectors/emulator/siem/siemtest"
	sentinel "github.com/arbitex/siem-connectors/functions/sentinel/connector"
	"github.com/arbitex/siem-connectors/internal/pki"
	"github.com/arbitex/siem-connectors/test/interop/recorder"
)

const accessToken = "eyJ0eXAiOiJKV1QifQ.e30.c2ln"

// credential gives the official client a token, and keeps the scopes it was asked for.
type credential struct {
	token  string
	scopes []string
}

func (c *credential) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	c.scopes = o.Scopes
	return azcore.AccessToken{Token: c.token, ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// theirs sends rows through the official client, once.
func theirs(t *testing.T, endpoint string, transport *http.Client, c *credential, rule, stream, rows string) error {
	t.Helper()
	options := azlogs.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: transport, Retry: policy.RetryOptions{MaxRetries: -1},
	}}
	client, err := azlogs.NewClient(endpoint, c, &options)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Upload(t.Context(), rule, stream, []byte(rows), nil)
	return err
}

func isToken(r recorder.Request) bool { return strings.HasSuffix(r.Path, "/oauth2/v2.0/token") }

func ingests(r recorder.Request) bool { return !isToken(r) }

// answer grants a token, and takes rows as Azure does.
func answer(w http.ResponseWriter, r recorder.Request) {
	if isToken(r) {
		fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3599,"access_token":%q}`, accessToken)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// ours sends events with the connector and returns its request. The connector has no setting for a CA, so it may use
// HTTP with this recorder; the official client uses HTTPS.
func ours(t *testing.T, compression, rule, stream string, bodies []string) recorder.Request {
	t.Helper()
	r := recorder.Start(t, true, answer)
	c := recorder.Open(t, sentinel.Open, map[string]string{
		"SENTINEL_TENANT_ID": "tenant", "SENTINEL_CLIENT_ID": "client", "SENTINEL_CLIENT_SECRET": "secret",
		"SENTINEL_DCR_ENDPOINT": r.URL, "SENTINEL_AUTHORITY_HOST": r.URL, "SIEM_ALLOW_HTTP": "true",
		"SENTINEL_DCR_RULE_ID": rule, "SENTINEL_DCR_STREAM_NAME": stream, "SIEM_COMPRESSION": compression,
	})
	recorder.Deliver(t, c, bodies)
	return r.Only(t, ingests)
}

// TestSameRequest gives the client the rows that the connector made, which is all that it leaves to its caller. The
// second stream's name, which Azure would not have, shows that both escape a name in the same way.
func TestSameRequest(t *testing.T) {
	for _, stream := range []string{"Custom-ArbitexAudit_CL", "Custom-Odd name%?_CL"} {
		t.Run(stream, func(t *testing.T) {
			const rule = "dcr-0123456789abcdef0123456789abcdef"
			we := ours(t, "none", rule, stream, recorder.Events(3, 20))
			r := recorder.Start(t, false, answer)
			if err := theirs(t, r.URL, r.Client, &credential{token: accessToken}, rule, stream, we.Body); err != nil {
				t.Fatal(err)
			}
			compare(t, we, r.Only(t, nil))
		})
	}
}

func compare(t *testing.T, we, they recorder.Request) {
	t.Helper()
	if we.Method != they.Method || we.Path != they.Path || we.Query != they.Query {
		t.Errorf("we send %s %s?%s, they %s %s?%s", we.Method, we.Path, we.Query, they.Method, they.Path, they.Query)
	}
	for _, name := range []string{"Authorization", "Content-Type", "Content-Encoding"} {
		if got, want := we.Header.Get(name), they.Header.Get(name); got != want {
			t.Errorf("we send %s %q, they %q", name, got, want)
		}
	}
	if got := we.Header.Get("Authorization"); got != "Bearer "+accessToken {
		t.Errorf("the token is not the one we were granted: %q", got)
	}
	// They say that they want JSON for an answer. A refusal is JSON without being asked for, and a success is empty.
	if we.Header.Get("Accept") != "" || they.Header.Get("Accept") != "application/json" {
		t.Errorf("we send Accept %q, they %q", we.Header.Get("Accept"), they.Header.Get("Accept"))
	}
	if we.Body != they.Body {
		t.Errorf("we send %q, they %q", we.Body, they.Body)
	}
	var rows []map[string]any
	if err := json.Unmarshal([]byte(they.Body), &rows); err != nil || len(rows) != 20 {
		t.Errorf("%d rows: %v", len(rows), err)
	}
}

// TestCompressedIsTheSame: compression changes only the encoding. The client leaves compression to its caller.
func TestCompressedIsTheSame(t *testing.T) {
	bodies := recorder.Events(3, 20)
	plain, packed := ours(t, "none", "dcr-1", "s", bodies), ours(t, "gzip", "dcr-1", "s", bodies)
	if packed.Header.Get("Content-Encoding") != "gzip" || plain.Header.Get("Content-Encoding") != "" {
		t.Errorf("encodings %q and %q", packed.Header.Get("Content-Encoding"), plain.Header.Get("Content-Encoding"))
	}
	if plain.Body != packed.Body || plain.Path != packed.Path || plain.Query != packed.Query {
		t.Error("compression changes more than the encoding")
	}
}

// TestScope: both request tokens for the same resource. The client's scope has one more slash, because it assumes that
// the resource ends in one. Ours is the documented scope; SENTINEL_SCOPE can be set to the other.
func TestScope(t *testing.T) {
	r := recorder.Start(t, true, answer)
	c := recorder.Open(t, sentinel.Open, map[string]string{
		"SENTINEL_TENANT_ID": "tenant", "SENTINEL_CLIENT_ID": "client", "SENTINEL_CLIENT_SECRET": "secret",
		"SENTINEL_DCR_ENDPOINT": r.URL, "SENTINEL_AUTHORITY_HOST": r.URL, "SIEM_ALLOW_HTTP": "true",
		"SENTINEL_DCR_RULE_ID": "dcr-1", "SENTINEL_DCR_STREAM_NAME": "s",
	})
	recorder.Deliver(t, c, recorder.Events(3, 1))
	form, err := url.ParseQuery(r.Only(t, isToken).Body)
	if err != nil {
		t.Fatal(err)
	}
	other, cred := recorder.Start(t, false, answer), &credential{token: accessToken}
	if err := theirs(t, other.URL, other.Client, cred, "dcr-1", "s", "[]"); err != nil {
		t.Fatal(err)
	}
	if len(cred.scopes) != 1 || strings.Replace(cred.scopes[0], ".com//", ".com/", 1) != form.Get("scope") {
		t.Errorf("we ask for %q, they for %q", form.Get("scope"), cred.scopes)
	}
}

// TestClientAndSimulator: the official client reads the simulator's responses to a valid and to an invalid request.
func TestClientAndSimulator(t *testing.T) {
	authority := pki.New("test CA")
	s := siemtest.Start(t, simulator.New, siem.Options{Authority: authority})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority.Pool()}}}
	t.Cleanup(client.CloseIdleConnections)
	env := s.Settings()
	rule, stream := env["SENTINEL_DCR_RULE_ID"], env["SENTINEL_DCR_STREAM_NAME"]
	rows := ours(t, "none", rule, stream, recorder.Events(3, 20)).Body
	good := &credential{token: grant(t, client, env, s.Secret())}
	for _, c := range []struct {
		name         string
		credential   *credential
		stream, rows string
		status       int
		code         string
	}{
		{"good", good, stream, rows, 0, ""},
		{"token", &credential{token: "another"}, stream, rows, http.StatusUnauthorized, "InvalidToken"},
		{"stream", good, "Custom-Other_CL", rows, http.StatusBadRequest, "InvalidStream"},
		{"rows", good, stream, `{"no":"array"}`, http.StatusBadRequest, "InvalidPayload"},
	} {
		err := theirs(t, s.URL(), client, c.credential, rule, c.stream, c.rows)
		var refused *azcore.ResponseError
		if errors.As(err, &refused); c.status == 0 && err != nil || c.status != 0 &&
			(refused == nil || refused.StatusCode != c.status || refused.ErrorCode != c.code) {
			t.Errorf("%s: %v, want status %d %s", c.name, err, c.status, c.code)
		}
	}
	if n := len(s.Accepted()); n != 20 {
		t.Errorf("%d rows, want 20", n)
	}
	if problems := s.Stats().Violations; len(problems) != 0 {
		t.Errorf("violations: %q", problems)
	}
}

// grant gets a token from the simulator.
func grant(t *testing.T, client *http.Client, env, secret map[string]string) string {
	t.Helper()
	res, err := client.PostForm(env["SENTINEL_AUTHORITY_HOST"]+"/"+env["SENTINEL_TENANT_ID"]+"/oauth2/v2.0/token",
		url.Values{
			"grant_type": {"client_credentials"}, "client_id": {env["SENTINEL_CLIENT_ID"]},
			"client_secret": {secret["SENTINEL_CLIENT_SECRET"]}, "scope": {"https://monitor.azure.com/.default"},
		})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var granted struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&granted); err != nil || granted.Token == "" {
		t.Fatalf("status %d, no token: %v", res.StatusCode, err)
	}
	return granted.Token
}
