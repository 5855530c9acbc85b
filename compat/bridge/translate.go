package bridge

import (
	"time"

	"github.com/lockcluster/lockcluster"
)

// MigrationMode is the mode in the seed's own words.
type MigrationMode string

// ValidationMode is what the seed calls mode shadow where it has no mode yet.
const ValidationMode MigrationMode = modeShadow

// LegacyConfig is what an Atlantis was told about its locks.
type LegacyConfig struct {
	LockTimeout time.Duration
	LockRetries int
}

// EnhancedConfig is what the same settings mean for the enhanced system, in the
// names of the documents that promised it. It is a view for Go programs: the
// cluster goes by [Plan] and [Options].
type EnhancedConfig struct {
	// Backend is "boltdb" where Atlantis's own store is left in charge, as in
	// those documents, else where the enhanced system keeps its locks.
	Backend           string
	EnabledFeatures   []string // that are off by default; never nil
	CompatibilityMode bool
	LegacyMode        bool // no key is decided by the enhanced system
	FallbackEnabled   bool
	ValidationMode    bool // the enhanced system is only watched
	LockTimeout       time.Duration
	LockRetries       int
}

// ConfigBridge translates a legacy configuration.
type ConfigBridge struct {
	legacyConfig   LegacyConfig
	enhancedConfig EnhancedConfig
	migrationMode  MigrationMode
}

// NewConfigBridge returns the bridge for settings; without any, that of an
// Atlantis whose configuration nobody has touched.
func NewConfigBridge(v Values) *ConfigBridge {
	o := Decode(v.Settings())
	p := effective(v, Site{Offline: true})
	b := &ConfigBridge{
		legacyConfig:  LegacyConfig{LockTimeout: o.AcquireTimeout, LockRetries: o.AcquireRetries},
		migrationMode: MigrationMode(p.Mode.String()),
	}
	legacy := p.Mode == 0 || decides(v, Site{Offline: true}) == lockcluster.SystemLegacy
	b.enhancedConfig = EnhancedConfig{
		Backend: backendBoltDB, EnabledFeatures: []string{}, LegacyMode: legacy,
		CompatibilityMode: v.on(nameCompatibility), FallbackEnabled: v.on(nameFallback),
	}
	if !legacy {
		b.enhancedConfig.Backend = v.text(nameBackend)
	}
	for _, f := range Features() {
		if o.Features[f.Name] && !f.Default {
			b.enhancedConfig.EnabledFeatures = append(b.enhancedConfig.EnabledFeatures, f.Name)
		}
	}
	return b
}

// TranslateConfig returns what the settings mean for the enhanced system.
func (b *ConfigBridge) TranslateConfig() EnhancedConfig {
	c := b.enhancedConfig
	c.LockTimeout, c.LockRetries = b.legacyConfig.LockTimeout, b.legacyConfig.LockRetries
	c.ValidationMode = b.migrationMode == ValidationMode
	return c
}
