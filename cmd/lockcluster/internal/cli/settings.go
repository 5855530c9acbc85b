package cli

import (
	"context"

	"github.com/lockcluster/lockcluster"
)

// dialSettings connects to the cluster's settings.
func (a *app) dialSettings(ctx context.Context, f *clientFlags) (settingsClient, func(), error) {
	c, err := a.dial(ctx, f)
	if err != nil {
		return nil, nil, err
	}
	return clusterSettings{c}, func() { _ = c.Close() }, nil
}

// clusterSettings is a client as the settings commands need it.
type clusterSettings struct{ *client }

// GetConfig implements [settingsClient].
func (c clusterSettings) GetConfig(ctx context.Context) (map[string]string, error) {
	return c.Settings(ctx)
}

// SetConfig implements [settingsClient].
func (c clusterSettings) SetConfig(ctx context.Context, assignments map[string]string) (lockcluster.SettingsResult, error) {
	return c.SetSettings(ctx, assignments, "")
}
