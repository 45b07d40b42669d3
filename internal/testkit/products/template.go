package products

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
)

// Template returns what CloudFormation creates for template.yaml with these parameters, as JSON decodes it: its loops
// are expanded and the transform of SAM is applied. `make template` makes the tools for it.
func Template(t testing.TB, parameters map[string]string) map[string]any {
	t.Helper()
	python := filepath.Join(root(t), "build", "tools", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		testenv.Missing(t, "SAM's tools are not in build/tools: `make template` makes them")
	}
	text, err := json.Marshal(parameters)
	if err != nil {
		t.Fatal(err)
	}
	//nolint:gosec // programs and files of this repository
	cmd := exec.CommandContext(t.Context(), python, "-B", "-W", "ignore", filepath.Join(root(t), "deploy", "check.py"),
		"--cloudformation", string(text))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("translating the template: %v: %s", err, stderr.Bytes())
	}
	var template map[string]any
	if err := json.Unmarshal(output, &template); err != nil {
		t.Fatal(err)
	}
	return template
}
