package httpsend

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
)

// TestDisconnected: a broken connection is told apart from a server that does not respond in time, because one event
// may have caused the former.
func TestDisconnected(t *testing.T) {
	var release chan struct{}
	for name, c := range map[string]struct {
		handle http.HandlerFunc
		want   bool
	}{
		"the server closes the connection": {func(w http.ResponseWriter, _ *http.Request) {
			if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
				_ = conn.Close()
			}
		}, true},
		"the server does not respond": {func(http.ResponseWriter, *http.Request) { <-release }, false},
	} {
		t.Run(name, func(t *testing.T) {
			release = make(chan struct{})
			srv := httptest.NewServer(c.handle)
			defer srv.Close()
			defer close(release)
			client := New(Config{Timeout: time.Second})
			_, err := client.Do(t.Context(), Request{URL: mustParse(t, srv.URL), Body: []byte("x")})
			if f := failure.Of(err); f == nil || f.Disconnected != c.want || f.Step != failure.Request {
				t.Errorf("%+v, want a failure of step request, disconnected %v", f, c.want)
			}
		})
	}
}
