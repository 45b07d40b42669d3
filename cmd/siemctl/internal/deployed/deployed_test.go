package deployed

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/arbitex/siem-connectors/shared/deadletter"
)

// TestConnectErrors: an error names what responded, and what an operator can do, without the text of the SDK.
func TestConnectErrors(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	fault := func(code string) string {
		return "<ErrorResponse><Error><Code>" + code + "</Code><Message>refused</Message></Error></ErrorResponse>"
	}
	for _, x := range []struct {
		status     int
		body, want string
	}{
		{403, fault("AccessDenied"), "AccessDenied: refused; the caller's role needs this permission"},
		{403, fault("ExpiredToken"), "ExpiredToken: refused; set AWS_PROFILE or --profile, or sign in"},
		{403, fault("InvalidClientTokenId"), "InvalidClientTokenId: refused; set AWS_PROFILE"},
		{400, fault("Throttling"), "Throttling: refused"},
		{403, "<html>blocked</html>", "status 403, without an error of AWS; check --region, --endpoint-url"},
		{302, "", "status 302, without an error of AWS; check --region"},
		{200, "<html>sign in</html>", "status 200, not a response of AWS; check --region"},
		{0, "", "EOF; check --region, --endpoint-url and the network"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if x.status == 0 {
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(x.status)
			_, _ = w.Write([]byte(x.body))
		}))
		_, err := Connect(t.Context(), Options{Stack: "siem", Region: "eu-west-1", Endpoint: server.URL})
		server.Close()
		const doing = `looking for the stack "siem" in eu-west-1: `
		if err == nil || !strings.HasPrefix(err.Error(), doing) || !strings.Contains(err.Error(), x.want) ||
			strings.Contains(err.Error(), "operation error") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%d %q: %v, want %q", x.status, x.body, err, x.want)
		}
	}
}

// TestBucketErrors: an error of S3 has the form of the others, and names the bucket.
func TestBucketErrors(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	const list = "<ListBucketResult><Contents><Key>dead/pending/connector=splunk/date=2026-03-13/a.jsonl</Key>" +
		"<Size>9</Size></Contents></ListBucketResult>"
	for _, listed := range []bool{false, true} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case listed && r.URL.Query().Has("list-type"):
				_, _ = w.Write([]byte(list))
			default:
				w.WriteHeader(http.StatusForbidden)
				_, _ = w.Write([]byte("<Error><Code>AccessDenied</Code><Message>refused</Message></Error>"))
			}
		}))
		cfg, err := Config(t.Context(), Options{Region: "eu-west-1", Endpoint: server.URL})
		if err != nil {
			t.Fatal(err)
		}
		s := &Stack{s3: s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }),
			functions: map[string]map[string]string{"Replay": {"SIEM_DEAD_LETTER_PATH": "s3://bucket/dead"}}}
		store, path, err := s.DeadLetters(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		reader, err := deadletter.NewReader(store, path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = reader.Each(t.Context(), deadletter.Filter{}, func(*deadletter.Letter) error { return nil })
		server.Close()
		const want = "bucket bucket: AccessDenied: refused; the caller's role needs this permission"
		var typed *Error
		if !errors.As(err, &typed) || !strings.Contains(err.Error(), want) {
			t.Errorf("listed %v: %v, want %q", listed, err, want)
		}
	}
}
