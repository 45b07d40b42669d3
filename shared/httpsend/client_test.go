package httpsend

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
)

func TestDo(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := httputil.DumpRequest(r, true)
		w.Write(b)
	}))
	defer srv.Close()
	u, _ := url.Parse(srv.URL)
	c := New(Config{Timeout: 5e9, Insecure: true, Gzip: true})
	a, err := c.Do(context.Background(), Request{URL: u, Body: []byte("x"), Header: http.Header{"Authorization": {"Splunk x"}}})
	t.Log(err)
	t.Logf("%d %s", a.Status, a.Body)
}
