// Package products starts third-party products for tests: the real server, on a random loopback port, for the
// duration of one test. It never uses a server that it did not start.
//
// They come from Maven Central, PyPI and the Go module proxy at pinned versions, and are cached in build/products,
// outside the repository. Only `make content`, `make interop-aws` and `make interop-all` use them, by FETCH_PRODUCTS; any
// other run skips these tests with a message.
// OpenSearch is Apache-2.0.
// Elasticsearch is under the Elastic License or SSPL: it is used here and not redistributed.
package products

import (
	"bufio"
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
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

//go:embed opensearch elasticsearch elasticsearch7 elasticmq esql ministack
var sources embed.FS

// product is a server that a Java main class of this package runs.
type product struct {
	name, version string
	folder        string   // of sources: pom.xml and the main class
	mainClass     string   // file name
	modules       []module // that the server loads from modules/<name> instead of the class path
	secured       bool     // with the modules for security
}

// module is a module of Elasticsearch.
type module struct {
	name     string   // of the artifact, which has its descriptor
	jars     []string // prefixes of the file names; two modules may share a jar
	security bool
}

// analysis is a module of this package: Analysis.java.
const analysis = "analysis"

//nolint:gochecknoglobals // constants
var (
	openSearch = product{
		name: "opensearch", version: "2.19.6", folder: "opensearch", mainClass: "OpenSearchNode.java",
	}
	elasticsearch = product{
		name: "elasticsearch", version: "8.19.0", folder: "elasticsearch", mainClass: "ElasticsearchNode.java",
		modules: []module{
			{name: "transport-netty4", jars: []string{"transport-netty4-", "netty-"}},
			{name: "x-pack-core", security: true, jars: []string{
				"x-pack-core-", "x-pack-template-resources-", "unboundid-", "http", "commons-",
			}},
			{name: "x-pack-security", security: true, jars: []string{
				"x-pack-security-", "opensaml-", "transport-netty4-", "netty-",
			}},
			{name: analysis, security: true},
		},
	}
	elasticsearch7 = product{
		name: "elasticsearch7", version: "7.10.2", folder: "elasticsearch7", mainClass: "Elasticsearch7Node.java",
	}
)

// OpenSearch starts OpenSearch 2.19.6 with the modules lang-painless, lang-mustache, ingest-common, analysis-common,
// mapper-extras and reindex, with more settings of opensearch.yml, each as name=value. It has no security plugin: every
// request is permitted.
func OpenSearch(t testing.TB, settings ...string) *Node {
	t.Helper()
	return startNode(t, openSearch, settings)
}

// Elasticsearch starts Elasticsearch 8.19.0, with more settings of elasticsearch.yml, each as name=value. Every request
// is permitted. Maven Central has no Painless, no ingest processors and no GET / for it: data streams work, and no
// ingest pipeline does.
func Elasticsearch(t testing.TB, settings ...string) *Node {
	t.Helper()
	return startNode(t, elasticsearch, settings)
}

// SecuredElasticsearch starts Elasticsearch 8.19.0 with x-pack security, and returns its base URL and that of its
// superuser. OpenSAML, which the module needs, is of another version than Elastic's; no test uses SAML.
func SecuredElasticsearch(t testing.TB) (url, superuser string) {
	t.Helper()
	p := elasticsearch
	p.secured = true
	url = startNode(t, p, []string{
		"xpack.security.enabled=true", "xpack.security.http.ssl.enabled=false",
		"xpack.security.transport.ssl.enabled=false",
	}).URL
	return url, strings.Replace(url, "//", "//elastic:password@", 1)
}

// Elasticsearch7 starts Elasticsearch 7.10.2 of the Apache-2.0 distribution, with the modules lang-painless,
// lang-mustache, ingest-common and mapper-extras, with more settings, each as name=value. It has no x-pack: no
// security, no data streams and no type flattened.
func Elasticsearch7(t testing.TB, settings ...string) *Node {
	t.Helper()
	return startNode(t, elasticsearch7, settings)
}

// Node is a running server that the test can end and start again.
type Node struct {
	URL string

	t       testing.TB
	product product
	home    string
	log     *os.File
	cmd     *exec.Cmd
	copied  chan struct{} // closed when the output has ended
}

// startNode runs the product until the test ends. Its log is deleted when the test passes.
func startNode(t testing.TB, p product, settings []string) *Node {
	t.Helper()
	if _, err := exec.LookPath("java"); err != nil {
		testenv.Missing(t, p.name+" needs Java 17 or later, which is not installed")
	}
	cache := install(t, p)
	n := &Node{t: t, product: p, home: t.TempDir()}
	for _, folder := range []string{"config", "plugins", "logs", "lib", "modules"} {
		if err := os.MkdirAll(filepath.Join(n.home, folder), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range p.modules {
		path := filepath.Join("modules", m.name)
		if m.security && !p.secured {
			continue
		}
		if err := os.Symlink(filepath.Join(cache, path), filepath.Join(n.home, path)); err != nil {
			t.Fatal(err)
		}
	}
	n.log = createLog(t, p)
	t.Cleanup(n.Kill)
	n.run(settings)
	return n
}

// Kill ends the server at once, as the kernel does when memory is short. It has no effect on a server that has ended.
func (n *Node) Kill() {
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Kill()
	<-n.copied
	_ = n.cmd.Wait()
	n.cmd = nil
}

// Restart starts the server again after Kill, with its data and at the same address.
func (n *Node) Restart(settings ...string) {
	n.t.Helper()
	port := n.URL[strings.LastIndexByte(n.URL, ':')+1:]
	n.run(append([]string{"http.port=" + port}, settings...))
}

// run starts the process and waits until it is ready.
func (n *Node) run(settings []string) {
	n.t.Helper()
	cache := install(n.t, n.product)
	args := append([]string{
		"-Xms512m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dlog4j2.disable.jmx=true", "-Dorg.apache.logging.log4j.level=INFO", "-cp", filepath.Join(cache, "lib", "*"),
		filepath.Join(cache, n.product.mainClass), n.home,
	}, settings...)
	n.cmd = exec.Command("java", args...) //nolint:gosec,noctx // the test's cleanup ends the process
	n.cmd.Stderr = n.log
	if _, err := n.cmd.StdinPipe(); err != nil { // the server ends with this process, whose end closes it
		n.t.Fatal(err)
	}
	stdout, err := n.cmd.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		n.cmd = nil
		n.t.Fatal(err)
	}
	ready := make(chan string, 1)
	n.copied = make(chan struct{})
	go func() {
		defer close(n.copied)
		watch(io.TeeReader(stdout, n.log), ready)
	}()
	select {
	case address := <-ready:
		if address == "" {
			n.t.Fatalf("%s ended before it was ready: see %s", n.product.name, n.log.Name())
		}
		n.URL = "http://" + address
	case <-time.After(startTimeout):
		n.t.Fatalf("%s was not ready after %s: see %s", n.product.name, startTimeout, n.log.Name())
	}
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

// Call makes a request with a body of JSON, and returns the status and the body of the response.
func Call(t testing.TB, method, url, body string) (int, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request) //nolint:forbidigo // a test makes the request
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, data
}

// Template returns what CloudFormation creates for template.yaml with these parameters, as JSON decodes it: its loops
// are expanded and the transform of SAM is applied. `make template` makes the tools for it.
func Template(t testing.TB, parameters map[string]string) map[string]any {
	t.Helper()
	return translate(t, parameters, nil)
}

// translate applies the transform of SAM. expanded is the template with its loops expanded; nil lets SAM CLI do that.
func translate(t testing.TB, parameters map[string]string, expanded []byte) map[string]any {
	t.Helper()
	python := filepath.Join(root(t), "build", "tools", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		testenv.Missing(t, "SAM's tools are not in build/tools: `make template` makes them")
	}
	text, err := json.Marshal(parameters)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-B", "-W", "ignore", filepath.Join(root(t), "deploy", "check.py"), "--cloudformation", string(text)}
	if expanded != nil {
		args = append(args, "-")
	}
	var template map[string]any
	if err := json.Unmarshal(python3(t, python, expanded, args...), &template); err != nil {
		t.Fatal(err)
	}
	return template
}

// python3 runs a program and returns its standard output.
func python3(t testing.TB, python string, stdin []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), python, args...) //nolint:gosec // programs and files of this repository
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(stdin), &stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, stderr.Bytes())
	}
	return output
}

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
