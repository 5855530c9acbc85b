package archtest

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Every package imports only what its rule allows.
func TestImports(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "list", "-e", "-tags", "hashicorpmetrics",
		"-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...")
	cmd.Dir = moduleRoot(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var pkgs []Package
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		pkgs = append(pkgs, Package{Path: f[0], Imports: f[1:]})
	}
	if len(pkgs) < 2 {
		t.Fatalf("go list found %d packages; it must see the whole module", len(pkgs))
	}
	for _, b := range Check(Rules, pkgs) {
		t.Error(b)
	}
}

// Pure packages use no clock and start no goroutine.
func TestPureSource(t *testing.T) {
	seen := 0
	eachGoFile(t, func(rel string, src []byte) {
		dir := filepath.ToSlash(filepath.Dir(rel))
		if dir == "." {
			dir = ""
		}
		if strings.HasSuffix(rel, "_test.go") || isGenerated(src) || !IsPure(Rules, dir) {
			return
		}
		seen++
		bad, err := CheckPureSource(rel, src)
		if err != nil {
			t.Error(err)
		}
		for _, b := range bad {
			t.Error(b)
		}
	})
	if seen == 0 {
		t.Error("no file of a pure package was found")
	}
}

// Files stay small enough to be read in one go.
func TestFileSize(t *testing.T) {
	eachGoFile(t, func(rel string, src []byte) {
		if strings.HasSuffix(rel, "_test.go") || isGenerated(src) {
			return
		}
		switch n := bytes.Count(src, []byte("\n")); {
		case n > linesHard:
			t.Errorf("%s has %d lines; split it (limit %d, aim at %d)", rel, n, linesHard, linesSoft)
		case n > linesSoft:
			t.Logf("%s has %d lines, more than the %d aimed at", rel, n, linesSoft)
		}
	})
}

// Every Go file, those of the nested modules too, is as gofmt writes it.
func TestFormat(t *testing.T) {
	eachGoFile(t, func(rel string, src []byte) {
		switch ok, err := CheckFormat(rel, src); {
		case err != nil:
			t.Error(err)
		case !ok:
			t.Errorf("%s is not formatted: run make fmt", rel)
		}
	})
}

// moduleRoot is the folder with the main module's go.mod.
func moduleRoot(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil || !bytes.Contains(mod, []byte("module "+Module+"\n")) {
		t.Fatalf("%s is not the root of module %s (%v)", root, Module, err)
	}
	return root
}

// eachGoFile calls f with every Go file in the repository, by its path
// relative to the root.
func eachGoFile(t *testing.T, f func(rel string, src []byte)) {
	t.Helper()
	root := moduleRoot(t)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		f(filepath.ToSlash(rel), src)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
