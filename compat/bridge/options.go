package bridge

import (
	"fmt"
	"strconv"
	"time"
)

// Options are the typed values of the settings, defaults included; who decides
// is in [Plan].
type Options struct {
	AcquireTimeout time.Duration
	AcquireRetries int

	Compare        bool // mode shadow: compare the answers
	LogComparisons bool // mode shadow: keep every difference
	HealthCheck    bool // ask the target's health before a switch

	Rollback RollbackOptions
	Criteria SwitchCriteria
	Features map[string]bool // by the name of the flag
}

// RollbackOptions say when the cluster goes back to the legacy system by
// itself.
type RollbackOptions struct {
	Automatic     bool
	Threshold     float64 // error ratio of the enhanced system
	Window        time.Duration
	MinSamples    int
	CheckInterval time.Duration
	Cooldown      time.Duration
	P95Ratio      float64 // enhanced / legacy; 0: not judged
}

// SwitchCriteria are what a switch to the enhanced system asks for first.
type SwitchCriteria struct {
	MinValidationTime       time.Duration
	MinSuccessfulOperations int
	MaxErrorRate            float64
	NoDivergence            bool
}

// Decode returns the typed values of replicated settings. What this version
// cannot read is at its default.
func Decode(settings map[string]string) Options {
	v, _ := FromSettings(settings)
	o := Options{
		AcquireTimeout: v.duration(nameTimeout),
		AcquireRetries: int(v.number(nameRetries)),
		Compare:        v.on(nameCompare),
		LogComparisons: v.on(nameLogging),
		HealthCheck:    v.on(nameHealthCheck),
		Rollback: RollbackOptions{
			Automatic:     v.on(nameAutomatic) && v.on(nameFallback),
			Threshold:     v.number(nameThreshold),
			Window:        v.duration(nameWindow),
			MinSamples:    int(v.number(nameMinSamples)),
			CheckInterval: v.duration(nameInterval),
			Cooldown:      v.duration(nameCooldown),
			P95Ratio:      v.number(nameP95),
		},
		Criteria: SwitchCriteria{
			MinValidationTime:       v.duration(nameMinTime),
			MinSuccessfulOperations: int(v.number(nameMinOperations)),
			MaxErrorRate:            v.number(nameMaxErrors),
			NoDivergence:            v.on(nameNoDivergence),
		},
		Features: map[string]bool{},
	}
	for _, f := range Features() {
		o.Features[f.Name] = v.on(f.Setting)
	}
	return o
}

func (v Values) on(name string) bool { return v.text(name) == textTrue }

func (v Values) number(name string) float64 {
	f, err := strconv.ParseFloat(v.text(name), 64)
	if err != nil {
		panic(fmt.Sprintf("normal form of %s: %v", name, err)) // [Setting.Normal] has made it
	}
	return f
}
