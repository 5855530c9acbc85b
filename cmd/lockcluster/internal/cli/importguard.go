package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/migration"
)

// importGuard keeps an import from bringing back what the cluster has released
// since an earlier one. The cluster remembers the imports for it.
type importGuard struct {
	client  *client
	again   bool // let everything through
	now     migration.Imported
	setting string                 // of now
	memory  []migration.Remembered // what was there before, without what now has replaced
	earlier []migration.Imported   // all that was there before
}

func newImportGuard(ctx context.Context, c *client, from migration.Origin, f *importFlags, policy migration.ConflictPolicy) (*importGuard, error) {
	st, err := c.Status(ctx, true)
	if err != nil {
		return nil, err
	}
	if st.LegacyNamespace == f.namespace && st.Mode == lockcluster.ModeGradual.String() {
		return nil, errors.New("refused: in mode gradual an import cannot choose between two systems; go to blue-green or shadow first (lockcluster cluster mode)")
	}
	settings, err := c.Settings(ctx)
	if err != nil {
		return nil, err
	}
	memory, err := migration.ParseMemory(settings, f.namespace)
	if err != nil {
		return nil, err
	}
	return &importGuard{
		client: c, again: f.again, setting: migration.NewImportSetting(f.namespace), memory: memory, earlier: migration.AllImports(memory),
		now: migration.Imported{Origin: originName(from), At: time.Now().UTC().Round(0), OnConflict: policy.String()},
	}, nil
}

// originName names a source so that it can be told from another one: a file with
// the machine that it is on.
func originName(from migration.Origin) string {
	if from.Redis != nil {
		return from.String()
	}
	file, err := filepath.Abs(from.File)
	if err != nil {
		file = from.File
	}
	host, _ := os.Hostname() // without a name all machines count as one
	return migration.Origin{File: file}.String() + " on " + host
}

// before refuses an import that would bring something back, and notes one that is
// let through, as one that has not come to its end.
func (g *importGuard) before(ctx context.Context, src *migration.Source, sha256 string, plan *migration.Plan) error {
	g.now.SHA256 = sha256
	if sha256 != "" { // else it goes on bringing what comes
		g.now.Brought = migration.Brings(plan)
	}
	if len(g.earlier) > 0 && !g.again {
		view, err := g.client.view(ctx)
		if err != nil {
			return err
		}
		back, err := migration.BroughtBack(src, plan, &g.now, g.earlier, view)
		if err != nil {
			return err
		}
		if len(back) > 0 {
			return &exitError{exitFailure, errors.New(refusal(back))}
		}
	}
	return g.note(ctx, false)
}

// note has the cluster remember the import, and forget what that replaces.
func (g *importGuard) note(ctx context.Context, complete bool) error {
	g.now.Complete = complete
	value, outdated, err := migration.NoteImported(g.memory, g.now)
	if err == nil {
		err = g.set(ctx, g.setting, value)
	}
	for _, name := range outdated {
		if err == nil {
			err = g.set(ctx, name, "")
		}
	}
	if err != nil {
		return fmt.Errorf("have the cluster remember the import: %w", err)
	}
	g.memory = slices.DeleteFunc(g.memory, func(r migration.Remembered) bool { return slices.Contains(outdated, r.Setting) })
	return nil
}

func (g *importGuard) set(ctx context.Context, name, value string) error {
	_, err := g.client.SetSettings(ctx, map[string]string{name: value}, "import")
	return err
}

// backShown bounds the records that a refusal names.
const backShown = 20

// refusal says what would be brought back, below each import that had brought it.
func refusal(back []migration.Back) string {
	var b strings.Builder
	fmt.Fprintf(&b, "refused: the cluster has released records since an import, and this import would bring %s back:\n",
		plural(len(back), "record", "records"))
	shown := back[:min(len(back), backShown)]
	var told []*migration.Imported
	for _, first := range shown {
		if slices.Contains(told, first.From) {
			continue
		}
		told = append(told, first.From)
		fmt.Fprintf(&b, "imported on %s (%s):\n", first.From.At.Format(time.RFC3339), visible(first.From.Origin))
		for _, rec := range shown {
			if rec.From == first.From {
				fmt.Fprintf(&b, "  %s\n", visible(recordText(rec.PlanRecord)))
			}
		}
	}
	if more := len(back) - backShown; more > 0 {
		fmt.Fprintf(&b, "and %d more\n", more)
	}
	b.WriteString("Nothing was imported. If they are to come back, repeat with --again; \"lockcluster locks list\" shows what the cluster has")
	return b.String()
}

// recordText names a record for a person.
func recordText(rec migration.PlanRecord) string {
	switch q := rec.Request.(type) {
	case lockcluster.Acquire:
		return fmt.Sprintf("lock %s of %s (%s)", rec.Identity, q.Owner, q.User)
	case lockcluster.LockCommand:
		return "command lock " + rec.Identity
	}
	return "pull status " + rec.Identity
}
