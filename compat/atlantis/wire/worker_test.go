package wire

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/runatlantis/atlantis/server/core/redis"
	"github.com/runatlantis/atlantis/server/events/command"
	"github.com/runatlantis/atlantis/server/events/models"
)

// order is one call of Atlantis's code that a worker process shall make.
type order struct {
	ID       int64
	Op       string // trylock, unlock, unlockif, get, list, unlockbypull, lockcommand, unlockcommand
	Repo     string
	Path     string
	Pull     int
	UnixTime int64
}

// report is what came of an order.
type report struct {
	ID       int64
	Acquired bool
	Pull     int   // the holder, or the pull of the lock that was returned; 0: none
	Pulls    []int // of a listing
	Repos    []string
	Err      string
}

// worker is a process that runs Atlantis's code against one target.
type worker struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	mu    sync.Mutex
	wait  map[int64]chan report
	next  int64
	done  chan struct{}
}

const workerEnv = "LOCKCLUSTER_WIRE_WORKER"

// startWorker starts this test binary again as a worker of cfg.
func startWorker(t *testing.T, cfg redis.Config) *worker {
	t.Helper()
	b, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), workerEnv+"="+string(b))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := &worker{cmd: cmd, stdin: stdin, wait: map[int64]chan report{}, done: make(chan struct{})}
	go w.read(stdout)
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	if rep := w.call(order{Op: "ping"}); rep.Err != "" {
		t.Fatalf("worker: %s", rep.Err)
	}
	return w
}

func (w *worker) read(stdout io.Reader) {
	defer close(w.done)
	dec := json.NewDecoder(bufio.NewReader(stdout))
	for {
		var rep report
		if dec.Decode(&rep) != nil {
			return
		}
		w.mu.Lock()
		c := w.wait[rep.ID]
		delete(w.wait, rep.ID)
		w.mu.Unlock()
		c <- rep
	}
}

// send hands the order to the worker and returns where the report will come.
func (w *worker) send(o order) <-chan report {
	c := make(chan report, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	o.ID = w.next
	w.wait[o.ID] = c
	b, err := json.Marshal(o)
	if err == nil {
		_, err = w.stdin.Write(append(b, '\n'))
	}
	if err != nil {
		delete(w.wait, o.ID)
		c <- report{Err: "worker is gone: " + err.Error()}
	}
	return c
}

func (w *worker) call(o order) report {
	select {
	case rep := <-w.send(o):
		return rep
	case <-w.done:
		return report{Err: "worker ended"}
	case <-time.After(60 * time.Second):
		return report{Err: "no report within 60 s"}
	}
}

// runWorker is main of a worker process: one goroutine per order, as Atlantis
// has one per webhook.
func runWorker(spec string) int {
	var cfg redis.Config
	if err := json.Unmarshal([]byte(spec), &cfg); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		return 1
	}
	db, err := redis.NewWithConfig(cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		return 1
	}
	defer db.Close()
	var mu sync.Mutex
	enc := json.NewEncoder(os.Stdout)
	var running sync.WaitGroup
	dec := json.NewDecoder(bufio.NewReader(os.Stdin))
	for {
		var o order
		if dec.Decode(&o) != nil {
			break
		}
		running.Add(1)
		go func() {
			defer running.Done()
			rep := obey(db, o)
			rep.ID = o.ID
			mu.Lock()
			defer mu.Unlock()
			_ = enc.Encode(rep)
		}()
	}
	running.Wait()
	return 0
}

func obey(db *redis.RedisDB, o order) (rep report) {
	fail := func(err error) {
		if err != nil {
			rep.Err = err.Error()
		}
	}
	project := models.NewProject(o.Repo, o.Path, "")
	switch o.Op {
	case "ping":
		fail(db.Ping())
	case "trylock":
		ok, held, err := db.TryLock(projectLock(o.Repo, o.Path, o.Pull))
		fail(err)
		rep.Acquired, rep.Pull = ok, held.Pull.Num
	case "unlock":
		lock, err := db.Unlock(project, "default")
		fail(err)
		if lock != nil {
			rep.Pull = lock.Pull.Num
		}
	case "unlockif":
		lock, err := db.UnlockIfOwnedByPull(project, "default", o.Pull)
		fail(err)
		if lock != nil {
			rep.Pull = lock.Pull.Num
		}
	case "get":
		lock, err := db.GetLock(project, "default")
		fail(err)
		if lock != nil {
			rep.Pull = lock.Pull.Num
		}
	case "list":
		locks, err := db.List()
		fail(err)
		rep.add(locks)
	case "unlockbypull":
		locks, err := db.UnlockByPull(o.Repo, o.Pull)
		fail(err)
		rep.add(locks)
	case "lockcommand":
		lock, err := db.LockCommand(command.Apply, time.Unix(o.UnixTime, 0))
		fail(err)
		rep.Acquired = lock != nil
	case "unlockcommand":
		fail(db.UnlockCommand(command.Apply))
	case "checkcommand":
		lock, err := db.CheckCommandLock(command.Apply)
		fail(err)
		if lock != nil {
			rep.Acquired, rep.Pull = true, int(lock.LockMetadata.UnixTime)
		}
	default:
		rep.Err = "unknown order " + o.Op
	}
	return rep
}

func (r *report) add(locks []models.ProjectLock) {
	for _, l := range locks {
		r.Pulls = append(r.Pulls, l.Pull.Num)
		r.Repos = append(r.Repos, l.Project.RepoFullName)
	}
}

// projectLock is a lock as Atlantis makes one for a GitHub pull request.
func projectLock(repo, path string, pull int) models.ProjectLock {
	return models.ProjectLock{
		Project:   models.NewProject(repo, path, ""),
		Workspace: "default",
		User:      models.User{Username: "ada"},
		Time:      time.Now(),
		Pull: models.PullRequest{
			Num: pull, HeadCommit: "16ca62f65c18ff456c6ef4cacc8d4826e264bb17", HeadBranch: "feature", BaseBranch: "main", Author: "ada",
			URL:  fmt.Sprintf("https://github.com/%s/pull/%d", repo, pull),
			Body: "Adds a subnet.",
			BaseRepo: models.Repo{
				FullName: repo, Owner: "acme", Name: "infra", CloneURL: "https://atlantis:token@github.com/" + repo + ".git",
				SanitizedCloneURL: "https://atlantis:<redacted>@github.com/" + repo + ".git",
				VCSHost:           models.VCSHost{Hostname: "github.com", Type: models.Github},
			},
		},
	}
}

func TestMain(m *testing.M) {
	if spec := os.Getenv(workerEnv); spec != "" {
		os.Exit(runWorker(spec))
	}
	os.Exit(m.Run())
}
