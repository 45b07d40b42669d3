// Package products starts third-party products for tests: the real server, on a random loopback port, for the
// duration of one test. It never uses a server that it did not start.
//
// The jars come from Maven Central at pinned versions and are cached in build/products, outside the repository. Only
// `make content` uses them, by FETCH_PRODUCTS; any other run skips these tests with a message. OpenSearch is Apache-2.0.
// Elasticsearch is under the Elastic License or SSPL: it is used here and not redistributed.
package products

import (
	"bufio"
	"embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
)

// startTimeout bounds the start of a node, which takes about 10 s on two cores.
const startTimeout = 3 * time.Minute

//go:embed opensearch elasticsearch elasticsearch7 esql
var sources embed.FS

// product is a server that a Java main class of this package runs.
type product struct {
	name, version string
	folder        string   // of sources: pom.xml and the main class
	mainClass     string   // file name
	module        string   // artifact that the server loads from modules/<module> instead of the class path; "" for none
	moduleJars    []string // prefixes of the jars that belong into the module's folder
}

// OpenSearch starts OpenSearch 2.19.6 with the modules lang-painless, lang-mustache, ingest-common, analysis-common,
// mapper-extras and reindex, and returns its base URL. It has no security plugin: every request is permitted.
func OpenSearch(t testing.TB) string {
	t.Helper()
	return start(t, product{name: "opensearch", version: "2.19.6", folder: "opensearch", mainClass: "OpenSearchNode.java"})
}

// Elasticsearch starts Elasticsearch 8.19.0 and returns its base URL. Maven Central has no x-pack security,
// Painless or ingest processors: every request is permitted, data streams work, and no ingest pipeline does.
func Elasticsearch(t testing.TB) string {
	t.Helper()
	return start(t, product{
		name: "elasticsearch", version: "8.19.0", folder: "elasticsearch", mainClass: "ElasticsearchNode.java",
		module: "transport-netty4", moduleJars: []string{"transport-netty4-", "netty-"},
	})
}

// Elasticsearch7 starts Elasticsearch 7.10.2 of the Apache-2.0 distribution, with the modules lang-painless,
// lang-mustache, ingest-common and mapper-extras, and returns its base URL. It has no x-pack: no security, no data
// streams and no type flattened.
func Elasticsearch7(t testing.TB) string {
	t.Helper()
	return start(t, product{
		name: "elasticsearch7", version: "7.10.2", folder: "elasticsearch7", mainClass: "Elasticsearch7Node.java",
	})
}

// start runs the product until the test ends. Its log is deleted when the test passes.
func start(t testing.TB, p product) string {
	t.Helper()
	java, err := exec.LookPath("java")
	if err != nil {
		testenv.Missing(t, p.name+" needs Java 17 or later, which is not installed")
	}
	cache := install(t, p)
	home := t.TempDir()
	for _, folder := range []string{"config", "plugins", "logs", "lib"} {
		if err := os.MkdirAll(filepath.Join(home, folder), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(cache, "modules"), filepath.Join(home, "modules")); err != nil {
		t.Fatal(err)
	}
	log := createLog(t, p)
	//nolint:gosec,noctx // the test's cleanup ends the process
	cmd := exec.Command(java, "-Xms512m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dlog4j2.disable.jmx=true", "-Dorg.apache.logging.log4j.level=INFO", "-cp", filepath.Join(cache, "lib", "*"),
		filepath.Join(cache, p.mainClass), home)
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan string, 1)
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		watch(io.TeeReader(stdout, log), ready)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // a node without data to keep
		<-copied
		_ = cmd.Wait()
	})
	select {
	case address := <-ready:
		if address == "" {
			t.Fatalf("%s ended before it was ready: see %s", p.name, log.Name())
		}
		return "http://" + address
	case <-time.After(startTimeout):
		t.Fatalf("%s was not ready after %s: see %s", p.name, startTimeout, log.Name())
	}
	return ""
}

// watch sends the address of the line "READY <address>", or "" when the output ends without one, and reads to the
// end.
func watch(output io.Reader, ready chan<- string) {
	sent := false
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if address, ok := strings.CutPrefix(lines.Text(), "READY "); ok && !sent {
			ready <- address
			sent = true
		}
	}
	if !sent {
		ready <- ""
	}
	_, _ = io.Copy(io.Discard, output)
}

// createLog returns the log file of this test's product. It is kept when the test fails.
func createLog(t testing.TB, p product) *os.File {
	t.Helper()
	folder := filepath.Join(root(t), "build", "products", "logs")
	if err := os.MkdirAll(folder, 0o750); err != nil {
		t.Fatal(err)
	}
	log, err := os.CreateTemp(folder, fmt.Sprintf("%s-%s-*.log", strings.ReplaceAll(t.Name(), "/", "-"), p.name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = log.Close()
		if t.Failed() {
			t.Logf("the log of %s is %s", p.name, log.Name())
			return
		}
		_ = os.Remove(log.Name())
	})
	return log
}
