package rpc

import (
	"context"

	"github.com/lockcluster/lockcluster"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

// migrationService drives the road between two lock systems.
type migrationService struct {
	pb.UnimplementedMigrationServiceServer
	migration Migration
}

func (s *migrationService) Switch(ctx context.Context, r *pb.SwitchRequest) (*pb.SwitchResponse, error) {
	if s.migration == nil {
		return nil, ErrUnimplemented
	}
	res, err := s.migration.Switch(ctx, lockcluster.SwitchRequest{
		To: r.GetTo(), Reason: r.GetReason(), Timeout: r.GetTimeout().AsDuration(), DryRun: r.GetDryRun(), Force: r.GetForce(),
	})
	return &pb.SwitchResponse{
		From: res.From, To: res.To, Epoch: res.Epoch, Index: res.Index, GateClosedMs: res.GateClosedMS, Carried: int64(res.Carried),
		Records: int64(res.Records), DryRun: res.DryRun, Unverified: res.Unverified, Checks: res.Checks,
	}, err
}

func (s *migrationService) SetMode(ctx context.Context, r *pb.SetModeRequest) (*pb.SetModeResponse, error) {
	if s.migration == nil {
		return nil, ErrUnimplemented
	}
	req := lockcluster.ModeRequest{
		Mode: r.GetMode(), Percentage: r.Percentage, KeepCanary: r.GetKeepCanary(), Authority: r.GetAuthority(),
		Reason: r.GetReason(), Timeout: r.GetTimeout().AsDuration(), DryRun: r.GetDryRun(), Force: r.GetForce(),
	}
	for _, c := range r.GetCanary() {
		req.Canary = append(req.Canary, lockcluster.CanaryRule{ProjectName: c.GetProjectName(), Workspace: c.GetWorkspace(), UserGroup: c.GetUserGroup()})
	}
	res, err := s.migration.SetMode(ctx, req)
	return &pb.SetModeResponse{
		From: res.From, Mode: res.Mode, ActiveSystem: res.ActiveSystem, Epoch: res.Epoch, Percentage: res.Percentage,
		GateClosedMs: res.GateClosedMS, Differences: int64(res.Differences), Lost: int64(res.Lost), DryRun: res.DryRun, Notes: res.Notes,
	}, err
}

func (s *migrationService) GetMigration(ctx context.Context, _ *pb.GetMigrationRequest) (*pb.GetMigrationResponse, error) {
	if s.migration == nil {
		return nil, ErrUnimplemented
	}
	status, err := s.migration.MigrationStatus(ctx)
	return &pb.GetMigrationResponse{Status: status}, err
}

func (s *migrationService) Compare(ctx context.Context, _ *pb.CompareRequest) (*pb.CompareResponse, error) {
	if s.migration == nil {
		return nil, ErrUnimplemented
	}
	comparison, err := s.migration.Compare(ctx)
	return &pb.CompareResponse{Comparison: comparison}, err
}

func (s *migrationService) ClearMismatches(ctx context.Context, _ *pb.ClearMismatchesRequest) (*pb.ClearMismatchesResponse, error) {
	if s.migration == nil {
		return nil, ErrUnimplemented
	}
	return &pb.ClearMismatchesResponse{}, s.migration.ClearMismatches(ctx)
}

func (s *migrationService) GetSettings(ctx context.Context, _ *pb.GetSettingsRequest) (*pb.GetSettingsResponse, error) {
	if s.migration == nil {
		return nil, ErrUnimplemented
	}
	settings, err := s.migration.Settings(ctx)
	return &pb.GetSettingsResponse{Settings: settings}, err
}

func (s *migrationService) SetSettings(ctx context.Context, r *pb.SetSettingsRequest) (*pb.SetSettingsResponse, error) {
	if s.migration == nil {
		return nil, ErrUnimplemented
	}
	res, err := s.migration.SetSettings(ctx, r.GetSettings(), r.GetReason())
	return &pb.SetSettingsResponse{
		Changes: res.Changes, Index: res.Index, Epoch: res.Epoch, Mode: res.Mode, ActiveSystem: res.Active, Why: res.Why,
	}, err
}
