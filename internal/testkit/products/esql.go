package products

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
)

// ParseESQL returns the syntax errors that the ES|QL grammar of Elasticsearch 8.19.0 finds in the query, "" for
// none. It does not know functions and fields.
func ParseESQL(t testing.TB, query string) string {
	t.Helper()
	java, err := exec.LookPath("java")
	if err != nil {
		testenv.Missing(t, "the ES|QL grammar needs Java 17 or later, which is not installed")
	}
	cache := install(t, product{name: "esql", version: "8.19.0", folder: "esql", mainClass: "EsqlCheck.java"})
	file := filepath.Join(t.TempDir(), "query.esql")
	if err := os.WriteFile(file, []byte(query), 0o600); err != nil {
		t.Fatal(err)
	}
	//nolint:gosec // java and the cache are ours
	cmd := exec.CommandContext(t.Context(), java, "-cp", filepath.Join(cache, "lib", "*"),
		filepath.Join(cache, "EsqlCheck.java"), file)
	output, err := cmd.CombinedOutput()
	if err != nil && len(output) == 0 {
		t.Fatal(err)
	}
	return string(output)
}
