package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/lockcluster/lockcluster/internal/nearest"
)

const envPrefix = "LOCKCLUSTER_"

// envOthers are variables with our prefix that are no settings of a node: the
// client commands read them, and a node that replaces itself.
var envOthers = []string{
	envPrefix + "ENDPOINTS", envPrefix + "TIMEOUT", envPrefix + "RESTARTS",
}

// envService matches what Kubernetes and Docker links put into the environment
// of every container beside a service named "lockcluster" or "lockcluster-…".
var envService = regexp.MustCompile(`_SERVICE_HOST$|_SERVICE_PORT(_|$)|_PORT$|_PORT_[0-9]+_(TCP|UDP)(_|$)`)

// envTests matches variables that the project's own tests read.
var envTests = regexp.MustCompile("^" + envPrefix + "(SEED$|NEED_|TEST_|E2E_|RACE_|WIRE_)")

// readEnv returns the settings that the environment holds, and the file that
// LOCKCLUSTER_CONFIG names.
func readEnv(environ []string) (v values, file string, err error) {
	v = values{}
	for _, entry := range environ {
		name, text, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, envPrefix) || slices.Contains(envOthers, name) {
			continue
		}
		if name == envPrefix+"CONFIG" {
			file = text
			continue
		}
		s := byEnv(name)
		switch {
		case s != nil && text == "":
			// Compose files pass variables on that are not set: empty is unset.
		case s != nil:
			if err := v.setText(s, text); err != nil {
				return nil, "", fmt.Errorf("environment variable %s: %w", name, err)
			}
		case envTests.MatchString(name), envService.MatchString(name):
		default:
			return nil, "", fmt.Errorf("environment variable %s: unknown setting, did you mean %s?", name, nearest.Of(name, envNames()))
		}
	}
	return v, file, nil
}

func byEnv(name string) *setting {
	for i := range settings {
		if settings[i].env() == name {
			return &settings[i]
		}
	}
	return nil
}

func envNames() []string {
	names := []string{envPrefix + "CONFIG"}
	for i := range settings {
		names = append(names, settings[i].env())
	}
	return names
}
