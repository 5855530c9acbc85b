package migration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// A source with three locks, as an Atlantis leaves it, is imported into a cluster
// that goes on working; what another import would bring back is what was
// released there, and nothing else.
func TestBroughtBack(t *testing.T) {
	lock := func(path string, pull int, at time.Time) SourceRecord {
		return SourceRecord{Bucket: BucketLocks, Key: "acme/app/" + path + "/default/", Value: lockValue("acme/app", path, pull, at, "")}
	}
	a, b, c := lock("a", 1, noon), lock("b", 2, noon), lock("c", 3, noon)
	first := Imported{Origin: "boltdb:/x on h", SHA256: "1", At: noon.Add(time.Hour), OnConflict: "fail", Complete: true}
	broken := first
	broken.Complete = false
	// Two that are known to have brought what they did: one left b out, which two claimed.
	keeps := func(i Imported, of ...SourceRecord) Imported {
		i.Brought = Brings(mustPlan(t, PlanOptions{}, of...))
		return i
	}
	bAgain := SourceRecord{Bucket: BucketLocks, Key: "acme/app/b/default", Value: lockValue("acme/app", "b", 7, noon.Add(time.Minute), "")}
	other := Imported{Origin: "boltdb:/other on h", SHA256: "9", At: noon.Add(2 * time.Hour), OnConflict: "fail", Complete: true}
	leftOut := keeps(first, a, c, b, bAgain)
	for _, test := range []struct {
		name    string
		had     []SourceRecord // what the cluster has of the source
		earlier []Imported
		now     Imported
		source  []SourceRecord
		want    []string // paths
	}{
		{"nothing was imported before", []SourceRecord{a}, nil, first, []SourceRecord{a, b, c}, nil},
		{"all is there still", []SourceRecord{a, b, c}, []Imported{first}, first, []SourceRecord{a, b, c}, nil},
		{"one was released", []SourceRecord{a, c}, []Imported{first}, first, []SourceRecord{a, b, c}, []string{"b"}},
		{"all were released", nil, []Imported{first}, first, []SourceRecord{a, b, c}, []string{"a", "b", "c"}},
		{"a copy of the file", nil, []Imported{first}, Imported{Origin: "boltdb:/y on h", SHA256: "1"}, []SourceRecord{a, b, c}, []string{"a", "b", "c"}},
		{"it was interrupted", []SourceRecord{a}, []Imported{broken}, first, []SourceRecord{a, b, c}, nil},
		{"it was interrupted before anything", nil, []Imported{broken}, first, []SourceRecord{a, b, c}, nil},
		{"it was interrupted, then one released", []SourceRecord{b}, []Imported{broken}, first, []SourceRecord{a, b, c}, []string{"a"}},
		{
			"a new lock in the source",
			[]SourceRecord{a, b},
			[]Imported{first},
			Imported{Origin: first.Origin, SHA256: "2"},
			[]SourceRecord{a, b, lock("new", 4, first.At.Add(time.Second))},
			nil,
		},
		{
			"a new lock in the source, an old one released",
			[]SourceRecord{a},
			[]Imported{first},
			Imported{Origin: first.Origin, SHA256: "2"},
			[]SourceRecord{a, b, lock("new", 4, first.At.Add(time.Second))},
			[]string{"b"},
		},
		{
			"interrupted, and the source went on",
			[]SourceRecord{a},
			[]Imported{broken},
			Imported{Origin: first.Origin, SHA256: "2"},
			[]SourceRecord{a, b, c},
			nil,
		},
		{"an older backup of it", []SourceRecord{a}, []Imported{first}, Imported{Origin: "boltdb:/backup on h", SHA256: "0"}, []SourceRecord{a, b}, []string{"b"}},
		{"another Atlantis", nil, []Imported{first}, Imported{Origin: "boltdb:/other on i", SHA256: "9"}, []SourceRecord{lock("o", 9, noon)}, nil},
		{"it was followed", []SourceRecord{a}, []Imported{{Origin: first.Origin, At: first.At, OnConflict: "fail", Complete: true}}, first, []SourceRecord{a, b}, []string{"b"}},
		{"what was left out as a conflict", []SourceRecord{a}, []Imported{first}, first, []SourceRecord{
			a, b, bAgain,
		}, nil},
		{"left out as a conflict, then another source", []SourceRecord{a, c}, []Imported{leftOut, keeps(other, lock("o", 9, noon))}, first, []SourceRecord{a, b, bAgain, c}, nil},
		{"left out, then another content of it without", []SourceRecord{a}, []Imported{leftOut, keeps(Imported{Origin: first.Origin, SHA256: "2", At: other.At, Complete: true}, a)}, first, []SourceRecord{a, b, bAgain}, nil},
		{"left out, brought by another source and released", []SourceRecord{a, c}, []Imported{leftOut, keeps(other, a, b)}, first, []SourceRecord{a, b, bAgain, c}, []string{"b"}},
		{"another source since, one released", []SourceRecord{a}, []Imported{leftOut, keeps(other, lock("o", 9, noon))}, first, []SourceRecord{a, b, bAgain, c}, []string{"c"}},
		{"another source, and it is not known what it brought", []SourceRecord{a, c}, []Imported{leftOut, other}, first, []SourceRecord{a, b, bAgain, c}, []string{"b"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			cl := newCluster()
			if _, err := (Importer{Cluster: cl}).Import(t.Context(), mustPlan(t, PlanOptions{}, test.had...)); err != nil {
				t.Fatal(err)
			}
			src := &Source{Records: test.source}
			plan := mustPlan(t, PlanOptions{OnConflict: ConflictKeepOlder}, test.source...)
			back, err := BroughtBack(src, plan, &test.now, test.earlier, cl.mem.View())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, rec := range back {
				got = append(got, rec.Request.(lockcluster.Acquire).Key.Path)
				if !rec.From.mayHaveBrought(rec.PlanRecord) || len(test.earlier) == 1 && rec.From.Origin != test.earlier[0].Origin {
					t.Errorf("%s is said to be from %s", rec.Identity, rec.From.Origin)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("brought back %q, want %q", got, test.want)
			}
		})
	}
}

// What is kept of an import knows every record that it brought, and nearly every
// other one as long as there is room; it never fills a setting.
func TestBrings(t *testing.T) {
	for _, n := range []int{0, 1, 1000, 20_000} {
		plan := &Plan{}
		record := func(i int) PlanRecord { return PlanRecord{Bucket: BucketLocks, Identity: fmt.Sprintf("acme/%d", i)} }
		for i := range n {
			plan.Records = append(plan.Records, record(i))
		}
		im := Imported{Origin: strings.Repeat("o", 500), Brought: Brings(plan)}
		wrong := 0
		for i := range 2 * n {
			switch may := im.mayHaveBrought(record(i)); {
			case i < n && !may:
				t.Fatalf("of %d: record %d was brought, and is unknown", n, i)
			case i >= n && may:
				wrong++
			}
		}
		if n <= 1000 && wrong > n/20 {
			t.Errorf("of %d others %d are taken for one that was brought", n, wrong)
		}
		value, _, err := NoteImported(nil, im)
		if list, perr := ParseImported(value); err != nil || perr != nil || list[0] != im {
			t.Errorf("of %d: %v %v", n, err, perr)
		}
	}
	long := Imported{Origin: strings.Repeat("o", importsSizeMax-200), Brought: strings.Repeat("x", 1000)}
	if value, _, err := NoteImported(nil, long); err != nil || strings.Contains(value, "xxx") {
		t.Errorf("a long name of a source leaves no room: %v", err)
	}
}

// memory is what a cluster keeps among its settings.
type memory map[string]string

func (m memory) read(t *testing.T, namespace string) []Remembered {
	t.Helper()
	out, err := ParseMemory(m, namespace)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// note is an import that has read the memory before, and notes itself now.
func (m memory) note(t *testing.T, before []Remembered, setting string, now Imported) {
	t.Helper()
	value, outdated, err := NoteImported(before, now)
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(outdated, setting) {
		t.Errorf("%s outdates itself", setting)
	}
	m[setting] = value
	for _, name := range outdated {
		delete(m, name)
	}
}

func origins(memory []Remembered) (out []string) {
	for _, i := range AllImports(memory) {
		out = append(out, i.Origin)
	}
	return out
}

// Imports that go on at the same time, each with the memory as it was when it began,
// lose nothing of each other, whatever the order in which they note their progress.
func TestImportsAtTheSameTimeAreAllRemembered(t *testing.T) {
	m := memory{}
	before := m.read(t, "default")
	a, b := Imported{Origin: "a", SHA256: "1", At: noon}, Imported{Origin: "b", SHA256: "2", At: noon.Add(time.Second)}
	settings := map[string]string{"a": NewImportSetting("default"), "b": NewImportSetting("default")}
	for _, now := range []Imported{a, b, b, a, a} {
		m.note(t, before, settings[now.Origin], now)
		now.Complete = true
		m.note(t, before, settings[now.Origin], now)
	}
	all := AllImports(m.read(t, "default"))
	if len(all) != 2 || all[0].Origin != "a" || all[1].Origin != "b" || !all[0].Complete || !all[1].Complete {
		t.Errorf("remembered %+v", all)
	}
	if other := m.read(t, "defaul"); other != nil {
		t.Errorf("another namespace remembers %+v", other)
	}
}

// A cluster remembers a bounded number of imports, the latest ones, each once, and
// one that came to its end while it is repeated. What was kept in one setting for a
// whole namespace is remembered with the rest.
func TestNoteImported(t *testing.T) {
	m := memory{importsPrefix + "default": `[{"origin":"old","at":"2020-01-01T00:00:00Z","on_conflict":"fail","complete":true}]`}
	if got := origins(m.read(t, "default")); !slices.Equal(got, []string{"old"}) {
		t.Errorf("of an earlier version: %q", got)
	}
	for i := range 3 * importsMax {
		at := noon.Add(time.Duration(i) * time.Minute)
		m.note(t, m.read(t, "default"), NewImportSetting("default"), Imported{Origin: fmt.Sprint(i), At: at, OnConflict: "fail"})
		if got := origins(m.read(t, "default")); len(got) != min(i+2, importsMax) || got[len(got)-1] != fmt.Sprint(i) {
			t.Fatalf("after import %d: %q", i, got)
		}
	}
	last := Imported{Origin: "last", SHA256: "1", At: noon.Add(time.Hour), OnConflict: "fail"}
	own := NewImportSetting("default")
	for _, complete := range []bool{false, true} {
		last.Complete = complete
		m.note(t, m.read(t, "default"), NewImportSetting("default"), last)
	}
	repeated := last
	repeated.Complete, repeated.At = false, noon.Add(2*time.Hour)
	m.note(t, m.read(t, "default"), own, repeated)
	got := AllImports(m.read(t, "default"))
	if n := len(got); got[n-2] != last || got[n-1] != repeated || got[n-3].Origin == "last" {
		t.Errorf("an import that ended is forgotten while it is repeated, or kept twice: %+v", got)
	}
	chosen := repeated
	chosen.Complete, chosen.OnConflict, chosen.At = true, "keep-older", noon.Add(3*time.Hour)
	m.note(t, m.read(t, "default"), NewImportSetting("default"), chosen)
	if got := AllImports(m.read(t, "default")); got[len(got)-3] != last || got[len(got)-1] != chosen {
		t.Errorf("another choice between conflicts replaces what was brought without: %+v", got)
	}
	if _, _, err := NoteImported(nil, Imported{Origin: strings.Repeat("x", importsSizeMax)}); err == nil {
		t.Error("a name that is too long was kept")
	}
	m[importsPrefix+"default"] = "{"
	if _, err := ParseMemory(m, "default"); err == nil {
		t.Error("what cannot be read was taken for nothing")
	}
}

// The name under which an import is kept has room in the log, whatever its namespace.
func TestImportSettingHasRoom(t *testing.T) {
	name := NewImportSetting(strings.Repeat("n", 64))
	if err := state.Validate(lockcluster.SetConfig{Settings: []lockcluster.Setting{{Name: name, Value: strings.Repeat("x", importsSizeMax)}}}); err != nil || !IsImportsSetting(name) {
		t.Errorf("%s: %v", name, err)
	}
}
