package main

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
	"github.com/arbitex/siem-connectors/shared/connectors"
)

// applicationFields are the fields of a request to create an application, with their patterns:
// https://docs.aws.amazon.com/serverlessrepo/latest/devguide/applications.html
func applicationFields() map[string]*regexp.Regexp {
	url := regexp.MustCompile(`^https://\S+$`)
	object := regexp.MustCompile(`^https://s3\.\S+/bucket/[0-9a-f]{32}$|^s3://bucket/[0-9a-f]{32}$`)
	return map[string]*regexp.Regexp{
		"author": regexp.MustCompile(`^[a-z0-9](-?[a-z0-9])*$`), "name": regexp.MustCompile(`^[a-zA-Z0-9-]{1,140}$`),
		"description": regexp.MustCompile(`^.{1,256}$`), "spdxLicenseId": regexp.MustCompile(`^Apache-2\.0$`),
		"licenseUrl": object, "readmeUrl": object, "homePageUrl": url, "sourceCodeUrl": url,
		"semanticVersion": regexp.MustCompile(`^1\.2\.3-rc\.1$`),
		"templateBody":    regexp.MustCompile(`(?s)^.+$`),
		"labels":          regexp.MustCompile(`^[a-zA-Z0-9+_:/@-]{1,127}$`),
	}
}

// repositoryServer simulates S3, which takes every object, and the Serverless Application Repository.
type repositoryServer struct {
	objects   map[string]int // size by path
	published []map[string]any
}

func (s *repositoryServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // the assertions fail on an incomplete body
	switch {
	case r.Method == http.MethodPut && strings.HasPrefix(r.URL.Path, "/bucket/"):
		s.objects[r.URL.Path] = len(body)
	case r.Method == http.MethodHead:
		w.WriteHeader(http.StatusNotFound) // uploads only what is missing
	case r.Method == http.MethodPost && r.URL.Path == "/applications":
		var request map[string]any
		if err := json.Unmarshal(body, &request); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.published = append(s.published, request)
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"applicationId":"arn:aws:serverlessrepo:us-east-1:123456789012:applications/a"}`)
	default:
		w.WriteHeader(http.StatusNotImplemented)
	}
}

// TestPublish publishes the template of a release with SAM CLI: the repository gets valid metadata, and a template
// whose code is in S3.
func TestPublish(t *testing.T) {
	sam, err := filepath.Abs("../../build/tools/bin/sam")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(sam); err != nil {
		testenv.Missing(t, "SAM CLI is not in build/tools: `make template` makes it")
	}
	dist := t.TempDir()
	if err := writeTemplates("../../template.yaml", dist, "v1.2.3-rc.1"); err != nil {
		t.Fatal(err)
	}
	code := map[string]string{"LICENSE": "license", "README.md": "readme"}
	for _, name := range append(connectors.Names(), "deadletter", "replay", "guard") {
		archive, err := zipped([]entry{{"bootstrap", 0o755, []byte(name)}})
		if err != nil {
			t.Fatal(err)
		}
		code["function-"+name+"-arm64.zip"] = string(archive)
	}
	for name, content := range code {
		if err := write(filepath.Join(dist, name), []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	repo := &repositoryServer{objects: map[string]int{}}
	server := httptest.NewServer(repo)
	t.Cleanup(server.Close)
	for _, args := range publishCommands(t) {
		cmd := exec.CommandContext(t.Context(), sam, args[1:]...)
		cmd.Dir = dist
		cmd.Env = []string{
			"HOME=" + t.TempDir(), "AWS_ENDPOINT_URL=" + server.URL, "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1",
			"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "SAM_CLI_TELEMETRY=0", "AWS_EC2_METADATA_DISABLED=true",
		}
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("sam %v: %v: %s", args, err, output)
		}
	}
	if len(repo.published) != 1 || len(repo.objects) != len(code) {
		t.Fatalf("%d applications, %d objects; want 1 and %d", len(repo.published), len(repo.objects), len(code))
	}
	checkApplication(t, repo.published[0])
}

// publishCommands returns the commands of CONTRIBUTING.md, split into words, with a bucket of the test.
func publishCommands(t *testing.T) (commands [][]string) {
	t.Helper()
	text, err := os.ReadFile("../../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "sam ") {
			commands = append(commands, strings.Fields(strings.ReplaceAll(line, "my-bucket", "bucket")))
		}
	}
	if len(commands) != 2 {
		t.Fatalf("CONTRIBUTING.md has %d commands of SAM, want 2", len(commands))
	}
	return commands
}

// checkApplication checks a request to create an application.
func checkApplication(t *testing.T, request map[string]any) {
	t.Helper()
	fields := applicationFields()
	if have, want := slices.Sorted(maps.Keys(request)), slices.Sorted(maps.Keys(fields)); !slices.Equal(have, want) {
		t.Fatalf("fields %v, want %v", have, want)
	}
	for name, pattern := range fields {
		values, ok := request[name].([]any)
		if !ok {
			values = []any{request[name]}
		}
		for _, v := range values {
			if text, ok := v.(string); !ok || !pattern.MatchString(text) || len(values) > 10 {
				t.Errorf("%s: %q, want %s", name, v, pattern)
			}
		}
	}
	var template struct {
		Transform []string                             `yaml:"Transform"`
		Metadata  map[string]any                       `yaml:"Metadata"`
		Mappings  map[string]map[string]map[string]any `yaml:"Mappings"`
	}
	body, _ := request["templateBody"].(string)
	if err := yaml.Unmarshal([]byte(body), &template); err != nil {
		t.Fatal(err)
	}
	if want := []string{"AWS::LanguageExtensions", "AWS::Serverless-2016-10-31"}; !reflect.DeepEqual(
		template.Transform, want) {
		t.Errorf("transforms %v, want %v", template.Transform, want)
	}
	if _, ok := template.Metadata["AWS::ServerlessRepo::Application"]; ok {
		t.Error("the template still has the metadata of the repository")
	}
	if strings.Contains(body, ".zip") {
		t.Error("the template names a local file")
	}
	// SAM CLI replaces the loop's code by a mapping. Without a connector in it, a stack with this connector fails.
	for _, name := range connectors.Names() {
		uri, _ := template.Mappings["SAMCodeUriConnector"][name]["CodeUri"].(string)
		if !strings.HasPrefix(uri, "s3://bucket/") {
			t.Errorf("the code of %s is in %q", name, uri)
		}
	}
}
