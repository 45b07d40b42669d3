package sumo_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/siemtest"
	"github.com/arbitex/siem-connectors/emulator/siem/sumo"
)

func newSource(t *testing.T) *siemtest.Client {
	t.Helper()
	s := siemtest.Start(t, sumo.New, siem.Options{})
	c := siemtest.NewClient(t, s, "", map[string]string{"Content-Type": "application/json", "X-Sumo-Category": "c",
		"X-Sumo-Host": "h"})
	c.Path = path(c)
	return c
}

// path is the path of the source's URL, which is its credential.
func path(c *siemtest.Client) string {
	return strings.TrimPrefix(c.Secret()["SUMO_HTTP_SOURCE_URL"], c.URL())
}

func named(id string) string { return fmt.Sprintf(`{"time":1741824000123,"metadata":{"uid":%q}}`, id) }

func TestKeepsTheEvents(t *testing.T) {
	c := newSource(t)
	long := named(strings.Repeat("x", 64<<10))
	if status, body := c.Post(named("a") + "\n" + long); status != 200 || body != "" {
		t.Fatalf("answered %d %s; %s", status, body, c.Stats().LastProblem)
	}
	for i, want := range []string{named("a"), long} {
		a := c.Accepted()[i]
		if string(a.Event) != want || !strings.Contains(want, a.ID) || a.Fields["_sourceCategory"] != "c" ||
			a.Fields["_sourceHost"] != "h" || (a.Fields["sliced"] == "true") != (i == 1) {
			t.Errorf("event %d was kept as %.300v", i, a)
		}
	}
}

func TestRefuses(t *testing.T) {
	refuse := siemtest.Refuses(t, newSource)
	refuse("another code", func(c *siemtest.Client) { c.Path += "x" }, named("a"), 401, "unauthorized")
	refuse("an old code", siemtest.Rotate, named("a"), 401, "unauthorized")
	refuse("another path", siemtest.Path("/"), named("a"), 404, "")
	refuse("another method", siemtest.Method(http.MethodPut), named("a"), 405, "method.unsupported")
	refuse("poisoned", nil, named("a")+"\n"+named("poison"), 400, "parameter.invalid")
	refuse("too large", nil, named(strings.Repeat("x", 1_000_000)), 413, "request.too.large")
	refuse("not gzip", siemtest.Header("Content-Encoding", "gzip"), named("a"), 400, "encoding.invalid")
}

func TestRotateMakesANewURL(t *testing.T) {
	c := newSource(t)
	c.Rotate()
	for method, want := range map[string]int{"GET": 200, "POST": 200} {
		if status, body := c.Do(method, path(c), named("a")); status != want {
			t.Errorf("%s: %d %s", method, status, body)
		}
	}
	if n := len(c.Accepted()); n != 1 {
		t.Errorf("accepted %d", n)
	}
}

func TestProductFaults(t *testing.T) {
	c := newSource(t)
	c.Inject(siem.Fault{Kind: siem.Product, Code: "408", Times: 1})
	c.Inject(siem.Fault{Kind: siem.Product, Code: "header.invalid", Times: 1})
	body := strings.Join([]string{named("a"), named("b"), named("c"), named("d")}, "\n")
	if status, _ := c.Post(body); status != 408 || len(c.Accepted()) != 2 {
		t.Errorf("late: %d, accepted %d", status, len(c.Accepted()))
	}
	if status, text := c.Post(body); status != 200 || !strings.Contains(text, `"code":"header.invalid"`) ||
		len(c.Accepted()) != 6 {
		t.Errorf("warned: %d %s, accepted %d", status, text, len(c.Accepted()))
	}
	if status, text := c.Post(body); status != 200 || text != "" {
		t.Errorf("healed: %d %s", status, text)
	}
}

// TestViolations sends what Sumo Logic takes and the wire format forbids.
func TestViolations(t *testing.T) {
	good := named("a")
	siemtest.Violates(t, newSource, good, map[string]string{
		"a line break at end":  good + "\n",
		"two line breaks":      good + "\n\n" + good,
		"a carriage return":    good + "\r\n" + good,
		"white space":          strings.Replace(good, ":", ": ", 1),
		"invalid JSON":         "hello",
		"half an event a line": strings.Replace(good, ",", ",\n", 1),
		"no time":              `{"metadata":{"uid":"a"}}`,
		"no utf-8":             strings.Replace(good, "uid", "ui\xff", 1),
	}, map[string]siemtest.Change{
		"no category":  siemtest.Header("X-Sumo-Category", ""),
		"no host":      siemtest.Header("X-Sumo-Host", ""),
		"content type": siemtest.Header("Content-Type", "text/plain"),
		"a query":      siemtest.Query("?x=y"),
	})
	siemtest.Violates(t, newSource, named(`a b" c \`), nil, nil) // white space in a string
	c := newSource(t)
	if status, _ := c.Post(""); status != 200 || len(c.Stats().Violations) != 1 {
		t.Errorf("no body: %d, violations %q", status, c.Stats().Violations)
	}
}
