package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	namedCommand = regexp.MustCompile("(?:^|[`(;|/ ])lockcluster ((?:cluster|locks|migration|config|import|export|server|dev)(?: [^`\n#|;)]*)?)")
	namedFlag    = regexp.MustCompile(`^--[a-z][a-z-]+`)
	commandWord  = regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
)

// Every command and every flag that the documents name exists.
func TestDocumentsNameWhatExists(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("%q, %v", files, err)
	}
	helps := map[string]string{}
	help := func(words ...string) string {
		path := strings.Join(words, " ")
		if _, ok := helps[path]; !ok {
			helps[path] = lockclusterCommand(t, append(words, "--help")...).stdout
		}
		return helps[path]
	}
	groups, named := []string{"cluster", "locks", "migration", "config"}, 0
	for _, file := range append(files, "../../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range namedCommand.FindAllStringSubmatch(string(text), -1) {
			words := strings.Fields(m[1])
			path := words[:1]
			if slices.Contains(groups, words[0]) && len(words) > 1 && commandWord.MatchString(words[1]) {
				path = words[:2]
			}
			if len(words) > 2 && (words[1] == "snapshot" || words[1] == "feature") {
				path = words[:3]
			}
			named++
			page := help(path...)
			if !strings.Contains(page, "\n  lockcluster "+strings.Join(path, " ")) {
				t.Errorf("%s: %q: there is no command %q", file, m[0], path)
				continue
			}
			for _, word := range words[len(path):] {
				flag := namedFlag.FindString(word)
				if flag != "" && !strings.Contains(page, " "+flag+" ") && !strings.Contains(page, " "+flag+"\n") {
					t.Errorf("%s: %q: the command has no flag %s", file, m[0], flag)
				}
			}
		}
	}
	if named < 60 {
		t.Errorf("found only %d commands in the documents", named)
	}
}
