package main

import (
	"archive/zip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// maxZipped is the maximum size of a connector's zipped binary, which Lambda loads at every cold start.
const maxZipped = 3 << 20

// TestSizes builds each connector for arm64, as for a deployment.
func TestSizes(t *testing.T) {
	if raceDetector {
		t.Skip("the same binaries again; `make guards` looks at them")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range senders {
		binary := filepath.Join("build", "arm64", c.name, "bootstrap")
		if out, err := exec.Command("make", "-s", "-C", root, binary).CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v: %s", binary, err, out)
		}
		n := zipped(t, filepath.Join(root, binary))
		t.Logf("%-8s %d bytes zipped", c.name, n)
		if n > maxZipped {
			t.Errorf("%s takes %d bytes zipped, want at most %d", c.name, n, maxZipped)
		}
	}
}

// zipped returns the size of a file in a zip archive.
func zipped(t *testing.T, path string) (n int) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	archive := zip.NewWriter(writer(func(p []byte) { n += len(p) }))
	entry, err := archive.Create("bootstrap")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := entry.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

// writer calls a function for each write.
type writer func(p []byte)

var _ io.Writer = writer(nil)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}
