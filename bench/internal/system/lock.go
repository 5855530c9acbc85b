package system

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// ValueSize is the size of a lock's stored bytes.
const ValueSize = 1024

// Lock is one lock as the benchmark uses it. Value is JSON as Atlantis stores
// it, ValueSize bytes long, and agrees with the fields.
type Lock struct {
	Repo      string
	Path      string
	Workspace string
	Pull      int
	User      string
	Value     []byte
	text      string
}

// Text is the lock key's text form.
func (l *Lock) Text() string { return l.text }

// Host is the VCS host that every lock of the benchmark is on.
const Host = "github.example.com"

// The model types carry the field names that Atlantis v0.47.1 writes.
type (
	project struct {
		ProjectName  string
		RepoFullName string
		Path         string
	}
	vcsHost struct {
		Hostname string
		Type     int
	}
	repo struct {
		FullName, Owner, Name, CloneURL, SanitizedCloneURL string
		VCSHost                                            vcsHost
	}
	pull struct {
		Num                                     int
		HeadCommit, URL, HeadBranch, BaseBranch string
		HardenedNonPRRefCheckout                bool
		Author, Body                            string
		State                                   int
		BaseRepo                                repo
	}
	user struct {
		Username string
		Teams    []string
	}
	projectLock struct {
		Project   project
		Pull      pull
		User      user
		Workspace string
		Time      time.Time
	}
)

// NewLock makes the lock of one project of a repository for a pull request.
func NewLock(repoName, path string, pullNum int) *Lock {
	owner, name, _ := strings.Cut(repoName, "/")
	url := "https://" + Host + "/" + repoName
	pl := projectLock{
		Project: project{RepoFullName: repoName, Path: path},
		Pull: pull{
			Num: pullNum, HeadCommit: "8f3a1c0d5be94e2f7a6c1d08e5b7f92c3a4d6e1b", URL: fmt.Sprintf("%s/pull/%d", url, pullNum),
			HeadBranch: "raise-limits", BaseBranch: "main", Author: "ann",
			BaseRepo: repo{
				FullName: repoName, Owner: owner, Name: name, CloneURL: url + ".git", SanitizedCloneURL: url + ".git",
				VCSHost: vcsHost{Hostname: Host},
			},
		},
		User:      user{Username: "ann"},
		Workspace: "default",
		Time:      time.Date(2026, 11, 1, 9, 0, 0, 123456789, time.UTC),
	}
	value := mustMarshal(pl)
	if pad := ValueSize - len(value); pad > 0 {
		// Not in Body: answers of our gRPC API leave that out, and then they would
		// be smaller than those of the others.
		pl.Pull.HeadBranch += strings.Repeat("x", pad)
		value = mustMarshal(pl)
	}
	return &Lock{
		Repo: repoName, Path: path, Workspace: pl.Workspace, Pull: pullNum, User: pl.User.Username, Value: value,
		text: repoName + "/" + path + "/" + pl.Workspace + "/",
	}
}

func mustMarshal(pl projectLock) []byte {
	value, err := json.Marshal(pl)
	if err != nil {
		panic(err) // only plain fields: cannot fail
	}
	return value
}

// decode does what Atlantis does with the bytes of a lock that it has read.
func decode(value []byte) error {
	var pl projectLock
	if err := json.Unmarshal(value, &pl); err != nil {
		return fmt.Errorf("decode the stored lock: %w", err)
	}
	return nil
}
