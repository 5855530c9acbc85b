package controller

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// PartDifference is one part of a record that the two systems do not hold alike.
// Of a stored value there is only the size, because it may hold secrets.
type PartDifference struct {
	Part     string `json:"part"` // for example "token"
	Legacy   string `json:"legacy"`
	Enhanced string `json:"enhanced"`
}

// part is a part of a record, for a person.
type part struct {
	name, text string
	hidden     []byte // is compared too, and never shown
	own        bool   // it differs by nature where both systems decide, in mode shadow
}

// differingParts names what [same], or [sameHolder] if both systems decide, finds
// different in a record that both have.
func differingParts(old, mine state.Reader, ref lockcluster.RecordRef, bothDecide bool) []PartDifference {
	var out []PartDifference
	x, y := partsOf(old, ref), partsOf(mine, ref)
	for i := range min(len(x), len(y)) {
		if bothDecide && x[i].own || x[i].text == y[i].text && bytes.Equal(x[i].hidden, y[i].hidden) {
			continue
		}
		out = append(out, PartDifference{Part: x[i].name, Legacy: x[i].text, Enhanced: y[i].text})
	}
	return out
}

// partsOf lists the parts of a record, always the same ones in the same order; none
// if there is no such record.
func partsOf(r state.Reader, ref lockcluster.RecordRef) []part {
	switch ref.Space {
	case lockcluster.SpaceLock:
		if l := state.GetLock(r, ref.Namespace, ref.Key); l != nil {
			return partsOfLock(l)
		}
	case lockcluster.SpaceCommand:
		if l := state.GetCommandLock(r, ref.Namespace, ref.Key); l != nil {
			return []part{
				{name: "locked at", text: shownTime(l.LockedAt), own: true},
				{name: "token", text: l.Token.String(), own: true},
				revisionPart(l.Revision), valuePart(l.Value),
			}
		}
	case lockcluster.SpaceDocument:
		if d := state.GetDocument(r, ref.Namespace, ref.Key); d != nil {
			return []part{{name: "time to live", text: d.TTL.String()}, revisionPart(d.Revision), valuePart(d.Value)}
		}
	}
	return nil
}

func partsOfLock(l *lockcluster.Lock) []part {
	return []part{
		{name: "repository", text: l.Key.Repo},
		{name: "path", text: l.Key.Path},
		{name: "workspace", text: l.Key.Workspace},
		{name: "project", text: l.Key.Project},
		{name: "owner", text: l.Owner.String()},
		{name: "VCS host", text: l.Owner.Host},
		{name: "kind", text: strconv.Itoa(int(l.Kind)), own: true},
		{name: "user", text: l.User, own: true},
		{name: "priority", text: l.Priority.String(), own: true, hidden: []byte{byte(l.Priority)}},
		{name: "token", text: l.Token.String(), own: true},
		{name: "acquired at", text: shownTime(l.AcquiredAt), own: true},
		{name: "time to live", text: l.TTL.String(), own: true},
		revisionPart(l.Revision), valuePart(l.Value),
	}
}

func shownTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func revisionPart(revision uint64) part {
	return part{name: "revision", text: strconv.FormatUint(revision, 10), own: true}
}

func valuePart(value []byte) part {
	return part{name: "stored value", text: fmt.Sprintf("%d bytes", len(value)), hidden: value}
}
