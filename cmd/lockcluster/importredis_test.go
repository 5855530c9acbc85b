package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster/internal/testutil"
)

// A Redis is imported with its password in the URL, which is shown nowhere;
// the state before is saved when asked for, and comes back from there.
func TestImportRedis(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("SKIPPED: no redis-server on this machine; make test installs it (apt-get install redis-server)")
	}
	addr := testutil.FreeAddr(t)
	_, port, _ := strings.Cut(addr, ":")
	server := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--requirepass", "CANARY-password", "--dir", t.TempDir())
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	c := redis.NewClient(&redis.Options{Addr: addr, Password: "CANARY-password"})
	defer c.Close()
	testutil.WaitFor(t, 20*time.Second, func() error { return c.Ping(t.Context()).Err() })
	for i := range 3 {
		value := fmt.Sprintf(`{"Project":{"RepoFullName":"acme/app","Path":"d%d"},"Pull":{"Num":%d,"Body":"CANARY"},"User":{"Username":"ada"},"Workspace":"default","Time":"2026-01-02T03:04:05Z"}`, i, i+1)
		if err := c.Set(t.Context(), fmt.Sprintf("pr/acme/app/d%d/default/", i), value, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	d := startDev(t, "--base-port", freeBasePort(t, 1), "--nodes", "1", "--data-dir", filepath.Join(t.TempDir(), "data"))
	var said strings.Builder
	run := func(code int, text string, arguments ...string) answer {
		a := d.do(t, arguments...).want(t, code, text)
		said.WriteString(a.String())
		return a
	}
	from, backup := "redis://:CANARY-password@"+addr+"/0", filepath.Join(t.TempDir(), "before.snap")
	r := imported(t, run(0, "", "import", "--from", from, "--backup", backup, "-o", "json"))
	if r.Imported != 3 || len(r.Conflicts)+len(r.Quarantined) > 0 {
		t.Errorf("imported %+v", r)
	}
	run(1, "nothing was imported", "import", "--from", from, "--backup", backup)
	run(0, "redis://"+addr+"/0", "import", "--from", from)
	run(0, "snapshot restore", "import", "--from", from, "--backup", backup+"2")
	fixed := filepath.Join(t.TempDir(), "fixed")
	v := validated(t, lockclusterCommand(t, "locks", "validate", "--from", from, "--repair", fixed, "-o", "json").want(t, 0, ""))
	if v.Locks != 3 || v.Digest != r.Digest || v.Repair == nil || v.Repair.Records != 3 {
		t.Errorf("validated %+v, imported %+v", v, r)
	}
	said.WriteString(lockclusterCommand(t, "locks", "validate", "--from", from).want(t, 0, "redis://"+addr+"/0").String())
	run(1, "WRONGPASS", "import", "--from", "redis://:CANARY-wrong@"+addr, "--dry-run")
	run(0, "", "cluster", "snapshot", "restore", backup, "--yes")
	run(0, "[]", "locks", "list", "-o", "json")
	var b struct {
		Locks int `json:"locks"`
	}
	if err := json.Unmarshal([]byte(lockclusterCommand(t, "cluster", "snapshot", "inspect", backup+"2", "-o", "json").stdout), &b); err != nil || b.Locks != 3 {
		t.Errorf("the second backup has %d locks, %v", b.Locks, err)
	}
	for _, n := range d.Nodes {
		log, err := os.ReadFile(n.Log)
		if err != nil {
			t.Fatal(err)
		}
		said.Write(log)
	}
	if strings.Contains(said.String(), "CANARY") {
		t.Error("a secret came out")
	}
}
