package bridge

// migrationPrefix begins the names of the migration's settings.
const migrationPrefix = enhancedPrefix + "migration."

// Names of settings that the rules of this package speak of.
const (
	nameTimeout       = "locks.timeout"
	nameRetries       = "locks.retries"
	nameEnabled       = enhancedPrefix + "enabled"
	nameBackend       = enhancedPrefix + "backend"
	nameCompatibility = enhancedPrefix + "compatibility-mode"
	nameMode          = migrationPrefix + "mode"
	nameActive        = migrationPrefix + "active-system"
	namePercentage    = migrationPrefix + "traffic-percentage"
	nameCanary        = migrationPrefix + "canary-criteria"
	nameValidation    = migrationPrefix + "validation-mode"
	nameCompare       = migrationPrefix + "validation-enabled"
	nameLogging       = migrationPrefix + "comparison-logging"
	nameFallback      = migrationPrefix + "fallback-enabled"
	nameHealthCheck   = migrationPrefix + "health-check-enabled"
	nameAutomatic     = migrationPrefix + "automatic-rollback"
	nameThreshold     = migrationPrefix + "rollback-threshold"
	nameWindow        = migrationPrefix + "rollback-window"
	nameMinSamples    = migrationPrefix + "rollback-min-samples"
	nameInterval      = migrationPrefix + "rollback-check-interval"
	nameCooldown      = migrationPrefix + "rollback-cooldown"
	nameP95           = migrationPrefix + "rollback-p95-ratio"
	nameMinTime       = migrationPrefix + "switch-criteria.min-validation-time"
	nameMinOperations = migrationPrefix + "switch-criteria.min-successful-operations"
	nameMaxErrors     = migrationPrefix + "switch-criteria.max-error-rate"
	nameNoDivergence  = migrationPrefix + "switch-criteria.no-divergence"
)

const (
	textTrue  = "true"
	textFalse = "false"
)

// The choices of backend, mode and active system.
const (
	backendRaft   = "raft"
	backendBoltDB = "boltdb"
	backendRedis  = "redis"

	modeLegacy    = "legacy"
	modeShadow    = "shadow"
	modeGradual   = "gradual"
	modeBlueGreen = "blue-green"
	modeEnhanced  = "enhanced"
)

// retriesMax and countMax bound what is counted.
const (
	retriesMax = 1000
	countMax   = 1 << 40
)

// registry is every setting. The order is that of "config mapping".
var registry = []Setting{
	{
		Name: nameTimeout, Item: "S20, S22", Kind: KindDuration, Default: "30s", positive: true,
		Aliases: []string{enhancedPrefix + "default-timeout"},
		env:     []string{"ATLANTIS_LOCK_TIMEOUT", envOf(enhancedPrefix + "default-timeout")}, envOnly: true,
		Part: "acquire timeout", Meaning: "how long an acquire may take; never how long a lock lives",
	},
	{
		Name: nameRetries, Item: "S21, S23", Kind: KindInt, Default: "3", max: retriesMax,
		env: []string{"ATLANTIS_LOCK_RETRIES"}, envOnly: true,
		Part: "acquire retries", Meaning: "how often an acquire that was not decided is tried again; a lock held by another is an answer",
	},
	{
		Name: nameEnabled, Item: "S24", Kind: KindBool, Default: textFalse,
		env:  []string{"ATLANTIS_FEATURE_ENHANCEDLOCKING"},
		Part: "migration mode", Meaning: "false, when it is set: mode legacy, whatever else is set (the emergency rollback); not set: the mode counts",
	},
	{
		Name: nameBackend, Item: "S25", Kind: KindChoice, Default: backendRaft, Choices: []string{backendRaft, backendBoltDB, backendRedis},
		NodeOnly: true,
		Part:     "enhanced system", Meaning: "where the enhanced system keeps its locks: raft is the cluster itself; boltdb would be one node's file, redis a Redis, neither is available",
	},
	{
		Name: nameCompatibility, Item: "S26", Kind: KindBool, Default: textTrue,
		env:  []string{"ATLANTIS_FEATURE_LEGACYCOMPATIBILITY"},
		Part: "unchanged API", Meaning: "accepted either way: Atlantis's own calls, formats and answers are always kept",
	},
	feature("priority-queue", "S27, S37", false, notBuilt, "waiters are served by priority", "priority-queuing"),
	feature("deadlock-detection", "S28, S38", false, notBuilt, "a wait that would close a cycle is refused", "deadlock-detection"),
	{
		Name: enhancedPrefix + "retries", Item: "S29", Kind: KindBool, Default: textFalse, Missing: notBuilt,
		env:  []string{"ATLANTIS_FEATURE_RETRYMECHANISM"},
		Part: "acquire retries", Meaning: "a refused acquire tries again by itself; how often says locks.retries",
	},
	feature("metrics", "S30, S40", true, "", "metrics of both systems and the comparison between them", "enhanced-metrics"),

	{
		Name: nameMode, Item: "S43-S45", Kind: KindChoice, Choices: []string{modeLegacy, modeShadow, modeGradual, modeBlueGreen, modeEnhanced},
		synonyms: map[string]string{"canary": modeGradual, "bluegreen": modeBlueGreen},
		Part:     "cluster mode", Meaning: "how the two systems share the work; not set: legacy where a legacy system is attached, else enhanced",
	},
	{
		Name: nameActive, Item: "S45", Kind: KindChoice, Default: modeLegacy, Choices: []string{modeLegacy, modeEnhanced},
		Part: "cluster switch", Meaning: "the system that decides in mode blue-green; a change is a switch of the whole cluster",
	},
	{
		Name: namePercentage, Item: "S32, S44", Kind: KindPercent, Default: "0",
		Aliases: []string{migrationPrefix + "percentage"},
		Part:    "migration percentage", Meaning: "share of the lock keys that go to the enhanced system in mode gradual; a held lock stays where it is",
	},
	{
		Name: nameCanary, Item: "S44", Kind: KindCanary, Default: "[]",
		Part: "canary rules", Meaning: "locks that go to the enhanced system in mode gradual: a list of project-name, workspace, user-group; exact names",
	},
	{
		Name: nameValidation, Item: "S31", Kind: KindBool, Default: textFalse,
		Part: "migration mode", Meaning: "true is mode shadow, where no mode is set",
	},
	{
		Name: nameCompare, Item: "S43", Kind: KindBool, Default: textTrue,
		Part: "shadow comparison", Meaning: "in mode shadow the answers of both systems are compared and counted",
	},
	{
		Name: nameLogging, Item: "S43", Kind: KindBool, Default: textTrue,
		Part: "shadow log", Meaning: "in mode shadow every difference is kept with both answers",
	},
	{
		Name: nameFallback, Item: "S33", Kind: KindBool, Default: textTrue,
		Part: "rollback permission", Meaning: "automatic rollback may be used; a fallback for a single operation would grant a lock twice and does not exist",
	},
	{
		Name: nameHealthCheck, Item: "S46", Kind: KindBool, Default: textTrue,
		Part: "health check", Meaning: "a switch asks first whether the target is healthy",
	},
	{
		Name: nameAutomatic, Item: "S47", Kind: KindBool, Default: textFalse,
		Aliases: []string{migrationPrefix + "auto-rollback", migrationPrefix + "rollback.enabled"},
		Part:    "rollback controller", Meaning: "too many errors of the enhanced system switch the cluster back to legacy, once; then an operator decides",
	},
	{
		Name: nameThreshold, Item: "S47", Kind: KindRatio, Default: "0.05", min: 1e-6, max: 1,
		Aliases: []string{migrationPrefix + "rollback.triggers.error-rate"},
		Part:    "rollback threshold", Meaning: "error ratio of the enhanced system, over the window, above which it rolls back: 0.05 is 5 %",
	},
	{
		Name: nameWindow, Kind: KindDuration, Default: "1m", positive: true,
		Part: "rollback window", Meaning: "the time over which errors and latency are judged",
	},
	{
		Name: nameMinSamples, Kind: KindInt, Default: "50", min: 1, max: countMax,
		Part: "rollback minimum sample", Meaning: "calls that the window must hold before anything is concluded from it",
	},
	{
		Name: nameInterval, Kind: KindDuration, Default: "10s", positive: true,
		Aliases: []string{migrationPrefix + "health-check-interval"},
		Part:    "rollback check interval", Meaning: "time between two looks at the window",
	},
	{
		Name: nameCooldown, Kind: KindDuration, Default: "5m",
		Aliases: []string{migrationPrefix + "rollback.cooldown"},
		Part:    "rollback cooldown", Meaning: "time after a rollback in which the controller does not act",
	},
	{
		Name: nameP95, Kind: KindFactor, Default: "0",
		Aliases: []string{migrationPrefix + "rollback.triggers.latency-increase"},
		Part:    "rollback p95 ratio", Meaning: "p95 latency of the enhanced system over the legacy one's above which it rolls back; 0: latency is not judged",
	},
	{
		Name: nameMinTime, Kind: KindDuration, Default: "0s",
		Part: "switch criteria", Meaning: "a switch to enhanced needs shadow mode to have run that long; 0: not asked",
	},
	{
		Name: nameMinOperations, Kind: KindInt, Default: "0", max: countMax,
		Part: "switch criteria", Meaning: "a switch to enhanced needs that many operations that went well there; 0: not asked",
	},
	{
		Name: nameMaxErrors, Kind: KindRatio, Default: "1", max: 1,
		Part: "switch criteria", Meaning: "a switch to enhanced is refused above that error ratio of it; 1: not asked",
	},
	{
		Name: nameNoDivergence, Kind: KindBool, Default: textTrue,
		Part: "switch criteria", Meaning: "a switch to enhanced is refused while a difference between the systems is not explained",
	},

	flag("enhanced-timeouts", "S34", false, notBuilt, "leases and waits with time limits of their own"),
	flag("batch-operations", "S35", false, notBuilt, "several locks at once, all or none"),
	flag("async-operations", "S36", false, notBuilt, "an acquire that answers later"),
	flag("event-streaming", "S39", false, notBuilt, "lock events as a stream"),
	flag("health-checks", "S41", true, "", "the health of both systems, with what is wrong"),
	flag("debug-endpoints", "S42", false, notBuilt, "pages for debugging"),
	flag("redis-backend", "", false, "the enhanced system is the cluster itself; attach Atlantis's Redis as the legacy system with --legacy-redis",
		"the enhanced system in a Redis"),
}
