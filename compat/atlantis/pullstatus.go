package atlantis

import (
	"fmt"
	"strings"

	"github.com/runatlantis/atlantis/server/events/command"
	"github.com/runatlantis/atlantis/server/events/models"
)

// pullSeparator stands between the parts of a pull status key.
const pullSeparator = "::"

// pullKey returns the key under which Atlantis stores a pull's status.
func pullKey(pull models.PullRequest) (string, error) {
	host, repo := pull.BaseRepo.VCSHost.Hostname, pull.BaseRepo.FullName
	if strings.Contains(host, pullSeparator) {
		return "", fmt.Errorf("vcs hostname %q contains illegal string %q", host, pullSeparator)
	}
	if strings.Contains(repo, pullSeparator) {
		return "", fmt.Errorf("repo name %q contains illegal string %q", repo, pullSeparator)
	}
	return fmt.Sprintf("%s%s%s%s%d", host, pullSeparator, repo, pullSeparator, pull.Num), nil
}

// mergeResults returns the pull's status after results, as Atlantis v0.47.1
// computes it: results of a new head commit or base branch replace what is
// stored but keep its policy status, others are merged project by project.
// stored is nil when there is none.
func mergeResults(stored *models.PullStatus, pull models.PullRequest, results []command.ProjectResult) models.PullStatus {
	if stored != nil && !outdated(stored.Pull, pull) {
		merged := *stored
		merged.Projects = append([]models.ProjectStatus(nil), stored.Projects...)
		for _, res := range results {
			merged.Projects = mergeResult(merged.Projects, res)
		}
		return merged
	}
	fresh := models.PullStatus{Pull: pull}
	for _, res := range results {
		project := newProject(res)
		if stored != nil {
			if old := find(stored.Projects, res); old >= 0 && len(stored.Projects[old].PolicyStatus) > 0 {
				project.PolicyStatus = stored.Projects[old].PolicyStatus
			}
		}
		fresh.Projects = append(fresh.Projects, project)
	}
	return fresh
}

func outdated(stored, pull models.PullRequest) bool {
	return stored.HeadCommit != pull.HeadCommit || pull.BaseBranch != "" && stored.BaseBranch != pull.BaseBranch
}

// mergeResult updates the project that res is about, or adds it. Only the
// policy sets that res names change.
func mergeResult(projects []models.ProjectStatus, res command.ProjectResult) []models.ProjectStatus {
	i := find(projects, res)
	if i < 0 {
		return append(projects, newProject(res))
	}
	projects[i].Status = res.PlanStatus()
	if len(projects[i].PolicyStatus) == 0 {
		projects[i].PolicyStatus = res.PolicyStatus()
		return projects
	}
	sets := append([]models.PolicySetStatus(nil), projects[i].PolicyStatus...)
	for j := range sets {
		for _, set := range res.PolicyStatus() {
			if set.PolicySetName == sets[j].PolicySetName {
				sets[j] = set
			}
		}
	}
	projects[i].PolicyStatus = sets
	return projects
}

// find returns the index of the first project that res is about, or -1.
func find(projects []models.ProjectStatus, res command.ProjectResult) int {
	for i, p := range projects {
		if p.Workspace == res.Workspace && p.RepoRelDir == res.RepoRelDir && p.ProjectName == res.ProjectName {
			return i
		}
	}
	return -1
}

func newProject(res command.ProjectResult) models.ProjectStatus {
	return models.ProjectStatus{
		Workspace: res.Workspace, RepoRelDir: res.RepoRelDir, ProjectName: res.ProjectName,
		PolicyStatus: res.PolicyStatus(), Status: res.PlanStatus(),
	}
}

// withSecretsOf puts back what the API does not return, from the caller's own
// copy of the same pull request.
func withSecretsOf(stored, pull models.PullRequest) models.PullRequest {
	if stored.Num != pull.Num || stored.BaseRepo.FullName != pull.BaseRepo.FullName {
		return stored
	}
	if stored.Body == "" {
		stored.Body = pull.Body
	}
	stored.BaseRepo.CloneURL = pull.BaseRepo.CloneURL
	return stored
}
