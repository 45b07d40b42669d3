package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// maxInline is the largest template that a request to CloudFormation can contain.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
const maxInline = 51_200

// writeTemplates writes template.yaml (arm64) and template-x86_64.yaml, with the configuration of SAM CLI for both.
func writeTemplates(source, dist, version string) error {
	text, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	for _, a := range architectures {
		made, err := releaseTemplate(string(text), version, a.lambda)
		if err != nil {
			return fmt.Errorf("%s: %w", source, err)
		}
		name := "template.yaml"
		if a.lambda != "arm64" {
			name = "template-" + a.lambda + ".yaml"
		}
		if err := write(filepath.Join(dist, name), []byte(made)); err != nil {
			return err
		}
	}
	return write(filepath.Join(dist, "samconfig.toml"), fmt.Appendf(nil, samconfig, version))
}

// samconfig is in the folder of the templates, where SAM CLI looks for it.
const samconfig = `# Defaults of sam deploy.
version = 0.1

[default.global.parameters]
stack_name = "arbitex-siem"

[default.validate.parameters]
language_extensions = true

[default.package.parameters]
language_extensions = true

[default.deploy.parameters]
# Expands the Fn::ForEach loops of the template, to find the functions' code.
language_extensions = true
capabilities = "CAPABILITY_IAM"
confirm_changeset = true
fail_on_empty_changeset = false
resolve_s3 = true
s3_prefix = "arbitex-siem"
tags = "arbitex:version=%s"
`

// edit is a change of the template's text. It must apply exactly as often as count says.
type edit struct {
	count   int
	pattern *regexp.Regexp
	with    string
}

// releaseTemplate changes the text of template.yaml: the code comes from the release's zips, which are in the same
// folder. Comments are left out to keep the template below maxInline.
func releaseTemplate(text, version, architecture string) (string, error) {
	text = withoutComments(text)
	ids := map[string]string{"DeadLetterFunction": "deadletter", "ReplayFunction": "replay", "GuardFunction": "guard"}
	for id, name := range ids {
		start := strings.Index(text, "\n  "+id+":\n")
		if start < 0 {
			return "", fmt.Errorf("expected a resource %s", id)
		}
		head, tail := text[:start], text[start:]
		const folder = "\n      CodeUri: .\n"
		if !strings.Contains(tail, folder) {
			return "", fmt.Errorf("%s: CodeUri is not the folder of the template", id)
		}
		code := "\n      CodeUri: ./function-" + name + "-" + architecture + ".zip\n"
		text = head + strings.Replace(tail, folder, code, 1)
	}
	for _, e := range []edit{
		{1, regexp.MustCompile(`CodeUri: \./functions/\$\{C\}`), "CodeUri: ./function-$${C}-" + architecture + ".zip"},
		{4, regexp.MustCompile(`\n +Metadata: \{BuildMethod: makefile[^}]*\}`), ""},
		{2, regexp.MustCompile(`Architectures: \[arm64\]`), "Architectures: [" + architecture + "]"},
		{1, regexp.MustCompile(`Value: development\}`), "Value: " + version + "}"},
		{1, regexp.MustCompile(`\nMetadata:\n`), "\nMetadata:\n" + fmt.Sprintf(repository, version[1:])},
	} {
		if n := len(e.pattern.FindAllString(text, -1)); n != e.count {
			return "", fmt.Errorf("expected %s %d times, found it %d times", e.pattern, e.count, n)
		}
		text = e.pattern.ReplaceAllString(text, e.with)
	}
	if len(text) > maxInline {
		return "", fmt.Errorf("the release's template has %d bytes, want at most %d", len(text), maxInline)
	}
	return text, nil
}

// repository is the metadata of the AWS Serverless Application Repository.
const repository = `  AWS::ServerlessRepo::Application:
    Name: arbitex-siem-connectors
    Description: Delivers audit events to Splunk, Sentinel, Elastic, Datadog, Sumo Logic, QRadar and Cortex XSIAM.
    Author: arbitex
    SpdxLicenseId: Apache-2.0
    LicenseUrl: LICENSE
    ReadmeUrl: README.md
    Labels: [siem, sqs, audit, ocsf]
    HomePageUrl: https://github.com/arbitex/siem-connectors
    SourceCodeUrl: https://github.com/arbitex/siem-connectors
    SemanticVersion: %s
`

// withoutComments removes the lines that are only a comment, and empty lines.
func withoutComments(text string) string {
	var b bytes.Buffer
	for line := range strings.Lines(text) {
		if content := strings.TrimSpace(line); content != "" && !strings.HasPrefix(content, "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}
