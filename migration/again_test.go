package migration

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
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
			a, b, {Bucket: BucketLocks, Key: "acme/app/b/default", Value: lockValue("acme/app", "b", 7, noon.Add(time.Minute), "")},
		}, nil},
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
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("brought back %q, want %q", got, test.want)
			}
		})
	}
}

// A cluster remembers a bounded number of imports, the latest ones, each once.
func TestNoteImported(t *testing.T) {
	var list []Imported
	for i := range 3 * importsMax {
		text, err := NoteImported(list, Imported{Origin: strings.Repeat("long", i*10), At: noon, OnConflict: "fail"})
		if err != nil || len(text) > importsSizeMax {
			t.Fatalf("%d bytes, %v", len(text), err)
		}
		if list, err = ParseImported(text); err != nil || len(list) > importsMax || len(list[len(list)-1].Origin) != i*40 {
			t.Fatalf("import %d: %d are kept, %v", i, len(list), err)
		}
	}
	last := list[len(list)-1]
	last.Complete = true
	text, err := NoteImported(list, last)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ParseImported(text); err != nil || len(again) != len(list) || !again[len(again)-1].Complete {
		t.Errorf("its end is noted as another import: %+v, %v", again, err)
	}
	repeated := last
	repeated.Complete, repeated.At = false, noon.Add(time.Hour)
	if list, err = ParseImported(text); err != nil {
		t.Fatal(err)
	}
	if text, err = NoteImported(list, repeated); err != nil {
		t.Fatal(err)
	}
	if list, err = ParseImported(text); err != nil || list[len(list)-1] != last {
		t.Errorf("an import that ended is forgotten while it is repeated: %+v, %v", list[len(list)-1], err)
	}
	if _, err := NoteImported(nil, Imported{Origin: strings.Repeat("x", importsSizeMax)}); err == nil {
		t.Error("a name that is too long was kept")
	}
	if _, err := ParseImported("{"); err == nil {
		t.Error("what cannot be read was taken for nothing")
	}
}
