package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/migration"
)

// importGuard keeps an import from bringing back what the cluster has released
// since an earlier one. The cluster remembers the imports for it.
type importGuard struct {
	client    *client
	namespace string
	again     bool // let everything through
	now       migration.Imported
	earlier   []migration.Imported
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
	earlier, err := migration.ParseImported(settings[migration.ImportsSetting(f.namespace)])
	if err != nil {
		return nil, err
	}
	return &importGuard{
		client: c, namespace: f.namespace, again: f.again, earlier: earlier,
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
			return &exitError{exitFailure, errors.New(g.refusal(back))}
		}
	}
	return g.note(ctx, false)
}

// note has the cluster remember the import.
func (g *importGuard) note(ctx context.Context, complete bool) error {
	g.now.Complete = complete
	value, err := migration.NoteImported(g.earlier, g.now)
	if err == nil {
		_, err = g.client.SetSettings(ctx, map[string]string{migration.ImportsSetting(g.namespace): value}, "import")
	}
	if err != nil {
		return fmt.Errorf("have the cluster remember the import: %w", err)
	}
	return nil
}

// backShown bounds the records that a refusal names.
const backShown = 20

// refusal says what would be brought back.
func (g *importGuard) refusal(back []migration.PlanRecord) string {
	var b strings.Builder
	latest := g.earlier[len(g.earlier)-1]
	fmt.Fprintf(&b, "refused: the cluster has released records since an import on %s (%s), and this import would bring %s back:\n",
		latest.At.Format(time.RFC3339), visible(latest.Origin), plural(len(back), "record", "records"))
	for _, rec := range back[:min(len(back), backShown)] {
		fmt.Fprintf(&b, "  %s\n", visible(recordText(rec)))
	}
	if more := len(back) - backShown; more > 0 {
		fmt.Fprintf(&b, "  and %d more\n", more)
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
