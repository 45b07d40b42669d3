package all

import (
	"net/http"
	"time"

	"github.com/arbitex/siem-connectors/local/siem"
)

func splunkScript() []Act {
	const outage = "outage"
	return []Act{
		{0, "", "refuses one event for its content, each time it comes (400 code 6)", poison},
		{3 * time.Second, "400 code 6", "is down: 503 to everything", begin(siem.Fault{Kind: siem.Status, Status: http.StatusServiceUnavailable, Name: outage})},
		{8 * time.Second, "503", "is up and busy: two requests get 429, Retry-After: 2", both(end(outage), begin(siem.RetryAfter(http.StatusTooManyRequests, "2", 2)))},
		{11 * time.Second, "429", "has its token revoked: 403 code 1", revoke},
		{14 * time.Second, "403 code 1", "has a new token, put into Secrets Manager", publish},
		{15 * time.Second, "", "indexes half of a request, then is busy (503 code 9)", begin(siem.Fault{Kind: siem.Product, Code: "9", Times: 1})},
		{16 * time.Second, "503 code 9", "indexes a request and hangs up without an answer", begin(siem.Fault{Kind: siem.AcceptClose, Times: 1})},
	}
}
