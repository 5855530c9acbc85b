package rpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/lockcluster/lockcluster"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

// Switch makes one lock system the one that decides, everywhere at once. It is
// not repeated: after an error that is no [ErrRefused] look at the status. A
// ctx without a deadline ends with the client's timeout.
func (c *Client) Switch(ctx context.Context, req lockcluster.SwitchRequest) (lockcluster.SwitchResult, error) {
	out := &pb.SwitchResponse{}
	err := c.change(ctx, pb.MigrationService_Switch_FullMethodName, &pb.SwitchRequest{
		To: req.To, Reason: req.Reason, Timeout: durationToPB(req.Timeout), DryRun: req.DryRun, Force: req.Force,
	}, out)
	return lockcluster.SwitchResult{
		From: out.GetFrom(), To: out.GetTo(), Epoch: out.GetEpoch(), Index: out.GetIndex(), GateClosedMS: out.GetGateClosedMs(),
		Carried: int(out.GetCarried()), Records: int(out.GetRecords()), DryRun: out.GetDryRun(), Unverified: out.GetUnverified(), Checks: out.GetChecks(),
	}, err
}

// SetMode changes how the two systems share the work. Errors as [Client.Switch].
func (c *Client) SetMode(ctx context.Context, req lockcluster.ModeRequest) (lockcluster.ModeResult, error) {
	in := &pb.SetModeRequest{
		Mode: req.Mode, Percentage: req.Percentage, KeepCanary: req.KeepCanary, Authority: req.Authority, Reason: req.Reason,
		Timeout: durationToPB(req.Timeout), DryRun: req.DryRun, Force: req.Force,
	}
	for _, r := range req.Canary {
		in.Canary = append(in.Canary, &pb.CanaryRule{ProjectName: r.ProjectName, Workspace: r.Workspace, UserGroup: r.UserGroup})
	}
	out := &pb.SetModeResponse{}
	err := c.change(ctx, pb.MigrationService_SetMode_FullMethodName, in, out)
	return lockcluster.ModeResult{
		From: out.GetFrom(), Mode: out.GetMode(), ActiveSystem: out.GetActiveSystem(), Epoch: out.GetEpoch(), Percentage: out.GetPercentage(),
		GateClosedMS: out.GetGateClosedMs(), Differences: int(out.GetDifferences()), Lost: int(out.GetLost()), DryRun: out.GetDryRun(), Notes: out.GetNotes(),
	}, err
}

// change makes a call that can take long, and that is sent again only if it
// surely had no effect.
func (c *Client) change(ctx context.Context, method string, in, out proto.Message) error {
	l := limits{total: c.cfg.Timeout}
	return c.retry(ctx, kindChange, l, func(ctx context.Context, _ *endpoint, cc *grpc.ClientConn) error {
		return cc.Invoke(ctx, method, in, out)
	})
}

// MigrationStatus returns how the migration stands, as JSON.
func (c *Client) MigrationStatus(ctx context.Context) ([]byte, error) {
	out := &pb.GetMigrationResponse{}
	err := c.call(ctx, kindAnyNode, pb.MigrationService_GetMigration_FullMethodName, &pb.GetMigrationRequest{}, out)
	return out.GetStatus(), err
}

// CompareSystems returns how what the two systems hold differs, as JSON. Where the
// legacy system cannot be read, or none is attached, it is an [ErrRefused].
func (c *Client) CompareSystems(ctx context.Context) ([]byte, error) {
	out := &pb.CompareResponse{}
	// The legacy system is read, which may take its time; half of it is left for
	// another node.
	l := limits{total: c.cfg.Timeout, try: max(c.cfg.TryTimeout, c.cfg.Timeout/2)}
	err := c.retry(ctx, kindAnyNode, l, func(ctx context.Context, _ *endpoint, cc *grpc.ClientConn) error {
		return cc.Invoke(ctx, pb.MigrationService_Compare_FullMethodName, &pb.CompareRequest{}, out)
	})
	return out.GetComparison(), err
}

// ClearMismatches accepts the divergences found so far.
func (c *Client) ClearMismatches(ctx context.Context) error {
	return c.call(ctx, kindChange, pb.MigrationService_ClearMismatches_FullMethodName, &pb.ClearMismatchesRequest{}, &pb.ClearMismatchesResponse{})
}

// Settings returns the replicated settings that were given.
func (c *Client) Settings(ctx context.Context) (map[string]string, error) {
	out := &pb.GetSettingsResponse{}
	err := c.call(ctx, kindAnyNode, pb.MigrationService_GetSettings_FullMethodName, &pb.GetSettingsRequest{}, out)
	return out.GetSettings(), err
}

// SetSettings changes replicated settings, all or none. Errors as [Client.Switch].
func (c *Client) SetSettings(ctx context.Context, settings map[string]string, reason string) (lockcluster.SettingsResult, error) {
	out := &pb.SetSettingsResponse{}
	err := c.change(ctx, pb.MigrationService_SetSettings_FullMethodName, &pb.SetSettingsRequest{Settings: settings, Reason: reason}, out)
	return lockcluster.SettingsResult{
		Changes: out.GetChanges(), Index: out.GetIndex(), Epoch: out.GetEpoch(), Mode: out.GetMode(), Active: out.GetActiveSystem(), Why: out.GetWhy(),
	}, err
}
