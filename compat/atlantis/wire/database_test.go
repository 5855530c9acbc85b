package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runatlantis/atlantis/server/core/boltdb"
	"github.com/runatlantis/atlantis/server/core/db"
	"github.com/runatlantis/atlantis/server/events/command"
	"github.com/runatlantis/atlantis/server/events/models"

	"github.com/lockcluster/lockcluster/compat/atlantis"
)

// Database answers every sequence of calls as Atlantis's own BoltDB backend
// does, error texts and nil conventions included.
func TestDatabaseEqualsBoltDB(t *testing.T) {
	tg := startCluster(t)
	ours, err := atlantis.Dial(t.Context(), tg.grpc...)
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	stock, err := boltdb.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer stock.Close()
	seed := time.Now().UnixNano()
	if s := os.Getenv("LOCKCLUSTER_SEED"); s != "" {
		if seed, err = strconv.ParseInt(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d; repeat with LOCKCLUSTER_SEED=%d go test -run TestDatabaseEqualsBoltDB ./compat/atlantis/wire", seed, seed)
	rnd := rand.New(rand.NewPCG(uint64(seed), 1))
	for i := range 3000 {
		name, call := randomCall(rnd)
		want, got := describe(call(stock)), describe(call(ours))
		if want != got {
			t.Fatalf("call %d, %s:\nBoltDB:      %s\nlockcluster: %s", i, name, want, got)
		}
	}
}

// randomCall draws a method and arguments from a space so small that calls meet.
func randomCall(rnd *rand.Rand) (string, func(db.Database) []any) {
	repo := []string{"acme/app", "acme/infra", "grp/sub/repo"}[rnd.IntN(3)]
	project := models.NewProject(repo, []string{".", "a/b", "odd [*?] ünï"}[rnd.IntN(3)], []string{"", "vpc"}[rnd.IntN(2)])
	workspace := []string{"default", "prod"}[rnd.IntN(2)]
	num := 1 + rnd.IntN(3)
	if rnd.IntN(10) == 0 {
		num = -num // a run without a pull request
	}
	pull := pullRequest(repo, num, []string{"c1", "c2"}[rnd.IntN(2)])
	cmd := []command.Name{command.Apply, command.Plan, command.Autoplan}[rnd.IntN(3)]
	at := time.Unix(1_700_000_000+rnd.Int64N(5), 0)
	what := fmt.Sprintf("%s %s/%s pull %d", repo, project.Path, workspace, num)
	switch rnd.IntN(13) {
	case 0, 1, 2:
		lock := models.ProjectLock{Project: project, Pull: pull, User: models.User{Username: "ada"}, Workspace: workspace, Time: at}
		return "TryLock " + what, func(d db.Database) []any { return results3(d.TryLock(lock)) }
	case 3:
		return "Unlock " + what, func(d db.Database) []any { return results2(d.Unlock(project, workspace)) }
	case 4:
		return "UnlockIfOwnedByPull " + what, func(d db.Database) []any { return results2(d.UnlockIfOwnedByPull(project, workspace, num)) }
	case 5:
		return "List", func(d db.Database) []any { return results2(d.List()) }
	case 6:
		return "GetLock " + what, func(d db.Database) []any { return results2(d.GetLock(project, workspace)) }
	case 7:
		return "UnlockByPull " + what, func(d db.Database) []any { return results2(d.UnlockByPull(repo, num)) }
	case 8:
		return "UpdateProjectStatus " + what, func(d db.Database) []any {
			return []any{d.UpdateProjectStatus(pull, workspace, project.Path, models.AppliedPlanStatus)}
		}
	case 9:
		return "GetPullStatus " + what, func(d db.Database) []any { return results2(d.GetPullStatus(pull)) }
	case 10:
		if rnd.IntN(3) > 0 {
			return "CheckCommandLock", func(d db.Database) []any { return results2(d.CheckCommandLock(cmd)) }
		}
		return "DeletePullStatus " + what, func(d db.Database) []any { return []any{d.DeletePullStatus(pull)} }
	case 11:
		if rnd.IntN(2) > 0 {
			return "LockCommand", func(d db.Database) []any { return results2(d.LockCommand(cmd, at)) }
		}
		return "UnlockCommand", func(d db.Database) []any { return []any{d.UnlockCommand(cmd)} }
	default:
		res := planResult(project, workspace, rnd.IntN(2) == 0)
		return "UpdatePullWithResults " + what, func(d db.Database) []any { return results2(d.UpdatePullWithResults(pull, res)) }
	}
}

func planResult(project models.Project, workspace string, applied bool) []command.ProjectResult {
	res := command.ProjectResult{
		Command: command.Plan, RepoRelDir: project.Path, Workspace: workspace, ProjectName: project.ProjectName,
		ProjectCommandOutput: command.ProjectCommandOutput{PlanSuccess: &models.PlanSuccess{TerraformOutput: "1 to add"}},
	}
	if applied {
		res.Command, res.ProjectCommandOutput = command.Apply, command.ProjectCommandOutput{ApplySuccess: "done"}
	}
	return []command.ProjectResult{res}
}

// pullRequest has neither credentials nor a body: those are the listed
// deviation, see TestDatabaseReturnsNoSecrets.
func pullRequest(repo string, num int, head string) models.PullRequest {
	p := projectLock(repo, ".", num).Pull
	p.HeadCommit, p.Body = head, ""
	p.BaseRepo.CloneURL = "https://github.com/" + repo + ".git"
	p.BaseRepo.SanitizedCloneURL = p.BaseRepo.CloneURL
	return p
}

func results2[T any](v T, err error) []any          { return []any{v, err} }
func results3[T any](ok bool, v T, err error) []any { return []any{ok, v, err} }

// describe renders results so that two backends can be compared: JSON for
// values, the text of errors without the wrapper whose case differs between
// Atlantis's own methods, "nil" for nil.
func describe(results []any) string {
	var out []string
	for _, r := range results {
		switch v := r.(type) {
		case nil:
			out = append(out, "nil")
		case error:
			out = append(out, "error: "+strings.ToLower(v.Error()))
		default:
			if rv := reflect.ValueOf(r); rv.Kind() == reflect.Slice && rv.Len() == 0 {
				out = append(out, "empty")
				continue
			}
			b, _ := json.Marshal(normalTime(r))
			out = append(out, string(b))
		}
	}
	return strings.Join(out, " | ")
}

// normalTime puts times into one zone: the instant must be equal, the zone is
// whatever the value went through.
func normalTime(r any) any {
	switch v := r.(type) {
	case models.ProjectLock:
		v.Time = v.Time.UTC()
		return v
	case *models.ProjectLock:
		if v == nil {
			return v
		}
		c := *v
		c.Time = c.Time.UTC()
		return &c
	case []models.ProjectLock:
		for i := range v {
			v[i].Time = v[i].Time.UTC()
		}
	}
	return r
}

// V27: two replicas that record the results of two projects of one pull
// request at the same moment both find both.
func TestConcurrentPullResults(t *testing.T) {
	tg := startCluster(t)
	const projects = 40
	pull := pullRequest("acme/app", 7, "c1")
	var wg sync.WaitGroup
	for i := range projects {
		d, err := atlantis.Dial(t.Context(), tg.grpc[i%3])
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer d.Close()
			res := planResult(models.NewProject("acme/app", fmt.Sprintf("p%d", i), ""), "default", false)
			if _, err := d.UpdatePullWithResults(pull, res); err != nil {
				t.Errorf("project %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	d, err := atlantis.Dial(t.Context(), tg.grpc...)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	status, err := d.GetPullStatus(pull)
	if err != nil || status == nil || len(status.Projects) != projects {
		t.Fatalf("%d of %d projects recorded: %v", len(status.Projects), projects, err)
	}
}

// The API never returns the VCS token or the pull request's text, and the
// caller's own copy of them is not lost in what it gets back.
func TestDatabaseReturnsNoSecrets(t *testing.T) {
	tg := startCluster(t)
	d, err := atlantis.Dial(t.Context(), tg.grpc...)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	lock := projectLock("acme/app", ".", 4)
	lock.Pull.BaseRepo.CloneURL = "https://atlantis:CANARY-7f3@github.com/acme/app.git"
	lock.Pull.Body = "CANARY-7f3"
	if ok, got, err := d.TryLock(lock); !ok || err != nil || got.Pull.Body != lock.Pull.Body {
		t.Fatalf("TryLock: %t, %v", ok, err)
	}
	held, err := d.GetLock(lock.Project, "default")
	if err != nil || held == nil || held.Pull.Num != 4 {
		t.Fatalf("GetLock: %+v, %v", held, err)
	}
	if _, err := d.UpdatePullWithResults(lock.Pull, planResult(lock.Project, "default", false)); err != nil {
		t.Fatal(err)
	}
	status, err := d.GetPullStatus(lock.Pull)
	if err != nil || status.Pull.BaseRepo.CloneURL != lock.Pull.BaseRepo.CloneURL {
		t.Errorf("the caller's own CloneURL is not in its status: %v", err)
	}
	locks, err := d.List()
	if err != nil {
		t.Fatal(err)
	}
	b, _ := json.Marshal([]any{held, locks})
	if bytes.Contains(b, []byte("CANARY")) {
		t.Error("an answer holds the token or the pull request's text")
	}
}
