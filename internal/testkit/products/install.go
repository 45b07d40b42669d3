package products

import (
	"archive/zip"
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
)

// install returns the folder that holds the product's jars and main class, after it has fetched them where that is
// allowed. Two processes may do so at the same time.
func install(t testing.TB, p product) string {
	t.Helper()
	requested(t, p.name+" "+p.version)
	cache := filepath.Join(root(t), "build", "products", p.name+"-"+p.version)
	if _, err := os.Stat(filepath.Join(cache, "lib")); err == nil {
		writeSources(t, p, cache)
		return cache
	}
	if _, err := exec.LookPath("mvn"); err != nil {
		testenv.Missing(t, p.name+" comes from Maven Central, and mvn is not installed")
	}
	if err := os.MkdirAll(filepath.Dir(cache), 0o750); err != nil {
		t.Fatal(err)
	}
	//nolint:usetesting // a rename needs the file system of build/
	staging, err := os.MkdirTemp(filepath.Dir(cache), p.name+"-*.part")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(staging) }()
	writeSources(t, p, staging)
	t.Logf("fetching %s %s from Maven Central", p.name, p.version)
	//nolint:gosec,noctx // go test's own timeout bounds the download
	mvn := exec.Command("mvn", "--batch-mode", "--quiet", "--strict-checksums", "dependency:copy-dependencies",
		"-DincludeScope=runtime", "-DoutputDirectory="+filepath.Join(staging, "lib"))
	mvn.Dir = staging
	if output, err := mvn.CombinedOutput(); err != nil {
		testenv.Missing(t, p.name+" "+p.version+" was not fetched: "+err.Error()+": "+lastLine(string(output)))
	}
	arrangeModule(t, p, staging)
	if err := os.Rename(staging, cache); err != nil {
		if _, other := os.Stat(filepath.Join(cache, "lib")); other != nil { // else another process was faster
			t.Fatal(err)
		}
	}
	return cache
}

// requested skips the test unless the run is one with products.
func requested(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("FETCH_PRODUCTS") == "" { //nolint:forbidigo // the targets of make set it
		t.Skip("NOT TESTED: make content and make interop-all test with " + what)
	}
}

// writeSources puts pom.xml and the main class into the folder.
func writeSources(t testing.TB, p product, folder string) {
	t.Helper()
	for _, name := range []string{"pom.xml", p.mainClass} {
		data, err := sources.ReadFile(p.folder + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// arrangeModule moves the module's jars out of the class path and writes the descriptor that the server reads. It
// drops the line modulename: the server's own Java modules are on the class path here.
func arrangeModule(t testing.TB, p product, folder string) {
	t.Helper()
	module := filepath.Join(folder, "modules", p.module)
	if err := os.MkdirAll(module, 0o750); err != nil {
		t.Fatal(err)
	}
	for _, prefix := range p.moduleJars {
		jars, _ := filepath.Glob(filepath.Join(folder, "lib", prefix+"*.jar"))
		for _, jar := range jars {
			if err := os.Rename(jar, filepath.Join(module, filepath.Base(jar))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if p.module == "" {
		return
	}
	archive, err := zip.OpenReader(filepath.Join(module, p.module+"-"+p.version+".jar"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = archive.Close() }()
	const descriptor = "plugin-descriptor.properties"
	file, err := archive.Open("META-INF/es-plugins/" + p.module + "/" + descriptor)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(module, descriptor), withoutModuleName(t, file), 0o600); err != nil {
		t.Fatal(err)
	}
}

func withoutModuleName(t testing.TB, descriptor io.Reader) []byte {
	t.Helper()
	var kept []byte
	lines := bufio.NewScanner(descriptor)
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), "modulename") {
			kept = append(append(kept, lines.Bytes()...), '\n')
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return kept
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// root returns the folder of the repository's go.mod.
func root(t testing.TB) string {
	t.Helper()
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		_, err := os.Stat(filepath.Join(folder, "template.yaml"))
		if err == nil {
			return folder
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			t.Fatal("no template.yaml above the working directory")
		}
		folder = parent
	}
}
