package bridge

import "strings"

const notBuilt = "it is not built yet"

// The feature flags had a second way into the environment, without any
// separator: ATLANTIS_FEATURE_PRIORITYQUEUE.
func featureEnv(name string) string {
	return envPrefix + "FEATURE_" + strings.ToUpper(strings.ReplaceAll(name, "-", ""))
}

// flag returns the setting of a feature flag.
func flag(name, item string, on bool, missing, meaning string) Setting {
	return boolean(flagsPrefix+name, item, on, missing, meaning, featureEnv(name))
}

// feature returns the setting of a feature that has a name of its own beside
// that of its flag.
func feature(name, item string, on bool, missing, meaning, flagName string) Setting {
	env := []string{featureEnv(name)}
	if flagName != name {
		env = append(env, featureEnv(flagName))
	}
	if name == "metrics" {
		env = append(env, featureEnv("metrics-collection"))
	}
	s := boolean(enhancedPrefix+name, item, on, missing, meaning, env...)
	s.Aliases = []string{flagsPrefix + flagName}
	return s
}

func boolean(name, item string, on bool, missing, meaning string, env ...string) Setting {
	fallback := textFalse
	if on {
		fallback = textTrue
	}
	return Setting{
		Name: name, Item: item, Kind: KindBool, Default: fallback, Missing: missing,
		Part: "feature flag", Meaning: meaning, env: env,
	}
}
