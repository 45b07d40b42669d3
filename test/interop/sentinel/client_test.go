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
	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
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

// Parts of the paths of a request for a token, and of one with rows.
const (
	tokens = "/oauth2/v2.0/token"
	rows   = "/streams/"
)

// answer grants a token, and takes rows as Azure does.
func answer(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, tokens) {
		fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3599,"access_token":%q}`, accessToken)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// ours sends events with the connector and returns its requests. The connector has no setting for a CA, so it may use
// HTTP with this recorder; the official client uses HTTPS.
func ours(t *testing.T, compression, rule, stream string, bodies []string) *connectortest.Recorder {
	t.Helper()
	r := connectortest.Record(t, answer)
	c := connectortest.Read(t, map[string]string{
		"SENTINEL_TENANT_ID": "tenant", "SENTINEL_CLIENT_ID": "client", "SENTINEL_CLIENT_SECRET": "secret",
		"SENTINEL_DCR_ENDPOINT": r.URL, "SENTINEL_AUTHORITY_HOST": r.URL, "SIEM_ALLOW_HTTP": "true",
		"SENTINEL_DCR_RULE_ID": rule, "SENTINEL_DCR_STREAM_NAME": stream, "SIEM_COMPRESSION": compression,
	}, sentinel.Open)
	for i, o := range connectortest.Deliver(t, c, bodies...) {
		if o.State != deliver.Delivered { // one is larger than a column, and truncated
			t.Fatalf("event %d: not delivered: %v", i, o.Fault)
		}
	}
	return r
}

// TestSameRequest gives the client the rows that the connector made, which is all that it leaves to its caller. The
// second stream's name, which Azure would not have, shows that both escape a name in the same way.
func TestSameRequest(t *testing.T) {
	for _, stream := range []string{"Custom-ArbitexAudit_CL", "Custom-Odd name%?_CL"} {
		t.Run(stream, func(t *testing.T) {
			const rule = "dcr-0123456789abcdef0123456789abcdef"
			we := ours(t, "none", rule, stream, connectortest.Generated(3, 20)).Only(t, rows)
			r, _ := connectortest.RecordTLS(t, answer)
			if err := theirs(t, r.URL, r.Client(), &credential{token: accessToken}, rule, stream, we.Text); err != nil {
				t.Fatal(err)
			}
			compare(t, we, r.Only(t, ""))
		})
	}
}

func compare(t *testing.T, we, they *connectortest.Request) {
	t.Helper()
	if we.Method != they.Method || we.RequestURI != they.RequestURI {
		t.Errorf("we send %s %s, they %s %s", we.Method, we.RequestURI, they.Method, they.RequestURI)
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
	if we.Text != they.Text {
		t.Errorf("we send %q, they %q", we.Text, they.Text)
	}
	var rows []map[string]any
	if err := json.Unmarshal([]byte(they.Text), &rows); err != nil || len(rows) != 20 {
		t.Errorf("%d rows: %v", len(rows), err)
	}
}

// TestCompressedIsTheSame: compression changes only the encoding. The client leaves compression to its caller.
func TestCompressedIsTheSame(t *testing.T) {
	bodies := connectortest.Generated(3, 20)
	plain := ours(t, "none", "dcr-1", "s", bodies).Only(t, rows)
	packed := ours(t, "gzip", "dcr-1", "s", bodies).Only(t, rows)
	if packed.Header.Get("Content-Encoding") != "gzip" || plain.Header.Get("Content-Encoding") != "" {
		t.Errorf("encodings %q and %q", packed.Header.Get("Content-Encoding"), plain.Header.Get("Content-Encoding"))
	}
	if plain.Text != packed.Text || plain.RequestURI != packed.RequestURI {
		t.Error("compression changes more than the encoding")
	}
}

// TestScope: both request tokens for the same resource. The client's scope has one more slash, because it assumes that
// the resource ends in one. Ours is the documented scope; SENTINEL_SCOPE can be set to the other.
func TestScope(t *testing.T) {
	r := ours(t, "none", "dcr-1", "s", connectortest.Generated(3, 1))
	form, err := url.ParseQuery(r.Only(t, tokens).Text)
	if err != nil {
		t.Fatal(err)
	}
	other, _ := connectortest.RecordTLS(t, answer)
	cred := &credential{token: accessToken}
	if err := theirs(t, other.URL, other.Client(), cred, "dcr-1", "s", "[]"); err != nil {
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
	valid := ours(t, "none", rule, stream, connectortest.Generated(3, 20)).Only(t, rows).Text
	good := &credential{token: grant(t, client, env, s.Secret())}
	for _, c := range []struct {
		name         string
		credential   *credential
		stream, rows string
		status       int
		code         string
	}{
		{"good", good, stream, valid, 0, ""},
		{"token", &credential{token: "another"}, stream, valid, http.StatusUnauthorized, "InvalidToken"},
		{"stream", good, "Custom-Other_CL", valid, http.StatusBadRequest, "InvalidStream"},
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
