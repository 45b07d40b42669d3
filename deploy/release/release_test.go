package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
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
