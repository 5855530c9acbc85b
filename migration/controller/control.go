package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/migration"
)

// changeTimeout bounds a change of the migration state that was given no limit.
const changeTimeout = 30 * time.Second

// controlRequest is what an administrator asks of the leader; one field is set.
type controlRequest struct {
	Attach  *attachRequest             `json:"attach,omitempty"`
	Switch  *lockcluster.SwitchRequest `json:"switch,omitempty"`
	Mode    *lockcluster.ModeRequest   `json:"mode,omitempty"`
	Config  *SettingsRequest           `json:"config,omitempty"`
	Status  bool                       `json:"status,omitempty"`
	Clear   bool                       `json:"clear,omitempty"`
	Compare bool                       `json:"compare,omitempty"`
}

type controlReply struct {
	Switch   *lockcluster.SwitchResult   `json:"switch,omitempty"`
	Mode     *lockcluster.ModeResult     `json:"mode,omitempty"`
	Status   *Status                     `json:"status,omitempty"`
	Compare  *Comparison                 `json:"compare,omitempty"`
	Settings *lockcluster.SettingsResult `json:"settings,omitempty"`
}

type attachRequest struct {
	Kind      string `json:"kind"`
	Host      string `json:"host"`
	Namespace string `json:"namespace"`
	// Settings are what a new cluster starts with.
	Settings map[string]string `json:"settings,omitempty"`
}

// Switch makes a system the one that decides, everywhere at once.
func (c *Controller) Switch(ctx context.Context, req lockcluster.SwitchRequest) (lockcluster.SwitchResult, error) {
	out, err := c.control(ctx, controlRequest{Switch: &req})
	if err != nil || out.Switch == nil {
		return lockcluster.SwitchResult{}, err
	}
	return *out.Switch, nil
}

// SetMode changes the mode.
func (c *Controller) SetMode(ctx context.Context, req lockcluster.ModeRequest) (lockcluster.ModeResult, error) {
	if req.Kind == "" {
		if a := c.findAttached(ctx); a != nil {
			req.Kind, req.Host, req.Namespace = a.Kind, a.Host, a.Namespace
		}
	}
	out, err := c.control(ctx, controlRequest{Mode: &req})
	if err != nil || out.Mode == nil {
		return lockcluster.ModeResult{}, err
	}
	return *out.Mode, nil
}

// control serves an administrator's request.
func (t *term) control(ctx context.Context, in controlRequest) (out controlReply, err error) {
	switch {
	case in.Status:
		st := t.status(ctx)
		return controlReply{Status: &st}, nil
	case in.Clear:
		t.c.shadow.accept()
		return out, t.keepTrial(ctx, true)
	case in.Compare:
		cmp, err := t.compareSystems(ctx)
		return controlReply{Compare: cmp}, err
	}
	// A leader that was elected a moment ago may take one to be up. Its take-over
	// needs what a change holds, so the change is begun anew each time.
	moment, cancel := context.WithTimeout(ctx, legacyTimeout)
	defer cancel()
	for {
		out, err := t.changeAlone(ctx, in)
		if !errors.Is(err, errNotUp) || t.ctx.Err() != nil || !t.c.sleep(moment, 20*time.Millisecond) {
			return out, err
		}
	}
}

func (t *term) changeAlone(ctx context.Context, in controlRequest) (out controlReply, err error) {
	done, err := t.alone(ctx)
	if err != nil {
		return out, err
	}
	defer done()
	switch {
	case in.Attach != nil:
		return out, t.attach(ctx, in.Attach)
	case in.Switch != nil:
		res, err := t.switchTo(ctx, *in.Switch)
		return controlReply{Switch: &res}, err
	case in.Mode != nil:
		res, err := t.setMode(ctx, *in.Mode)
		return controlReply{Mode: &res}, err
	case in.Config != nil:
		res, err := t.setSettings(ctx, *in.Config)
		return controlReply{Settings: &res}, err
	}
	return out, fmt.Errorf("%w: an empty control request", lockcluster.ErrInvalid)
}

// errNotUp says that a leader has not taken over yet what it is to switch.
var errNotUp = errors.New("this leader has not brought both systems up yet; try again in a moment")

// switchTo is the cutover.
func (t *term) switchTo(ctx context.Context, req lockcluster.SwitchRequest) (lockcluster.SwitchResult, error) {
	m := t.c.Migration()
	to, err := lockcluster.ParseSystem(req.To)
	if err != nil {
		return lockcluster.SwitchResult{}, err
	}
	if m.Legacy == "" || m.Mode == lockcluster.ModeEnhanced {
		return lockcluster.SwitchResult{}, fmt.Errorf("%w: no legacy system is attached, there is nothing to switch; "+
			"start a node with --legacy-boltdb or --legacy-redis if none has one, then \"lockcluster cluster mode legacy --authority legacy\"", ErrRefused)
	}
	from := authorityOf(&m)
	res := lockcluster.SwitchResult{From: from.String(), To: to.String(), Epoch: m.Epoch, DryRun: req.DryRun}
	if m.Mode == lockcluster.ModeGradual {
		res.From = m.Mode.String()
	} else if from == to && (m.Mode == lockcluster.ModeBlueGreen || to == lockcluster.SystemLegacy) {
		res.Checks = append(res.Checks, "the "+to.String()+" system decides already; nothing was changed")
		return res, nil
	}
	unverified, checks, err := t.mayGo(ctx, &m, to, req.Force)
	res.Checks, res.Unverified = checks, unverified
	if err != nil || req.DryRun {
		return res, err
	}
	ctx, cancel := t.limit(ctx, req.Timeout)
	defer cancel()
	if !unverified {
		if err := t.c.legacy.take(ctx, &m); err != nil {
			return res, fmt.Errorf("%w: %w", ErrRefused, err)
		}
	}
	c := &change{before: m, next: m, authority: from, unverified: unverified}
	c.next.Mode, c.next.Active, c.next.Percentage, c.next.Canary = lockcluster.ModeBlueGreen, to, 0, nil
	c.next.Reason = req.Reason
	if err = t.run(ctx, c); err != nil && from == lockcluster.SystemLegacy && c.reopened && !t.ready.Load() {
		_ = t.c.legacy.letGo(t.ctx, &m) // the switch's own error counts
	}
	t.c.history.note(c, err)
	res.GateClosedMS, res.Carried = float64(c.gateTime.Microseconds())/1000, c.carried
	if err != nil {
		return res, err
	}
	res.Epoch = c.after.Epoch
	t.noteMode(ctx, &c.after)
	t.noteTaken(ctx, &c.after)
	if m.Mode == lockcluster.ModeShadow {
		t.endTrial(ctx)
	}
	view, _ := t.c.node.StaleView()
	res.Index = view.Index()
	_, res.Records = state.ContentDigest(view, m.Namespace)
	t.c.log.Info("cutover", "from", res.From, "to", res.To, "epoch", res.Epoch, "gate_closed_ms", res.GateClosedMS,
		"records", res.Records, "reason", req.Reason)
	return res, nil
}

// authorityOf returns the system whose records count; in ModeGradual both do.
func authorityOf(m *lockcluster.Migration) lockcluster.System {
	if s := m.Decides(m.Namespace); s != 0 {
		return s
	}
	return m.Active
}

// mayGo checks whether a cutover makes sense now.
func (t *term) mayGo(ctx context.Context, m *lockcluster.Migration, to lockcluster.System, force bool) (unverified bool, checks []string, err error) {
	short, cancel := context.WithTimeout(ctx, legacyTimeout)
	defer cancel()
	if err := t.c.advised(m, t.c.legacy.check(short, m)); err != nil {
		if !force || to != lockcluster.SystemEnhanced || m.Mode == lockcluster.ModeLegacy {
			return false, checks, unusable(m, to, err)
		}
		return true, append(checks, "the legacy system cannot be used; the enhanced system goes on with its mirror as it is"), nil
	}
	checks = append(checks, "the legacy system answers")
	if !t.ready.Load() && !t.followed(short, m) {
		return false, checks, t.notUp()
	}
	if err := t.c.legacy.mayTake(short, m); err != nil {
		return false, checks, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if to != lockcluster.SystemEnhanced {
		return false, checks, nil // the way back is never barred
	}
	more, err := t.criteria(m)
	checks = append(checks, more...)
	behind, badErr := t.leftBehind(short, m)
	if badErr != nil {
		return false, checks, badErr
	}
	if behind != "" {
		err = errors.Join(err, fmt.Errorf("%w: %s; --force leaves them behind", ErrRefused, behind))
	}
	if err != nil && force {
		checks = append(checks, "forced: "+err.Error())
		err = nil
	}
	return false, checks, err
}

// unusable refuses a switch for which the legacy system cannot be used.
func unusable(m *lockcluster.Migration, to lockcluster.System, err error) error {
	switch {
	case m.Mode == lockcluster.ModeLegacy:
		return fmt.Errorf("%w: the legacy system cannot be used, and in mode legacy nobody else has its locks: "+
			"bring it back, or import a backup of it: %w", ErrRefused, err)
	case errors.As(err, new(*advisedError)):
		return fmt.Errorf("%w: the legacy system cannot be used: %w", ErrRefused, err)
	case to == lockcluster.SystemEnhanced:
		return fmt.Errorf("%w: the legacy system cannot be used: %w; bring it back, or go on with the cluster's copy as it is: "+
			"lockcluster cluster switch enhanced --force", ErrRefused, err)
	}
	return fmt.Errorf("%w: the legacy system cannot be used: %w; bring it back, or write its file anew: "+
		"lockcluster export --to boltdb:FILE", ErrRefused, err)
}

// notUp refuses a switch because of [errNotUp], with what keeps this leader from it.
func (t *term) notUp() error {
	if why := t.why.Load(); why != nil {
		return fmt.Errorf("%w: %w (the last try: %s)", ErrRefused, errNotUp, *why)
	}
	return fmt.Errorf("%w: %w", ErrRefused, errNotUp)
}

// leftBehind says which records a switch to the enhanced system would not carry
// over; empty: all of them would go.
func (t *term) leftBehind(ctx context.Context, m *lockcluster.Migration) (string, error) {
	bad, err := t.c.legacy.unreadable(ctx, m)
	if err != nil || len(bad) == 0 {
		return "", err
	}
	where := "redis://HOST"
	if m.Legacy == KindBoltDB {
		where = "boltdb:FILE"
	}
	return fmt.Sprintf("%d records of the legacy system cannot be read (the first: %q in %s: %s) and would stay behind; "+
		"\"lockcluster locks validate --from %s\" lists them, and with --repair writes a copy without them",
		len(bad), bad[0].Key, bad[0].Bucket, bad[0].Reason, where), nil
}

// followed reports whether the legacy system is its Atlantis's until a switch
// takes it. It changes nothing.
func (t *term) followed(ctx context.Context, m *lockcluster.Migration) bool {
	_, err := t.c.legacy.identity(ctx, m)
	return errors.Is(err, migration.ErrFollowed)
}

func (t *term) limit(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		d = changeTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	stop := context.AfterFunc(t.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}
