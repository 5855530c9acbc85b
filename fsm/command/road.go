package command

import (
	"fmt"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command/logpb"
)

// roadToPB encodes the requests of the road between two systems.
func roadToPB(req lockcluster.Request) (*logpb.Command, error) {
	pb := &logpb.Command{}
	switch r := req.(type) {
	case lockcluster.SetMigration:
		pb.Request = &logpb.Command_SetMigration{SetMigration: &logpb.SetMigration{
			ExpectedEpoch: r.ExpectedEpoch, IfEmpty: r.IfEmpty, Next: migrationToPB(&r.Next),
		}}
	case lockcluster.SetConfig:
		p := &logpb.SetConfig{}
		for _, s := range r.Settings {
			p.Settings = append(p.Settings, &logpb.Setting{Name: []byte(s.Name), Value: []byte(s.Value)})
		}
		pb.Request = &logpb.Command_SetConfig{SetConfig: p}
	case lockcluster.Mirror:
		pb.Request = &logpb.Command_Mirror{Mirror: mirrorToPB(r)}
	case lockcluster.Shadow:
		p := &logpb.Shadow{Namespace: r.Namespace, Epoch: r.Epoch}
		for _, inner := range r.Requests {
			c, err := innerToPB(inner)
			if err != nil {
				return nil, err
			}
			p.Requests = append(p.Requests, c)
		}
		pb.Request = &logpb.Command_Shadow{Shadow: p}
	case lockcluster.Routed:
		inner, err := innerToPB(r.Request)
		if err != nil {
			return nil, err
		}
		pb.Request = &logpb.Command_Routed{Routed: &logpb.Routed{
			Epoch: r.Epoch, GradualEpoch: r.GradualEpoch, Base: uint32(r.Base), Home: uint32(r.Home), Request: inner,
			Token: tokenToPB(r.Token),
		}}
	case lockcluster.Pin:
		pb.Request = &logpb.Command_Pin{Pin: &logpb.Pin{Namespace: r.Namespace, Digest: r.Digest, Found: resultToPB(r.Found)}}
	default:
		return nil, fmt.Errorf("%w: request type %T has no log form", lockcluster.ErrInvalid, req)
	}
	return pb, nil
}

func roadFromPB(pb *logpb.Command) (lockcluster.Request, error) {
	switch r := pb.GetRequest().(type) {
	case *logpb.Command_SetMigration:
		p := r.SetMigration
		return lockcluster.SetMigration{
			ExpectedEpoch: p.GetExpectedEpoch(), IfEmpty: p.GetIfEmpty(), Next: migrationFromPB(p.GetNext()),
		}, nil
	case *logpb.Command_SetConfig:
		var set lockcluster.SetConfig
		for _, s := range r.SetConfig.GetSettings() {
			set.Settings = append(set.Settings, lockcluster.Setting{Name: string(s.GetName()), Value: string(s.GetValue())})
		}
		return set, nil
	case *logpb.Command_Mirror:
		return mirrorFromPB(r.Mirror), nil
	case *logpb.Command_Shadow:
		shadow := lockcluster.Shadow{Namespace: r.Shadow.GetNamespace(), Epoch: r.Shadow.GetEpoch()}
		for _, c := range r.Shadow.GetRequests() {
			inner, err := innerFromPB(c)
			if err != nil {
				return nil, err
			}
			shadow.Requests = append(shadow.Requests, inner)
		}
		return shadow, nil
	case *logpb.Command_Routed:
		p := r.Routed
		inner, err := innerFromPB(p.GetRequest())
		if err != nil {
			return nil, err
		}
		return lockcluster.Routed{
			Epoch: p.GetEpoch(), GradualEpoch: p.GetGradualEpoch(), Base: lockcluster.System(p.GetBase()),
			Home: lockcluster.System(p.GetHome()), Request: inner, Token: tokenFromPB(p.GetToken()),
		}, nil
	case *logpb.Command_Pin:
		return lockcluster.Pin{Namespace: r.Pin.GetNamespace(), Digest: r.Pin.GetDigest(), Found: resultFromPB(r.Pin.GetFound())}, nil
	}
	return nil, fmt.Errorf("unknown command type")
}

// innerMayBe keeps shadow and routed requests flat.
func innerMayBe(req lockcluster.Request) bool {
	switch req.(type) {
	case lockcluster.Txn, lockcluster.Import:
		return true
	}
	return txnMayHold(req)
}

func innerToPB(req lockcluster.Request) (*logpb.Command, error) {
	if !innerMayBe(req) {
		return nil, fmt.Errorf("%w: %T cannot stand inside another request", lockcluster.ErrInvalid, req)
	}
	return commandToPB(req)
}

func innerFromPB(c *logpb.Command) (lockcluster.Request, error) {
	cmd, err := knownFromPB(c)
	if err != nil {
		return nil, err
	}
	if !innerMayBe(cmd.Request) || cmd.ID != (lockcluster.RequestID{}) {
		return nil, fmt.Errorf("%T or a request id stands inside another request", cmd.Request)
	}
	return cmd.Request, nil
}

func migrationToPB(m *lockcluster.Migration) *logpb.Migration {
	pb := &logpb.Migration{
		Epoch: m.Epoch, Mode: uint32(m.Mode), Active: uint32(m.Active), GateClosed: m.GateClosed,
		Legacy: []byte(m.Legacy), LegacyHost: []byte(m.LegacyHost), Namespace: m.Namespace, Percentage: m.Percentage,
		GradualEpoch: m.GradualEpoch, ChangedAt: instantToPB(m.ChangedAt), Reason: []byte(m.Reason),
	}
	for _, c := range m.Canary {
		pb.Canary = append(pb.Canary, &logpb.CanaryRule{
			ProjectName: []byte(c.ProjectName), Workspace: []byte(c.Workspace), UserGroup: []byte(c.UserGroup),
		})
	}
	return pb
}

func migrationFromPB(p *logpb.Migration) lockcluster.Migration {
	m := lockcluster.Migration{
		Epoch: p.GetEpoch(), Mode: lockcluster.Mode(p.GetMode()), Active: lockcluster.System(p.GetActive()), GateClosed: p.GetGateClosed(),
		Legacy: string(p.GetLegacy()), LegacyHost: string(p.GetLegacyHost()), Namespace: p.GetNamespace(), Percentage: p.GetPercentage(),
		GradualEpoch: p.GetGradualEpoch(), ChangedAt: instantFromPB(p.GetChangedAt()), Reason: string(p.GetReason()),
	}
	for _, c := range p.GetCanary() {
		m.Canary = append(m.Canary, lockcluster.CanaryRule{
			ProjectName: string(c.GetProjectName()), Workspace: string(c.GetWorkspace()), UserGroup: string(c.GetUserGroup()),
		})
	}
	return m
}

func mirrorToPB(r lockcluster.Mirror) *logpb.Mirror {
	pb := &logpb.Mirror{Namespace: r.Namespace, Epoch: r.Epoch, Token: tokenToPB(r.Token)}
	for _, d := range r.Deletes {
		pb.Deletes = append(pb.Deletes, &logpb.RecordRef{Namespace: d.Namespace, Space: uint32(d.Space), Key: []byte(d.Key)})
	}
	for i := range r.Locks {
		pb.Locks = append(pb.Locks, lockToPB(&r.Locks[i]))
	}
	for i := range r.CommandLocks {
		pb.CommandLocks = append(pb.CommandLocks, commandLockToPB(&r.CommandLocks[i]))
	}
	for i := range r.Documents {
		pb.Documents = append(pb.Documents, documentToPB(&r.Documents[i]))
	}
	return pb
}

func mirrorFromPB(p *logpb.Mirror) lockcluster.Mirror {
	r := lockcluster.Mirror{Namespace: p.GetNamespace(), Epoch: p.GetEpoch(), Token: tokenFromPB(p.GetToken())}
	for _, d := range p.GetDeletes() {
		r.Deletes = append(r.Deletes, lockcluster.RecordRef{
			Namespace: d.GetNamespace(), Space: lockcluster.Space(d.GetSpace()), Key: string(d.GetKey()),
		})
	}
	for _, l := range p.GetLocks() {
		r.Locks = append(r.Locks, *lockFromPB(l))
	}
	for _, c := range p.GetCommandLocks() {
		r.CommandLocks = append(r.CommandLocks, *commandLockFromPB(c))
	}
	for _, d := range p.GetDocuments() {
		r.Documents = append(r.Documents, *documentFromPB(d))
	}
	return r
}
