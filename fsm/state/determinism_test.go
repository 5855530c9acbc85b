package state_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestNothingUndecided: the code that every node must run alike holds no
// goroutine, channel, float or map, apart from the named files that only read.
// What it may import and call is internal/archtest's business.
func TestNothingUndecided(t *testing.T) {
	mapsAllowed := map[string]string{
		"invariants.go": "reports, decides nothing",
		"query.go":      "Namespaces sorts what it gathered in a map",
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("../command/*.go")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, file := range append(files, more...) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		tree, err := parser.ParseFile(set, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		checked++
		ast.Inspect(tree, func(n ast.Node) bool {
			what := ""
			switch n := n.(type) {
			case *ast.GoStmt, *ast.SelectStmt, *ast.SendStmt, *ast.ChanType:
				what = "concurrency"
			case *ast.MapType:
				if mapsAllowed[filepath.Base(file)] == "" {
					what = "a map: its order differs between nodes"
				}
			case *ast.Ident:
				if n.Name == "float32" || n.Name == "float64" {
					what = "a float"
				}
			case *ast.BasicLit:
				if n.Kind == token.FLOAT {
					what = "a float"
				}
			}
			if what != "" {
				t.Errorf("%s: %s", set.Position(n.Pos()), what)
			}
			return true
		})
	}
	if checked < 15 {
		t.Errorf("only %d files were checked", checked)
	}
}
