package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
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

func TestVersions(t *testing.T) {
	for version, valid := range map[string]bool{
		"v1.0.0": true, "v0.12.3-rc.1": true, "1.0.0": false, "v1.0": false, "v01.0.0": false, "v1.0.0+b": false,
		"v1.0.0\n": false, "v1.0.0/x": false, "": false,
	} {
		if semver.MatchString(version) != valid {
			t.Errorf("%q: want valid %v", version, valid)
		}
	}
}

// TestArchives also checks what Lambda needs: an executable file.
func TestArchives(t *testing.T) {
	content := bytes.Repeat([]byte("binary"), 1000)
	files := []entry{{"LICENSE", 0o644, []byte("text")}, {"siemctl", 0o755, content}}
	packed, err := zipped(files)
	if err != nil {
		t.Fatal(err)
	}
	zr, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range zr.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		have, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(have, files[i].content) || f.Name != files[i].name || f.Mode() != files[i].mode {
			t.Errorf("zip: %s with mode %v and %d bytes: %v", f.Name, f.Mode(), len(have), err)
		}
		if !f.Modified.Equal(epoch) {
			t.Errorf("zip: %s has the time %v", f.Name, f.Modified)
		}
	}
	packed, err = tarred(files)
	if err != nil {
		t.Fatal(err)
	}
	uncompressed, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	tr := tar.NewReader(uncompressed)
	for _, f := range files {
		header, err := tr.Next()
		if err != nil {
			t.Fatal(err)
		}
		have, err := io.ReadAll(tr)
		wrong := header.Name != f.name || header.Mode != int64(f.mode) || header.Uid != 0
		if err != nil || wrong || !bytes.Equal(have, f.content) {
			t.Errorf("tar: %+v with %d bytes: %v", header, len(have), err)
		}
		if !header.ModTime.Equal(epoch) {
			t.Errorf("tar: %s has the time %v", header.Name, header.ModTime)
		}
	}
}

// TestPack makes a release of generated binaries twice, into two folders.
func TestPack(t *testing.T) {
	t.Chdir("../..")
	binaries := t.TempDir()
	for _, name := range []string{"functions/arm64/splunk", "functions/amd64/splunk", "siemctl/linux-arm64/siemctl",
		"siemctl/windows-amd64/siemctl.exe"} {
		file := filepath.Join(binaries, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var sums []string
	for range 2 {
		dist := t.TempDir()
		if err := run([]string{"-version", "v1.2.3", "-binaries", binaries, "-dist", dist}); err != nil {
			t.Fatal(err)
		}
		if err := run([]string{"-sums", "-dist", dist}); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dist, sumsFile))
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, string(text))
	}
	if sums[0] != sums[1] {
		t.Errorf("two releases differ:\n%s\n%s", sums[0], sums[1])
	}
	want := []string{"CHANGELOG.md", "LICENSE", "README.md", "function-splunk-arm64.zip", "function-splunk-x86_64.zip",
		"samconfig.toml", "siemctl-v1.2.3-linux-arm64.tar.gz", "siemctl-v1.2.3-windows-amd64.zip", "template-x86_64.yaml",
		"template.yaml"}
	var have []string
	for line := range strings.Lines(sums[0]) {
		have = append(have, strings.Fields(line)[1])
	}
	if !slices.Equal(have, want) {
		t.Errorf("files: %v, want %v", have, want)
	}
}

// TestReleaseTemplate compares the release's template with template.yaml: only what a release changes is different.
func TestReleaseTemplate(t *testing.T) {
	source, err := os.ReadFile("../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, architecture := range []string{"arm64", "x86_64"} {
		text, err := releaseTemplate(string(source), "v1.2.3", architecture)
		if err != nil {
			t.Fatal(err)
		}
		made := parse(t, text)
		code := map[string]bool{}
		walk(made, func(key string, value *yaml.Node) {
			switch key {
			case "CodeUri":
				code[value.Value] = true
			case "Architectures":
				if value.Content[0].Value != architecture {
					t.Errorf("Architectures: %s, want %s", value.Content[0].Value, architecture)
				}
			case "SemanticVersion":
				if value.Value != "1.2.3" {
					t.Errorf("SemanticVersion: %s", value.Value)
				}
			}
		})
		want := map[string]bool{}
		for _, name := range []string{"${C}", "deadletter", "replay", "guard"} {
			want["./function-"+name+"-"+architecture+".zip"] = true
		}
		if len(code) != len(want) {
			t.Errorf("CodeUri: %v", code)
		}
		for uri := range want {
			if !code[uri] {
				t.Errorf("no CodeUri is %s", uri)
			}
		}
		for _, left := range []string{"BuildMethod", "development", "\n#"} {
			if strings.Contains(text, left) {
				t.Errorf("%q is left", left)
			}
		}
		if have, want := unchanged(t, made), unchanged(t, parse(t, string(source))); have != want {
			t.Errorf("%s: other values differ from template.yaml", architecture)
		}
	}
}

// TestChangedTemplateIsRefused: a change of template.yaml that the edits do not know stops a release.
func TestChangedTemplateIsRefused(t *testing.T) {
	source, err := os.ReadFile("../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{"CodeUri: ./functions/${C}", "CodeUri: ./functions/x/${C}"},
		{"      CodeUri: .\n", "      CodeUri: ./code\n"},
		{"Value: development", "Value: none"},
		{"Architectures: [arm64]", "Architectures: [x86_64]"},
	} {
		text := strings.ReplaceAll(string(source), change[0], change[1])
		if text == string(source) {
			t.Fatalf("template.yaml does not contain %q", change[0])
		}
		if _, err := releaseTemplate(text, "v1.2.3", "arm64"); err == nil {
			t.Errorf("%q: want an error", change[1])
		}
	}
}

func parse(t *testing.T, text string) *yaml.Node {
	t.Helper()
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		t.Fatal(err)
	}
	return document.Content[0]
}

// walk calls visit for each key of each mapping.
func walk(n *yaml.Node, visit func(key string, value *yaml.Node)) {
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 1 {
			visit(n.Content[i-1].Value, child)
		}
		walk(child, visit)
	}
}

// unchanged is the template without comments and without what a release changes.
func unchanged(t *testing.T, n *yaml.Node) string {
	t.Helper()
	walk(n, func(key string, value *yaml.Node) {
		switch key {
		case "CodeUri", "Architectures", "Metadata", "Version":
			*value = yaml.Node{Kind: yaml.ScalarNode, Value: "changed"}
		}
	})
	text, err := yaml.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^ *#.*\n| +#.*$|^ *(- )?Metadata: changed\n`)
	return lines.ReplaceAllString(string(text), "")
}

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
			"HOME=" + t.TempDir(), "AWS_ENDPOINT_URL=" + server.URL, "AWS_REGION=us-east-1",
			"AWS_DEFAULT_REGION=us-east-1", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test",
			"SAM_CLI_TELEMETRY=0", "AWS_EC2_METADATA_DISABLED=true",
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
