package main

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// runbook is the document whose commands are executed here. Its conventions:
//
//   - An sh block whose first line is "# runs" is executed, as it stands, by
//     bash; "# runs on n1, n2" on these nodes, one after the other; and "exit
//     code 3" in that line is what is expected in place of 0.
//   - A text block right after it is what the commands print. "…" stands for
//     anything within a line, or, alone in a line, for any lines; runs of
//     blanks count as one.
//   - An sh block whose first line is "# set" says which variables a reader
//     sets, with values of his own: so does the test.
const runbook = "../../docs/MIGRATION.md"

// runbookChapters are the sections of the runbook in the order in which a
// reader goes through them; each chapter begins with a cluster of its own.
var runbookChapters = map[string][]string{
	"A": {"Start the nodes", "The checklist", "Road A: stop, import, start"},
	"B": {"Start the nodes", "Road B: attach, shadow, switch", "The way back", "Automatic rollback", "What to watch", "The last step: let the old store go"},
	"F": {"Start the nodes", "Road B, shorter: follow, then switch", "The last step: let the old store go"},
	"R": {"Start the nodes", "The same for a Redis"},
}

// runbookBlock is a block of commands, with what they print.
type runbookBlock struct {
	section string
	line    int // in the document
	kind    string
	nodes   []string
	code    int
	script  string
	output  *string // nil: it does not matter
}

var runbookHead = regexp.MustCompile(`^# (runs|set)( on (n\d(?:, n\d)*))?(?:, exit code (\d))?$`)

// readRunbook finds the blocks of the document.
func readRunbook(t *testing.T) (blocks []runbookBlock) {
	t.Helper()
	text, err := os.ReadFile(runbook)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	section, follows := "", false // whether a text block would belong to the last sh block
	for i := 0; i < len(lines); i++ {
		if s, ok := strings.CutPrefix(lines[i], "## "); ok {
			section = s
		}
		lang, ok := strings.CutPrefix(lines[i], "```")
		if !ok {
			follows = follows && lines[i] == ""
			continue
		}
		start := i + 1
		for i++; i < len(lines) && lines[i] != "```"; i++ {
		}
		body := lines[start:i]
		switch {
		case lang == "text" && follows:
			output := strings.Join(body, "\n")
			blocks[len(blocks)-1].output = &output
			follows = false
		case lang == "text":
			t.Fatalf("line %d: this output belongs to no commands that are executed", start)
		case lang == "sh" && len(body) > 0 && strings.HasPrefix(body[0], "# "):
			m := runbookHead.FindStringSubmatch(body[0])
			if follows = m != nil; !follows {
				t.Fatalf("line %d: %q is no first line that this test knows", start+1, body[0])
			}
			b := runbookBlock{section: section, line: start + 1, kind: m[1], script: strings.Join(body[1:], "\n") + "\n"}
			if m[3] != "" {
				b.nodes = strings.Split(m[3], ", ")
			}
			if m[4] != "" {
				b.code = int(m[4][0] - '0')
			}
			blocks = append(blocks, b)
		default:
			follows = false
		}
	}
	return blocks
}

var runbookBlanks = regexp.MustCompile(`[ \t]+`)

// printedAsIn reports whether a block of the document describes an output.
func printedAsIn(want, got string) bool {
	plain := func(s string) string {
		lines := strings.Split(strings.TrimSpace(s), "\n")
		for i := range lines {
			lines[i] = strings.TrimSpace(runbookBlanks.ReplaceAllString(lines[i], " "))
		}
		return strings.Join(lines, "\n") + "\n"
	}
	pattern := regexp.QuoteMeta(plain(want))
	pattern = regexp.MustCompile(`(?m)^…\n`).ReplaceAllLiteralString(pattern, `(?:.*\n)*`)
	pattern = strings.ReplaceAll(pattern, "…", ".*")
	return regexp.MustCompile(`\A` + pattern + `\z`).MatchString(plain(got))
}

// An output is what the document shows, but for blanks and what "…" stands for.
func TestRunbookWildcards(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want, got string
		match     bool
	}{
		{"a  b\n\nc", "a b  \n\nc\n", true},
		{"epoch … · x", "epoch 12 · x\n", true},
		{"a\n…\nd", "a\nb\nc\nd\n", true},
		{"a\n…\nd", "a\nd\n", true},
		{"epoch … · x", "epoch 12 · y\n", false},
		{"epoch …", "epoch 1\nmore\n", false},
		{"0 lost", "10 lost\n", false},
		{"a.c", "abc\n", false},
		{"a", "a\nlockcluster: refused\n", false},
		{"a\nb", "a\n", false},
	} {
		if printedAsIn(c.want, c.got) != c.match {
			t.Errorf("%q shown, %q printed: want a match: %v", c.want, c.got, c.match)
		}
	}
}

// What docs/MIGRATION.md tells its reader to type does what it says, from the
// first node to the end of each road, and prints what it shows.
func TestRunbook(t *testing.T) {
	t.Parallel()
	blocks := readRunbook(t)
	inChapters := slices.Concat(slices.Collect(maps.Values(runbookChapters))...)
	ran := map[string]int{}
	for _, b := range blocks {
		if b.kind == "runs" {
			ran[b.section]++
			if !slices.Contains(inChapters, b.section) {
				t.Errorf("line %d: no chapter has the section %q", b.line, b.section)
			}
		}
	}
	for name, sections := range runbookChapters {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReader(t, name, blocks)
			for _, section := range sections {
				if ran[section] == 0 {
					t.Errorf("the section %q has no commands", section)
				}
				for _, b := range blocks {
					if b.section == section && b.kind == "runs" {
						r.execute(t, b)
					}
				}
			}
		})
	}
}
