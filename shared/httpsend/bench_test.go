package httpsend

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// BenchmarkDo measures one request over a kept connection: the sizes of one event and of a batch, compressed and not.
func BenchmarkDo(b *testing.B) {
	for _, secure := range []bool{false, true} {
		for _, test := range []struct {
			name string
			gzip bool
			size int
		}{{"2KB", false, 2 << 10}, {"100KB", false, 100 << 10}, {"1MB", false, 1 << 20}, {"100KB-gzip", true, 100 << 10}} {
			b.Run(fmt.Sprintf("tls=%t/%s", secure, test.name), func(b *testing.B) {
				srv := serve(b, secure, func(w http.ResponseWriter, r *http.Request) {
					io.Copy(io.Discard, r.Body)
					io.WriteString(w, `{"text":"Success","code":0}`)
				})
				c := New(Config{Timeout: 10 * time.Second, Gzip: test.gzip, Insecure: secure})
				r := Request{URL: mustParse(b, srv.URL), Header: http.Header{"Authorization": {"Splunk x"}}, Body: noise(test.size)}
				b.ReportAllocs()
				for b.Loop() {
					if a, err := c.Do(b.Context(), r); err != nil || a.Status != http.StatusOK {
						b.Fatal(a, err)
					}
				}
			})
		}
	}
}
