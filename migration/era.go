package migration

import "github.com/lockcluster/lockcluster/compat"

// Note tells an operator what was concluded about an imported record.
type Note struct {
	Bucket   string   `json:"bucket"`
	Key      string   `json:"key"`
	Identity string   `json:"identity"`
	About    []string `json:"about"`
}

// uncertainTexts says what each uncertainty means to an operator.
var uncertainTexts = map[compat.Uncertain]string{
	compat.UncertainWorkspace: "written by Atlantis v0.1: the workspace was read from Env; Atlantis itself shows and frees this lock " +
		"under an empty workspace, so free it with lockcluster locks release",
	compat.UncertainHost:   "it names no VCS host: written before Atlantis v0.3.10, or taken by \"lockcluster locks acquire\" without --host; a pull request of this number on any host counts as its owner",
	compat.UncertainRepo:   "its pull request names another repository than its project; the project's counts, as in Atlantis",
	compat.UncertainTime:   "it has no readable time; the time of the import stands in",
	compat.UncertainUser:   "it has no readable user name",
	compat.UncertainStatus: "its project status numbers are kept as they are; before Atlantis v0.25.0 they meant something else",
	compat.UncertainApprovals: "written before Atlantis v0.44.0: approvals are a number; a newer Atlantis cannot read this pull status " +
		"until its next plan replaces it",
}

const (
	oldKeyText      = "stored under the key of an Atlantis before v0.40.0; it is now listed by its present key"
	disagreeingText = "its stored key names another lock than its value; the value counts"
)

// describe returns what to tell about a record; nil when there is nothing.
func describe(form compat.KeyForm, uncertain []compat.Uncertain) []string {
	var about []string
	switch form {
	case compat.KeyPresent:
	case compat.KeyOld:
		about = append(about, oldKeyText)
	case compat.KeyDisagrees:
		about = append(about, disagreeingText)
	}
	for _, u := range uncertain {
		about = append(about, uncertainTexts[u])
	}
	return about
}
