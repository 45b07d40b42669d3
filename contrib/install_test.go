package contrib

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
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
type admin struct{ *connectortest.Recorder }

func newAdmin(t *testing.T, respond func(a admin, r *http.Request) any) admin {
	t.Helper()
	a := admin{connectortest.Record(t, nil)}
	a.Respond(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, asJSON(t, respond(a, r))) })
	return a
}

// texts returns the bodies that were sent to a path.
func (a admin) texts(path string) (texts []string) {
	for _, r := range a.Requests() {
		if r.Method != http.MethodGet && r.URL.Path == path {
			texts = append(texts, r.Text)
		}
	}
	return texts
}

// created returns the bodies that were sent to a path, decoded, as a list that is never nil.
func (a admin) created(t *testing.T, path string) []object {
	t.Helper()
	bodies := []object{}
	for _, text := range a.texts(path) {
		var body object
		decode(t, []byte(text), &body)
		bodies = append(bodies, body)
	}
	return bodies
}

// posts counts the requests that are not GET.
func (a admin) posts() (n int) {
	for _, r := range a.Requests() {
		if r.Method != http.MethodGet {
			n++
		}
	}
	return n
}

func TestInstallDatadog(t *testing.T) {
	const rules = "/api/v2/security_monitoring/rules"
	a := newAdmin(t, func(a admin, r *http.Request) any {
		switch list := a.created(t, r.URL.Path); {
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
	out, err := install(t, "datadog", env...)
	if err != nil || strings.Count(out, "created") != 9 || a.posts() != 9 {
		t.Fatalf("%v, %d requests: %s", err, a.posts(), out)
	}
	if out, err = install(t, "datadog", env...); err != nil || strings.Count(out, "exists") != 9 || a.posts() != 9 {
		t.Errorf("again: %v, %d requests: %s", err, a.posts(), out)
	}
	for _, r := range a.Requests() {
		if r.Header.Get("DD-API-KEY") != "api-key" || r.Header.Get("DD-APPLICATION-KEY") != "app-key" {
			t.Fatalf("headers %v", r.Header)
		}
	}
}

func TestInstallSumo(t *testing.T) {
	const path = "/v2/content/folders/f/import"
	result := "Success"
	a := newAdmin(t, func(a admin, r *http.Request) any {
		switch {
		case r.URL.Path == path:
			return object{"id": "job"}
		case r.URL.Path == path+"/job/status":
			return object{"status": result}
		case r.Method != http.MethodGet:
			var body object
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
				t.Error(err)
			}
			return body
		case strings.HasSuffix(r.URL.Path, "/sources"):
			sources := []any{}
			for _, s := range a.created(t, r.URL.Path) {
				sources = append(sources, s["source"])
			}
			return object{"sources": sources}
		default:
			return object{"data": a.created(t, r.URL.Path)}
		}
	})
	env := []string{"SUMO_API_URL=" + a.URL, "SUMO_ACCESS_ID=id", "SUMO_ACCESS_KEY=key", "SUMO_COLLECTOR=c",
		"SUMO_FOLDER=f", "SUMO_ALERT_EMAIL=on-call@example.net"}
	for i, want := range []string{"created", "exists"} {
		if out, err := install(t, "sumo", env...); err != nil || strings.Count(out, want) != 2 {
			t.Fatalf("%d: %v: %s", i, err, out)
		}
	}
	if text := a.texts(path)[0]; strings.Contains(text, "soc@") || !strings.Contains(text, "on-call@") {
		t.Error("the content does not have the address")
	}
	if n := len(a.texts("/v1/collectors/c/sources")) + len(a.texts("/v1/extractionRules")); n != 2 {
		t.Errorf("%d created", n)
	}
	result = "Failed"
	if out, err := install(t, "sumo", env...); err == nil || !strings.Contains(out, "error: content.json") {
		t.Errorf("an import that failed: %v: %s", err, out)
	}
}

// kibana is an Elasticsearch of a version with its Kibana. It has the rules with these ids, and those imported.
func kibana(t *testing.T, version string, present map[string]bool) admin {
	t.Helper()
	var v any
	decode(t, []byte(version), &v)
	a := admin{connectortest.Record(t, nil)}
	a.Respond(func(w http.ResponseWriter, r *http.Request) {
		switch id := r.URL.Query().Get("rule_id"); {
		case r.URL.Path == "/api/detection_engine/rules" && !present[id]:
			http.Error(w, `{"message":"rule_id: not found","status_code":404}`, http.StatusNotFound)
			return
		case r.URL.Path == "/api/detection_engine/rules/_import":
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			for _, m := range regexp.MustCompile(`"rule_id": "([^"]+)"`).FindAllStringSubmatch(string(body), -1) {
				present[m[1]] = true
			}
		}
		fmt.Fprint(w, asJSON(t, object{"version": v, "success": r.Method == http.MethodPost}))
	})
	return a
}

// TestInstallElastic: the version of the server selects the files, and Kibana receives both imports.
func TestInstallElastic(t *testing.T) {
	for version, want := range map[string]string{
		`{"number":"8.19.0"}`:                             "(elastic)",
		`{"number":"8.13.4"}`:                             "(elastic/elasticsearch-7.10)",
		`{"number":"8.11.0","build_flavor":"serverless"}`: "(elastic)",
		`{"number":"3.1.0","distribution":"opensearch"}`:  "(elastic/opensearch)",
	} {
		a := kibana(t, version, map[string]bool{})
		out, err := install(t, "elastic", "ELASTIC_URL="+a.URL, "ELASTIC_ADMIN_API_KEY=key", "KIBANA_URL="+a.URL)
		if err != nil || !strings.Contains(out, "index template arbitex-audit "+want) {
			t.Errorf("%s: %v: %s", version, err, out)
		}
		sent := a.texts("/api/saved_objects/_import")
		if len(sent) != 1 || !strings.Contains(sent[0], read(t, "elastic/dashboard.ndjson")) {
			t.Errorf("%s: the dashboard is not imported", version)
		}
		sent = a.texts("/api/detection_engine/rules/_import")
		if len(sent) != 1 || strings.Count(sent[0], `"rule_id"`) != len(detections()) {
			t.Errorf("%s: the detections are not imported", version)
		}
	}
}

// TestInstallElasticKeepsDetections: an import over a rule disables it and removes its actions.
func TestInstallElasticKeepsDetections(t *testing.T) {
	const first = "2a3ba4bb-3501-55bb-8939-9f2dd27b2e4d"
	a := kibana(t, `{"number":"8.19.0"}`, map[string]bool{first: true})
	env := []string{"ELASTIC_URL=" + a.URL, "KIBANA_URL=" + a.URL}
	for i, want := range []string{"left as they are: 1\n", "left as they are: 7\n"} {
		out, err := install(t, "elastic", env...)
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("run %d: %v: %s", i, err, out)
		}
	}
	sent := a.texts("/api/detection_engine/rules/_import")
	if len(sent) != 1 || strings.Contains(sent[0], first) || strings.Count(sent[0], `"rule_id"`) != 6 {
		t.Errorf("%d imports, want one of the six missing rules: %q", len(sent), sent)
	}
	for _, r := range a.Requests() {
		if strings.HasPrefix(r.URL.Path, "/api/detection_engine/") && strings.Contains(r.URL.RawQuery, "overwrite") {
			t.Errorf("%s overwrites rules", r.URL)
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
	elsewhere := newAdmin(t, func(admin, *http.Request) any { return object{} })
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
		"error: ELASTIC_URL: expected the URL https://host:port":             "ELASTIC_URL=cluster",
	} {
		if out, err := install(t, "elastic", env); err == nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v: %s", env, err, out)
		}
	}
	if n := len(elsewhere.Requests()); n > 0 {
		t.Errorf("the redirect was followed: %d requests", n)
	}
}

// TestInstallTrimsSettings: a key that was read from a file ends in a line break.
func TestInstallTrimsSettings(t *testing.T) {
	a := newAdmin(t, func(admin, *http.Request) any { return object{"version": object{"number": "8.19.0"}} })
	out, err := install(t, "elastic", "ELASTIC_URL="+a.URL+"\n", "ELASTIC_ADMIN_API_KEY= key\r\n", "KIBANA_URL=\n")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, r := range a.Requests() {
		if r.Header.Get("Authorization") != "ApiKey key" {
			t.Errorf("headers %v", r.Header)
		}
	}
	out, err = install(t, "datadog", "DATADOG_API_KEY= \n", "DATADOG_APP_KEY=k")
	if err == nil || !strings.Contains(out, "error: DATADOG_API_KEY: expected an API key, found nothing") {
		t.Errorf("a blank key: %v: %s", err, out)
	}
}

// TestInstallQuotesNoSecret: neither a key nor a password that the request cannot carry is in the error.
func TestInstallQuotesNoSecret(t *testing.T) {
	const url = "ELASTIC_URL=https://elastic:"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "no JSON") }))
	defer s.Close()
	percent := "error: ELASTIC_URL: expected the URL https://host:port, found something else; percent-encode the password"
	character := "error: GET /: a key or the URL has a character that HTTP does not allow"
	for _, test := range []struct {
		want string
		env  []string
	}{
		{percent, []string{url + "5678#secret@127.0.0.1:1"}}, // 5678 would be a port
		{percent, []string{url + "secret#5678@127.0.0.1:1"}},
		{percent, []string{url + "5678/secret@127.0.0.1:1"}},
		{percent, []string{url + "5678?secret@127.0.0.1:1"}},
		{percent, []string{url + "secret[5678@127.0.0.1:1"}},
		{percent, []string{url + "secret℀@127.0.0.1:1"}},
		{percent, []string{"ELASTIC_URL=https://127.0.0.1:secret"}},
		{character, []string{"ELASTIC_URL=http://127.0.0.1:1", "ELASTIC_ADMIN_API_KEY=secret\n5678"}},
		{character, []string{"ELASTIC_URL=http://127.0.0.1:1", "ELASTIC_ADMIN_API_KEY=secret’"}},
		{"error: GET /: InvalidURL: ", []string{"ELASTIC_URL=http://127.0.0.1:1/secret 5678"}},
		{"error: GET /: the response is not JSON", []string{"ELASTIC_URL=" + s.URL, "ELASTIC_ADMIN_API_KEY=secret"}},
	} {
		out, err := install(t, "elastic", test.env...)
		if err == nil || !strings.Contains(out, test.want) {
			t.Errorf("%q: %v: %s, want %s", test.env, err, out, test.want)
		}
		if strings.Contains(out, "Traceback") || strings.Contains(out, "secret") || strings.Contains(out, "5678") {
			t.Errorf("%q: %s", test.env, out)
		}
	}
}
