package lambdahost

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// asFunction makes the test's binary a function.
const asFunction = "TEST_AS_FUNCTION"

func TestMain(m *testing.M) {
	if os.Getenv(asFunction) != "" {
		Start(NewConnector("test", openPoster, System()))
	}
	os.Exit(m.Run())
}

// poster posts events.
type poster struct {
	client *httpsend.Client
	r      httpsend.Request
}

func openPoster(s *settings.Settings) deliver.Connector {
	return &poster{httpsend.New(httpsend.Configure(s, "none")), httpsend.Request{
		URL:    s.URL("TEST_URL", "", "an endpoint"),
		Header: http.Header{"Authorization": {"Splunk " + s.Secret("TEST_TOKEN", true, "a token").Reveal()}},
	}}
}

func (p *poster) Format() deliver.Format { return deliver.Format{} }

func (p *poster) Append(dst []byte, e *event.Event) ([]byte, bool, error) {
	return e.AppendCompact(dst), false, nil
}

func (p *poster) Send(ctx context.Context, b *deliver.Batch) error {
	r := p.r
	r.Body = b.Body
	_, err := p.client.Do(ctx, r)
	return err
}

// TestStandardErrorStaysEmpty: libraries write nothing to standard error, even if a SIEM sends more than its response
// and echoes the request in it. An invocation's error is also a line of the log.
func TestStandardErrorStaysEmpty(t *testing.T) {
	const token, text = "feather-and-tar-7f3c", "what somebody asked"
	siem := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}%s %s", r.Header.Get("Authorization"), body)
	}))
	defer siem.Close()
	batch := strings.Replace(oneMessage, `{\"time`, `{\"text\":\"`+text+`\",\"time`, 1)
	payloads := []string{batch, batch, batch, `{"hello":1}`}
	var next atomic.Int64
	done, end := make(chan struct{}), make(chan struct{})
	runtime := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusAccepted)
			return
		}
		n := int(next.Add(1)) - 1
		if n >= len(payloads) {
			if n == len(payloads) {
				close(done)
			}
			<-end
			return
		}
		w.Header().Set("Lambda-Runtime-Aws-Request-Id", fmt.Sprint("request-", n))
		w.Header().Set("Lambda-Runtime-Deadline-Ms", "9999999999999")
		io.WriteString(w, payloads[n])
	}))
	defer runtime.Close()
	defer close(end)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	function := exec.Command(self)
	function.Stdout, function.Stderr = &stdout, &stderr
	function.Env = []string{asFunction + "=1", "AWS_LAMBDA_RUNTIME_API=" + strings.TrimPrefix(runtime.URL, "http://"),
		"TEST_URL=" + siem.URL, "TEST_TOKEN=" + token,
		"SIEM_ALLOW_HTTP=true", "SIEM_QUEUE_URL=https://q", "SIEM_DEAD_LETTER_QUEUE_URL=https://d"}
	if err := function.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = function.Wait() // killed
	}()
	select {
	case <-done:
	case <-exited:
	}
	_ = function.Process.Kill() // it may have exited
	<-exited
	if stderr.Len() > 0 {
		t.Errorf("standard error:\n%s", stderr.String())
	}
	out := stdout.String()
	if strings.Contains(out, token) || strings.Contains(out, text) {
		t.Errorf("standard output holds the credential or the event:\n%s", out)
	}
	if strings.Count(out, `"delivered":1`) != 3 || strings.Count(out, `"msg":"invocation failed"`) != 1 ||
		!strings.Contains(out, "Records") {
		t.Errorf("standard output, want three batches and the invocation's error:\n%s", out)
	}
}
