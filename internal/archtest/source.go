package archtest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Limits on the length of a file in lines. Above the soft limit the test
// mentions it, above the hard limit it fails. Generated files and tests are
// free.
const (
	linesSoft = 400
	linesHard = 600
)

// CheckPureSource returns each use of the clock and each goroutine started in
// the source of a pure package: Apply must give the same bytes on every node,
// in log order.
func CheckPureSource(name string, src []byte) ([]string, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", name, err)
	}
	names := importNames(file)
	var bad []string
	report := func(n ast.Node, format string, args ...any) {
		pos := fset.Position(n.Pos())
		bad = append(bad, fmt.Sprintf("%s:%d: ", name, pos.Line)+fmt.Sprintf(format, args...))
	}
	for imp := range pureCalls {
		if names["."] == imp {
			report(file, "imports %q with a dot, which hides its use", imp)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			report(n, "starts a goroutine: its effect has no place in the log's order")
		case *ast.SelectorExpr:
			if id, ok := n.X.(*ast.Ident); ok && slices.Contains(pureCalls[names[id.Name]], n.Sel.Name) {
				report(n, "uses %s.%s: what the state machine needs to know travels in the log entry", names[id.Name], n.Sel.Name)
			}
		}
		return true
	})
	return bad, nil
}

// importNames maps the name by which file knows a package to its path.
func importNames(file *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range file.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser would have refused it
		}
		if spec.Name != nil {
			names[spec.Name.Name] = imp
			continue
		}
		names[path.Base(imp)] = imp
	}
	return names
}

// CheckFormat reports whether src is as gofmt would write it.
func CheckFormat(name string, src []byte) (bool, error) {
	want, err := format.Source(src)
	if err != nil {
		return false, fmt.Errorf("format %s: %w", name, err)
	}
	return bytes.Equal(src, want), nil
}

// isGenerated reports whether src carries Go's mark of generated code.
func isGenerated(src []byte) bool {
	for line := range bytes.Lines(src) {
		s := strings.TrimSpace(string(line))
		if strings.HasPrefix(s, "// Code generated ") && strings.HasSuffix(s, " DO NOT EDIT.") {
			return true
		}
		if strings.HasPrefix(s, "package ") {
			return false
		}
	}
	return false
}
