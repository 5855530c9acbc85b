package compat

import "time"

// ProjectLock is the value of a lock as Atlantis stores it. The order of the
// fields is that of Atlantis's JSON.
type ProjectLock struct {
	Project   Project
	Pull      PullRequest
	User      User
	Workspace string
	Time      time.Time
}

// Project is a directory of a repository that Terraform runs in.
type Project struct {
	ProjectName  string
	RepoFullName string
	Path         string
}

// PullRequest is the pull request that holds a lock.
type PullRequest struct {
	Num                      int
	HeadCommit               string
	URL                      string
	HeadBranch               string
	BaseBranch               string
	HardenedNonPRRefCheckout bool
	Author                   string
	Body                     string
	State                    PullState
	BaseRepo                 Repo
}

// PullState says whether a pull request is open.
type PullState int

// The states of a pull request, numbered as Atlantis stores them.
const (
	PullOpen   PullState = 0
	PullClosed PullState = 1
)

// Repo is a repository. CloneURL holds a VCS user and token in clear.
type Repo struct {
	FullName          string
	Owner             string
	Name              string
	CloneURL          string
	SanitizedCloneURL string
	VCSHost           VCSHost
}

// VCSHost is the version control system that a repository lives on.
type VCSHost struct {
	Hostname string
	Type     VCSHostType
}

// VCSHostType is the kind of a version control system.
type VCSHostType int

// The kinds of version control system, numbered as Atlantis stores them.
const (
	VCSGithub          VCSHostType = 0
	VCSGitlab          VCSHostType = 1
	VCSBitbucketCloud  VCSHostType = 2
	VCSBitbucketServer VCSHostType = 3
	VCSAzureDevops     VCSHostType = 4
	VCSGitea           VCSHostType = 5
)

// User is who asked for a lock.
type User struct {
	Username string
	Teams    []string
}

// PullStatus is what Atlantis remembers of a pull request's projects.
type PullStatus struct {
	Projects []ProjectStatus
	Pull     PullRequest
}

// ProjectStatus is the state of one project of a pull request.
type ProjectStatus struct {
	Workspace    string
	RepoRelDir   string
	ProjectName  string
	PolicyStatus []PolicySetStatus
	Status       ProjectPlanStatus
}

// ProjectPlanStatus says how far a project has come. Atlantis v0.5.0 and
// v0.25.0 renumbered it, so a number of an older record is not certain.
type ProjectPlanStatus int

// The states of a project, numbered as Atlantis v0.25.0 and newer store them.
const (
	PlanErrored        ProjectPlanStatus = 0
	Planned            ProjectPlanStatus = 1
	PlannedNoChanges   ProjectPlanStatus = 2
	ApplyErrored       ProjectPlanStatus = 3
	Applied            ProjectPlanStatus = 4
	PlanDiscarded      ProjectPlanStatus = 5
	PolicyCheckErrored ProjectPlanStatus = 6
	PolicyCheckPassed  ProjectPlanStatus = 7
)

// PolicySetStatus is the state of one policy set of a project.
type PolicySetStatus struct {
	PolicySetName string
	Passed        bool
	Approvals     []PolicySetApproval // a number before v0.44.0
}

// PolicySetApproval is one approval of a policy set.
type PolicySetApproval struct {
	Approver string
	Hashes   []string
}

// CommandLock is the value of a global command lock as Atlantis stores it.
type CommandLock struct {
	LockMetadata CommandLockMetadata
	CommandName  CommandName
}

// CommandLockMetadata says when a command lock was taken, in whole seconds.
type CommandLockMetadata struct {
	UnixTime int64
}
