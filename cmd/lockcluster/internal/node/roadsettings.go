package node

import (
	"context"
	"fmt"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat/bridge"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/migration"
	"github.com/lockcluster/lockcluster/migration/controller"
)

// Settings implements [rpc.Migration]. With the settings go what imports have
// left, which no person sets.
func (d roadDoor) Settings(ctx context.Context) (map[string]string, error) {
	settings, err := d.road.controller.Settings(ctx)
	if err != nil {
		return nil, err
	}
	err = d.node.Read(ctx, func(r state.Reader, _ uint64) {
		for _, s := range state.Settings(r) {
			if migration.IsImportsSetting(s.Name) {
				settings[s.Name] = s.Value
			}
		}
	})
	return settings, err
}

// SetSettings implements [rpc.Migration].
func (d roadDoor) SetSettings(ctx context.Context, settings map[string]string, reason string) (lockcluster.SettingsResult, error) {
	req := controller.SettingsRequest{Reason: reason}
	for name, value := range settings {
		if migration.IsImportsSetting(name) && len(settings) == 1 {
			return d.noteImport(ctx, name, value)
		}
		req.Assignments = append(req.Assignments, bridge.Assignment{Name: name, Value: value})
	}
	res, err := d.road.controller.SetSettings(ctx, req)
	return res, refusedRoad(err)
}

// noteImport stores what an import leaves; it means nothing to the road.
func (d roadDoor) noteImport(ctx context.Context, name, value string) (lockcluster.SettingsResult, error) {
	if _, err := migration.ParseImported(value); err != nil {
		return lockcluster.SettingsResult{}, fmt.Errorf("%w: %w", lockcluster.ErrInvalid, err)
	}
	res, err := d.node.Do(ctx, lockcluster.RequestID{}, lockcluster.SetConfig{Settings: []lockcluster.Setting{{Name: name, Value: value}}})
	if err == nil && res.Status != lockcluster.StatusApplied {
		err = fmt.Errorf("note the import: %s %s", res.Status, res.Text)
	}
	return lockcluster.SettingsResult{Index: res.Index}, err
}
