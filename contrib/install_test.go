package contrib

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// install runs install.py with only these variables, and returns what it prints.
func install(t *testing.T, pack string, env ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "python3", "-B", "install.py", pack)
	command.Env = append(env, "NO_PROXY=*")
	if !slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "PATH=") }) {
		command.Env = append(command.Env, "PATH="+os.Getenv("PATH"))
	}
	out, err := command.CombinedOutput()
	return string(out), err
}

// admin is a SIEM's API of administration: it lists what was created, under the keys of the vendor's documentation.
type admin struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string            // method and path
	bodies   map[string][]object // by path
	headers  []http.Header
}

func newAdmin(t *testing.T, respond func(a *admin, r *http.Request, body object) any) *admin {
	t.Helper()
	a := &admin{bodies: map[string][]object{}}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.requests = append(a.requests, r.Method+" "+r.URL.Path)
		a.headers = append(a.headers, r.Header)
		var body object
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") && len(data) > 0 {
			decode(t, data, &body)
		} else if len(data) > 0 {
			body = object{"text": string(data)}
		}
		if r.Method != http.MethodGet {
			a.bodies[r.URL.Path] = append(a.bodies[r.URL.Path], body)
		}
		fmt.Fprint(w, asJSON(t, respond(a, r, body)))
	}))
	t.Cleanup(a.Close)
	a.mu.Lock()
	return a
}

// install runs install.py. Its requests need the lock, which the test holds at all other times.
func (a *admin) install(t *testing.T, pack string, env ...string) (string, error) {
	t.Helper()
	a.mu.Unlock()
	defer a.mu.Lock()
	return install(t, pack, env...)
}

// created returns the bodies that were posted to a path, as a list that is never null.
func (a *admin) created(path string) []object { return append([]object{}, a.bodies[path]...) }

// posts counts the requests that are not GET.
func (a *admin) posts() (n int) {
	for _, r := range a.requests {
		if !strings.HasPrefix(r, http.MethodGet) {
			n++
		}
	}
	return n
}

func TestInstallDatadog(t *testing.T) {
	const rules = "/api/v2/security_monitoring/rules"
	a := newAdmin(t, func(a *admin, r *http.Request, _ object) any {
		switch list := a.created(r.URL.Path); {
		case r.Method != http.MethodGet:
			return object{"id": "1"}
		case r.URL.Path == "/api/v1/dashboard":
			return object{"dashboards": list}
		case r.URL.Path == rules && r.URL.Query().Get("page[number]") != "0":
			return object{"data": []object{}}
		case r.URL.Path == rules:
			return object{"data": list}
		default:
			return list
		}
	})
	env := []string{"DATADOG_API_URL=" + a.URL, "DATADOG_API_KEY=api-key", "DATADOG_APP_KEY=app-key"}
	out, err := a.install(t, "datadog", env...)
	if err != nil || strings.Count(out, "created") != 9 || a.posts() != 9 {
		t.Fatalf("%v, %d requests: %s", err, a.posts(), out)
	}
	if out, err = a.install(t, "datadog", env...); err != nil || strings.Count(out, "exists") != 9 || a.posts() != 9 {
		t.Errorf("again: %v, %d requests: %s", err, a.posts(), out)
	}
	for _, h := range a.headers {
		if h.Get("DD-API-KEY") != "api-key" || h.Get("DD-APPLICATION-KEY") != "app-key" {
			t.Fatalf("headers %v", h)
		}
	}
}

func TestInstallSumo(t *testing.T) {
	const path = "/v2/content/folders/f/import"
	result := "Success"
	a := newAdmin(t, func(a *admin, r *http.Request, body object) any {
		switch {
		case r.URL.Path == path:
			return object{"id": "job"}
		case r.URL.Path == path+"/job/status":
			return object{"status": result}
		case r.Method != http.MethodGet:
			return body
		case strings.HasSuffix(r.URL.Path, "/sources"):
			sources := []any{}
			for _, s := range a.created(r.URL.Path) {
				sources = append(sources, s["source"])
			}
			return object{"sources": sources}
		default:
			return object{"data": a.created(r.URL.Path)}
		}
	})
	env := []string{"SUMO_API_URL=" + a.URL, "SUMO_ACCESS_ID=id", "SUMO_ACCESS_KEY=key", "SUMO_COLLECTOR=c",
		"SUMO_FOLDER=f", "SUMO_ALERT_EMAIL=on-call@example.net"}
	for i, want := range []string{"created", "exists"} {
		if out, err := a.install(t, "sumo", env...); err != nil || strings.Count(out, want) != 2 {
			t.Fatalf("%d: %v: %s", i, err, out)
		}
	}
	if text := asJSON(t, a.bodies[path][0]); strings.Contains(text, "soc@") || !strings.Contains(text, "on-call@") {
		t.Error("the content does not have the address")
	}
	if n := len(a.bodies["/v1/collectors/c/sources"]) + len(a.bodies["/v1/extractionRules"]); n != 2 {
		t.Errorf("%d created", n)
	}
	result = "Failed"
	if out, err := a.install(t, "sumo", env...); err == nil || !strings.Contains(out, "error: content.json") {
		t.Errorf("an import that failed: %v: %s", err, out)
	}
}

// TestInstallElastic: the version of the server selects the files, and Kibana receives both imports.
func TestInstallElastic(t *testing.T) {
	for version, want := range map[string]string{
		`{"number":"8.19.0"}`:                             "(elastic)",
		`{"number":"8.13.4"}`:                             "(elastic/elasticsearch-7.10)",
		`{"number":"8.11.0","build_flavor":"serverless"}`: "(elastic)",
		`{"number":"3.1.0","distribution":"opensearch"}`:  "(elastic/opensearch)",
	} {
		var v any
		decode(t, []byte(version), &v)
		a := newAdmin(t, func(_ *admin, r *http.Request, _ object) any {
			return object{"version": v, "success": r.Method == http.MethodPost}
		})
		out, err := a.install(t, "elastic", "ELASTIC_URL="+a.URL, "ELASTIC_ADMIN_API_KEY=key", "KIBANA_URL="+a.URL)
		if err != nil || !strings.Contains(out, "index template arbitex-audit "+want) {
			t.Errorf("%s: %v: %s", version, err, out)
		}
		for path, file := range map[string]string{
			"/api/saved_objects/_import": "dashboard.ndjson", "/api/detection_engine/rules/_import": "detection-rules.ndjson",
		} {
			if len(a.bodies[path]) != 1 || !strings.Contains(fmt.Sprint(a.bodies[path][0]["text"]), read(t, "elastic/"+file)) {
				t.Errorf("%s: %s is not imported", version, file)
			}
		}
	}
}

func TestInstallSentinel(t *testing.T) {
	bin, log := t.TempDir(), filepath.Join(t.TempDir(), "log")
	script := "#!/bin/sh\necho \"$*\" >> " + log + "\n"
	if err := os.WriteFile(filepath.Join(bin, "az"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	env := []string{"AZURE_RESOURCE_GROUP=g", "SENTINEL_WORKSPACE=w", "SENTINEL_PRINCIPAL_ID=p",
		"PATH=" + bin + ":" + os.Getenv("PATH")}
	if out, err := install(t, "sentinel", env...); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(read(t, log)), "\n")
	if len(lines) != 2 || !strings.HasSuffix(lines[0], "azuredeploy.json -p workspaceName=w principalId=p") ||
		!strings.HasSuffix(lines[1], "content.json -p workspaceName=w") {
		t.Errorf("%q", lines)
	}
}

// TestInstallRefusals: a missing setting, a refusal and a redirect are errors that name their cause.
func TestInstallRefusals(t *testing.T) {
	elsewhere := newAdmin(t, func(*admin, *http.Request, object) any { return object{} })
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/redirect/" {
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
			return
		}
		http.Error(w, "no privilege", http.StatusForbidden)
	}))
	defer s.Close()
	for want, env := range map[string]string{
		"error: ELASTIC_URL: expected the URL of the cluster, found nothing": "X=",
		"error: GET /: status 403: no privilege":                             "ELASTIC_URL=" + s.URL,
		"error: GET /: status 302":                                           "ELASTIC_URL=" + s.URL + "/redirect",
		"error: GET /: ":                                                     "ELASTIC_URL=http://127.0.0.1:1",
	} {
		if out, err := elsewhere.install(t, "elastic", env); err == nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v: %s", env, err, out)
		}
	}
	if len(elsewhere.requests) > 0 {
		t.Errorf("the redirect was followed: %q", elsewhere.requests)
	}
}
