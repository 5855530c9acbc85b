package atlantis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/runatlantis/atlantis/server/core/db"
	"github.com/runatlantis/atlantis/server/events/command"
	"github.com/runatlantis/atlantis/server/events/models"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/rpc"
)

// callTimeout bounds every call: it is longer than an election takes, and
// shorter than a person waits.
const callTimeout = 15 * time.Second

// mergeTriesMax bounds how often a change of a pull status is computed anew
// because another replica changed it in between. Each try means that another
// one has succeeded.
const mergeTriesMax = 100

// Database is Atlantis's database on a cluster. Use [New].
type Database struct {
	client    *rpc.Client
	namespace string
}

var _ db.Database = (*Database)(nil)

// New returns a database over client, which must have been dialled with
// WithValues; see [Dial]. The database closes the client.
func New(client *rpc.Client, namespace string) *Database {
	return &Database{client: client, namespace: namespace}
}

// Dial connects to the nodes at the gRPC addresses endpoints and returns a
// database over the namespace that Redis database 0 has.
func Dial(ctx context.Context, endpoints ...string) (*Database, error) {
	client, err := rpc.Dial(ctx, rpc.ClientConfig{Endpoints: endpoints, WithValues: true})
	if err != nil {
		return nil, err
	}
	return New(client, lockcluster.DefaultNamespace), nil
}

func (d *Database) do(req lockcluster.Request) (lockcluster.Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	res, err := d.client.Do(ctx, lockcluster.RequestID{}, req)
	if err != nil {
		return res, fmt.Errorf("db transaction failed: %w", err)
	}
	switch res.Status {
	case lockcluster.StatusInvalid, lockcluster.StatusHostConflict, lockcluster.StatusForgotten:
		return res, fmt.Errorf("db transaction failed: %s", res.Text)
	}
	return res, nil
}

// TryLock implements [db.Database]. A lock that the same pull holds is not
// acquired again: the holder is returned, as Atlantis expects.
func (d *Database) TryLock(lock models.ProjectLock) (bool, models.ProjectLock, error) {
	value, err := json.Marshal(lock)
	if err != nil {
		return false, models.ProjectLock{}, fmt.Errorf("db transaction failed: %w", err)
	}
	res, err := d.do(lockcluster.Acquire{
		Key: d.key(lock.Project, lock.Workspace),
		Owner: lockcluster.Owner{
			Host: lock.Pull.BaseRepo.VCSHost.Hostname, Repo: lock.Project.RepoFullName, Pull: lock.Pull.Num,
		},
		User: lock.User.Username, AcquiredAt: lock.Time, Value: value,
	})
	if err != nil {
		return false, models.ProjectLock{}, err
	}
	if res.Status == lockcluster.StatusGranted {
		return true, lock, nil
	}
	held, err := projectLock(res.Lock)
	if err != nil {
		return false, models.ProjectLock{}, fmt.Errorf("failed to deserialize current lock: %w", err)
	}
	return false, *held, nil
}

// Unlock implements [db.Database].
func (d *Database) Unlock(project models.Project, workspace string) (*models.ProjectLock, error) {
	return d.release(project, workspace, lockcluster.Guard{})
}

// UnlockIfOwnedByPull implements [db.Database].
func (d *Database) UnlockIfOwnedByPull(project models.Project, workspace string, pullNum int) (*models.ProjectLock, error) {
	return d.release(project, workspace, lockcluster.Guard{Pull: pullNum})
}

func (d *Database) release(project models.Project, workspace string, guard lockcluster.Guard) (*models.ProjectLock, error) {
	res, err := d.do(lockcluster.Release{Namespace: d.namespace, Text: d.key(project, workspace).Text(), Guard: guard})
	if err != nil || res.Status != lockcluster.StatusReleased {
		return nil, err
	}
	lock, err := projectLock(res.Lock)
	if err != nil {
		return nil, fmt.Errorf("failed to deserialize current lock: %w", err)
	}
	return lock, nil
}

// List implements [db.Database].
func (d *Database) List() ([]models.ProjectLock, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	locks, _, err := d.client.CollectLocks(ctx, rpc.LockFilter{Namespace: d.namespace})
	if err != nil {
		return nil, fmt.Errorf("db transaction failed: %w", err)
	}
	return projectLocks(locks)
}

// GetLock implements [db.Database]. The time is in the local zone.
func (d *Database) GetLock(project models.Project, workspace string) (*models.ProjectLock, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	key := d.key(project, workspace).Text()
	held, _, err := d.client.GetLock(ctx, d.namespace, key)
	switch {
	case err != nil:
		return nil, fmt.Errorf("db transaction failed: %w", err)
	case held == nil || held.Key.Text() != key:
		return nil, nil
	}
	lock, err := projectLock(held)
	if err != nil {
		return nil, fmt.Errorf("deserializing lock at key %q: %w", key, err)
	}
	lock.Time = lock.Time.Local()
	return lock, nil
}

// UnlockByPull implements [db.Database], for exactly that repository.
func (d *Database) UnlockByPull(repoFullName string, pullNum int) ([]models.ProjectLock, error) {
	res, err := d.do(lockcluster.ReleaseByPull{Namespace: d.namespace, Repo: repoFullName, Pull: pullNum})
	if err != nil {
		return nil, err
	}
	return projectLocks(res.Locks)
}

// LockCommand implements [db.Database].
func (d *Database) LockCommand(cmdName command.Name, lockTime time.Time) (*command.Lock, error) {
	lock := command.Lock{CommandName: cmdName, LockMetadata: command.LockMetadata{UnixTime: lockTime.Unix()}}
	value, err := json.Marshal(lock)
	if err != nil {
		return nil, fmt.Errorf("db transaction failed: %w", err)
	}
	res, err := d.do(lockcluster.LockCommand{Namespace: d.namespace, Name: cmdName.String(), LockedAt: lock.LockTime(), Value: value})
	if err != nil {
		return nil, err
	}
	if res.Status != lockcluster.StatusGranted {
		return nil, errors.New("db transaction failed: lock already exists")
	}
	return &lock, nil
}

// UnlockCommand implements [db.Database].
func (d *Database) UnlockCommand(cmdName command.Name) error {
	res, err := d.do(lockcluster.UnlockCommand{Namespace: d.namespace, Name: cmdName.String()})
	if err == nil && res.Status == lockcluster.StatusNotFound {
		err = errors.New("db transaction failed: no lock exists")
	}
	return err
}

// CheckCommandLock implements [db.Database].
func (d *Database) CheckCommandLock(cmdName command.Name) (*command.Lock, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	held, _, err := d.client.GetCommandLock(ctx, d.namespace, cmdName.String())
	switch {
	case err != nil:
		return nil, fmt.Errorf("db transaction failed: %w", err)
	case held == nil:
		return nil, nil
	}
	// The stored value names the command that took it: plan and autoplan share
	// one lock.
	lock := command.Lock{CommandName: cmdName, LockMetadata: command.LockMetadata{UnixTime: held.LockedAt.Unix()}}
	if len(held.Value) > 0 && json.Unmarshal(held.Value, &lock) != nil {
		return nil, errors.New("failed to deserialize Lock: the stored value is not a command lock")
	}
	return &lock, nil
}

// GetPullStatus implements [db.Database].
func (d *Database) GetPullStatus(pull models.PullRequest) (*models.PullStatus, error) {
	key, err := pullKey(pull)
	if err != nil {
		return nil, err
	}
	stored, _, err := d.readStatus(key, pull)
	if err != nil {
		return nil, fmt.Errorf("db transaction failed: %w", err)
	}
	return stored, nil
}

// DeletePullStatus implements [db.Database].
func (d *Database) DeletePullStatus(pull models.PullRequest) error {
	key, err := pullKey(pull)
	if err != nil {
		return err
	}
	_, err = d.do(lockcluster.DeleteDocument{Namespace: d.namespace, Key: key})
	return err
}

// UpdateProjectStatus implements [db.Database]: it sets the status of the first
// project with that workspace and directory, and does nothing when the pull has
// no status.
func (d *Database) UpdateProjectStatus(pull models.PullRequest, workspace, repoRelDir string, newStatus models.ProjectPlanStatus) error {
	_, err := d.changeStatus(pull, func(stored *models.PullStatus, unreadable error) (*models.PullStatus, error) {
		if stored == nil || unreadable != nil {
			return nil, unreadable
		}
		for i := range stored.Projects {
			if p := &stored.Projects[i]; p.Workspace == workspace && p.RepoRelDir == repoRelDir {
				p.Status = newStatus
				break
			}
		}
		return stored, nil
	})
	return err
}

// UpdatePullWithResults implements [db.Database]. A stored status that cannot
// be read is replaced, as by Atlantis's own backends.
func (d *Database) UpdatePullWithResults(pull models.PullRequest, newResults []command.ProjectResult) (models.PullStatus, error) {
	merged, err := d.changeStatus(pull, func(stored *models.PullStatus, _ error) (*models.PullStatus, error) {
		status := mergeResults(stored, pull, newResults)
		return &status, nil
	})
	if err != nil {
		return models.PullStatus{}, err
	}
	return *merged, nil
}

// changeStatus replaces a pull's status by what change makes of it, in one
// atomic step: if another replica has changed it meanwhile, change is called
// again with what that one wrote. Nothing is written when change returns nil.
func (d *Database) changeStatus(
	pull models.PullRequest, change func(stored *models.PullStatus, unreadable error) (*models.PullStatus, error),
) (*models.PullStatus, error) {
	key, err := pullKey(pull)
	if err != nil {
		return nil, err
	}
	for range mergeTriesMax {
		stored, revision, err := d.readStatus(key, pull)
		var unreadable *unreadableError
		if err != nil && !errors.As(err, &unreadable) {
			return nil, fmt.Errorf("db transaction failed: %w", err)
		}
		status, err := change(stored, err)
		if err != nil || status == nil {
			return nil, err
		}
		value, err := json.Marshal(status)
		if err != nil {
			return nil, fmt.Errorf("db transaction failed: %w", err)
		}
		res, err := d.do(lockcluster.Txn{
			Namespace:  d.namespace,
			Conditions: []lockcluster.Condition{{Space: lockcluster.SpaceDocument, Key: key, Revision: revision}},
			Requests:   []lockcluster.Request{lockcluster.PutDocument{Namespace: d.namespace, Key: key, Value: value}},
		})
		if err != nil {
			return nil, err
		}
		if res.Status == lockcluster.StatusApplied {
			return status, nil
		}
	}
	return nil, fmt.Errorf("db transaction failed: the status of pull %d was changed by others %d times in a row; try again", pull.Num, mergeTriesMax)
}

// unreadableError marks a stored status that is not Atlantis's. It does not
// quote it: it holds credentials.
type unreadableError struct{ key string }

func (e *unreadableError) Error() string {
	return fmt.Sprintf("deserializing pull at %q: the stored value is not a pull status", e.key)
}

// readStatus returns the stored status, nil if there is none, and its revision,
// 0 if there is none.
func (d *Database) readStatus(key string, pull models.PullRequest) (*models.PullStatus, uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	doc, _, err := d.client.GetDocument(ctx, d.namespace, key)
	if err != nil || doc == nil {
		return nil, 0, err
	}
	var status models.PullStatus
	if json.Unmarshal(doc.Value, &status) != nil {
		return nil, doc.Revision, &unreadableError{key}
	}
	status.Pull = withSecretsOf(status.Pull, pull)
	return &status, doc.Revision, nil
}

// Ping implements [db.Database]: it succeeds if the cluster has a leader that
// answers a linearizable read within five seconds.
func (d *Database) Ping() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, _, err := d.client.GetDocument(ctx, d.namespace, "ping")
	return err
}

// Close implements [db.Database].
func (d *Database) Close() error { return d.client.Close() }

func (d *Database) key(project models.Project, workspace string) lockcluster.Key {
	return lockcluster.Key{
		Namespace: d.namespace, Repo: project.RepoFullName, Path: project.Path, Workspace: workspace, Project: project.ProjectName,
	}
}

// projectLock returns the lock in Atlantis's type. Locks that were taken
// without Atlantis, for example on the command line, have no stored value; they
// get one that says what is known.
func projectLock(l *lockcluster.Lock) (*models.ProjectLock, error) {
	value := l.Value
	if len(value) == 0 {
		value = compat.NewLockValue(*l)
	}
	var lock models.ProjectLock
	if err := json.Unmarshal(value, &lock); err != nil {
		return nil, errors.New("the stored value is not a lock record")
	}
	return &lock, nil
}

func projectLocks(locks []lockcluster.Lock) ([]models.ProjectLock, error) {
	var out []models.ProjectLock
	for i := range locks {
		lock, err := projectLock(&locks[i])
		if err != nil {
			return out, fmt.Errorf("failed to deserialize lock at key '%s': %w", locks[i].Key.Text(), err)
		}
		out = append(out, *lock)
	}
	slices.SortStableFunc(out, func(a, b models.ProjectLock) int {
		return strings.Compare(models.GenerateLockKey(a.Project, a.Workspace), models.GenerateLockKey(b.Project, b.Workspace))
	})
	return out, nil
}
