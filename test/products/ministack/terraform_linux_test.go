package ministack

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
)

// TestTerraform applies deploy/terraform, finds nothing to change afterwards, and destroys the stack. `make
// terraform-check` sets TERRAFORM_PLUGINS, a folder with the AWS provider; empty, Terraform downloads it.
func TestTerraform(t *testing.T) {
	plugins, ok := os.LookupEnv("TERRAFORM_PLUGINS")
	if !ok {
		t.Skip("NOT TESTED: TERRAFORM_PLUGINS is not set: `make terraform-check` sets it")
	}
	if _, err := exec.LookPath("terraform"); err != nil {
		testenv.Missing(t, "terraform is not installed")
	}
	in := newInstallation(t)
	in.createBucket("deployments")
	module, err := filepath.Abs(root + "/deploy/terraform")
	in.must(err)
	architecture := map[string]string{"amd64": "x86_64", "arm64": "arm64"}[runtime.GOARCH]
	folder := t.TempDir()
	in.must(os.WriteFile(filepath.Join(folder, "main.tf"), fmt.Appendf(nil, `
provider "aws" {
  s3_use_path_style = true
}

module "siem" {
  source       = %q
  release      = %q
  bucket       = "deployments"
  architecture = %q
  parameters   = { Connectors = "splunk,sumo" }
}

output "outputs" {
  value = module.siem.outputs
}
`, module, in.folder, architecture), 0o600))
	terraform := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "terraform", append(args, "-no-color")...)
		cmd.Dir, cmd.Env = folder, append(in.env, "CHECKPOINT_DISABLE=1")
		output, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("terraform %v: %v: %s", args, err, output)
		}
		return string(output)
	}
	initArgs := []string{"init", "-input=false"}
	if plugins != "" {
		initArgs = append(initArgs, "-plugin-dir="+plugins)
	}
	terraform(initArgs...)
	terraform("validate")
	terraform("apply", "-auto-approve", "-input=false")
	terraform("plan", "-detailed-exitcode", "-input=false") // exits with 2 if there is something to change
	var outputs struct {
		Outputs struct{ Value map[string]string }
	}
	in.must(json.Unmarshal([]byte(terraform("output", "-json")), &outputs))
	if have := outputs.Outputs.Value; have["Version"] != "v0.0.0" || have["DeployedConnectors"] != "splunk,sumo" ||
		!strings.Contains(have["splunkQueueUrl"], "splunkQueue") {
		t.Errorf("outputs %v", have)
	}
	if status, err := in.siemctl("status").CombinedOutput(); err != nil || !strings.Contains(string(status), "sumo") {
		t.Errorf("siemctl status: %v: %s", err, status)
	}
	terraform("destroy", "-auto-approve", "-input=false")
	if queue := outputs.Outputs.Value["splunkQueueUrl"]; !slices.Contains(in.left(), queue) {
		t.Errorf("destroy deletes the queue %s", queue)
	}
}
