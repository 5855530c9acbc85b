package fsm_test

import (
	"fmt"
	"maps"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

var genSettings = []string{"migration.mode", "enhanced-locking.enabled"}

// roadRequest returns a request of the road between two systems.
func (g *gen) roadRequest() lockcluster.Request {
	m := g.model.Migration()
	ns := m.Namespace
	if ns == "" || g.chance(10) {
		ns = one(g, genNamespaces)
	}
	switch n := g.pick(100); {
	case n < 4 || m.Legacy == "" || m.Mode != g.mode && n < 20:
		return g.setMigration(m)
	case n < 24:
		return lockcluster.SetConfig{Settings: []lockcluster.Setting{{Name: one(g, genSettings), Value: one(g, []string{"", "a", "b"})}}}
	case n < 44:
		return g.mirror(ns, g.epoch(m.Epoch))
	case n < 50 || m.Mode == lockcluster.ModeShadow || m.Mode != lockcluster.ModeGradual && n < 95:
		r := lockcluster.Shadow{Namespace: ns, Epoch: g.epoch(m.Epoch)}
		for range g.pick(4) {
			r.Requests = append(r.Requests, g.inner(ns))
		}
		return r
	}
	r := lockcluster.Routed{Epoch: g.epoch(m.Epoch), GradualEpoch: m.GradualEpoch, Base: m.Active, Home: lockcluster.SystemEnhanced, Request: g.inner(ns)}
	if g.chance(5) {
		r.Home, r.Base = lockcluster.System(g.pick(4)), lockcluster.System(g.pick(4))
	}
	if g.chance(5) {
		r.GradualEpoch += uint64(g.pick(2))
	}
	return r
}

// epoch returns the present one, now and then another.
func (g *gen) epoch(present uint64) uint64 {
	if g.chance(8) {
		return present - 1 + uint64(g.pick(3))
	}
	return present
}

func (g *gen) setMigration(m lockcluster.Migration) lockcluster.SetMigration {
	r := lockcluster.SetMigration{ExpectedEpoch: g.epoch(m.Epoch), IfEmpty: g.chance(15), Next: m}
	r.Next.Legacy = one(g, []string{"redis", "boltdb"})
	r.Next.Percentage = uint32(g.pick(102))
	if r.Next.Namespace == "" || g.chance(5) {
		r.Next.Namespace = one(g, genNamespaces)
	}
	r.Next.GateClosed = g.chance(15)
	if g.chance(70) {
		r.Next.Mode = g.mode
		if g.chance(25) {
			r.Next.Mode = lockcluster.Mode(1 + g.pick(5))
		}
		r.Next.Active = 0
		if r.Next.Mode == lockcluster.ModeBlueGreen || r.Next.Mode == lockcluster.ModeGradual {
			r.Next.Active = lockcluster.System(1 + g.pick(2))
		}
	}
	if g.chance(5) {
		r.Next.Mode, r.Next.Active = lockcluster.Mode(g.pick(7)), lockcluster.System(g.pick(4))
	}
	return r
}

// inner returns a plain request, mostly of namespace ns alone.
func (g *gen) inner(ns string) lockcluster.Request {
	switch n := g.pick(20); {
	case n < 15:
		return g.basicIn(ns)
	case n < 19:
		r := lockcluster.Txn{Namespace: ns}
		for range 1 + g.pick(3) {
			r.Requests = append(r.Requests, g.basicIn(ns))
		}
		return r
	}
	r := g.importRecords()
	r.Namespace = ns
	return r
}

func (g *gen) basicIn(ns string) lockcluster.Request {
	for range 20 {
		req := g.basic()
		if state.Validate(lockcluster.Shadow{Namespace: ns, Requests: []lockcluster.Request{req}}) == nil || g.chance(1) {
			return req
		}
	}
	return lockcluster.ReleaseByPull{Namespace: ns, Repo: one(g, genRepos), Pull: g.pull()}
}

// copied returns what every record of the other system has.
func (g *gen) copied() (lockcluster.Token, uint64, lockcluster.Home) {
	token := g.model.LastToken()
	token.Counter += 1 + uint64(g.pick(5))
	if g.chance(30) {
		token = lockcluster.Token{Epoch: 1, Counter: uint64(g.pick(30))} // 0 is not valid
	}
	if g.chance(3) {
		token.Epoch++
	}
	home := lockcluster.Home{System: lockcluster.System(1 + g.pick(2)), Epoch: g.model.Migration().GradualEpoch}
	if home.Epoch == 0 || g.chance(20) {
		home = lockcluster.Home{}
	}
	return token, 1<<52 + uint64(g.pick(1000)), home
}

func (g *gen) mirror(ns string, epoch uint64) lockcluster.Mirror {
	r := lockcluster.Mirror{Namespace: ns, Epoch: epoch}
	if g.chance(20) {
		r.Token, _, _ = g.copied()
	}
	for range g.pick(3) {
		ref := lockcluster.RecordRef{Namespace: ns, Space: one(g, genSpaces), Key: one(g, genDocs)}
		switch held := g.model.List(ns); {
		case ref.Space == lockcluster.SpaceCommand:
			ref.Key = one(g, genNames)
		case ref.Space == lockcluster.SpaceLock && len(held) > 0:
			ref.Key = one(g, held).Key.Text()
		}
		r.Deletes = append(r.Deletes, ref)
	}
	for range g.pick(3) {
		a := g.acquire(ns)
		a.Priority = max(a.Priority%5, 1)
		l := lockcluster.Lock{
			Key: a.Key, Kind: lockcluster.KindHeld, Owner: a.Owner, User: a.User, Priority: a.Priority, TTL: a.TTL, AcquiredAt: genInstant, Value: a.Value,
		}
		switch {
		case l.Owner.ID == "":
			l.Kind = lockcluster.KindPull
		case l.TTL > 0:
			l.Kind, l.RenewedAt, l.LeaseEpoch = lockcluster.KindLeased, genInstant.UTC().Truncate(time.Millisecond), 1<<60
		}
		l.Token, l.Revision, l.Home = g.copied()
		r.Locks = append(r.Locks, l)
	}
	for range g.pick(2) {
		c := lockcluster.CommandLock{Namespace: ns, Name: one(g, genNames), LockedAt: genInstant.UTC().Truncate(time.Second), Value: one(g, genValues)}
		c.Token, c.Revision, c.Home = g.copied()
		r.CommandLocks = append(r.CommandLocks, c)
	}
	for range g.pick(3) {
		d := lockcluster.Document{Namespace: ns, Key: one(g, genDocs), Value: one(g, genValues)}
		if g.chance(30) {
			d.TTL, d.ArmedAt, d.LeaseEpoch = time.Minute, genInstant.UTC().Truncate(time.Millisecond), 1<<60
		}
		_, d.Revision, d.Home = g.copied()
		r.Documents = append(r.Documents, d)
	}
	return r
}

func (p *pair) changed(_ uint64, refs []lockcluster.RecordRef) {
	for _, ref := range refs {
		p.named[ref] = true
	}
}

// before is what the entry at hand is compared with.
func (p *pair) before() map[lockcluster.RecordRef]string {
	p.fresh, p.named, p.moved = map[state.Lease]bool{}, map[lockcluster.RecordRef]bool{}, nil
	p.road = p.model.Migration()
	return p.records()
}

// records returns every lock, command lock and document as it is stored.
func (p *pair) records() map[lockcluster.RecordRef]string {
	all := map[lockcluster.RecordRef]string{}
	view := p.fsm.Store().View()
	for _, ns := range genNamespaces {
		for space, table := range map[lockcluster.Space]string{lockcluster.SpaceLock: "l", lockcluster.SpaceCommand: "c", lockcluster.SpaceDocument: "d"} {
			prefix := table + ns + "\x00"
			view.Scan(prefix, "", func(key string, value []byte) bool {
				all[lockcluster.RecordRef{Namespace: ns, Space: space, Key: key[len(prefix):]}] = string(value)
				return true
			})
		}
	}
	return all
}

// roadStep notes what a command of the entry at hand means to the timers and
// to the tokens that may be granted later.
func (p *pair) roadStep(req lockcluster.Request, res lockcluster.Result) {
	switch r := req.(type) {
	case lockcluster.Expire:
		// A leader drops the timer of a lease that it could not end.
		for l := range maps.Clone(p.armed) {
			if res.Status == lockcluster.StatusIgnored && r.Term == p.at.Term && !p.fresh[l] &&
				l.Namespace == r.Namespace && l.Space == r.Space && l.Key == r.Key && l.Epoch == r.LeaseEpoch {
				delete(p.armed, l)
			}
		}
	case lockcluster.Mirror:
		if res.Status != lockcluster.StatusApplied {
			return
		}
		for _, l := range r.Locks {
			p.seen(l.Token)
		}
		for _, c := range r.CommandLocks {
			p.seen(c.Token)
		}
	}
}

func (p *pair) seen(t lockcluster.Token) {
	if p.token.Less(t) {
		p.token = t
	}
}

// mayExpire reports whether the enhanced system may end a lease now.
func (p *pair) mayExpire(r state.Reader, l state.Lease) bool {
	if l.Space == lockcluster.SpaceLock {
		return p.model.MayExpire(l.Namespace, state.GetLock(r, l.Namespace, l.Key).Home)
	}
	return p.model.MayExpire(l.Namespace, state.GetDocument(r, l.Namespace, l.Key).Home)
}

// checkRoad compares what the hooks have told with what the entry has done,
// and the state of the migration with the model's.
func (p *pair) checkRoad(before map[lockcluster.RecordRef]string) error {
	after := p.records()
	for ref, value := range after {
		if old, ok := before[ref]; (!ok || old != value) && !p.named[ref] {
			return fmt.Errorf("the hook did not name %+v, which was put", ref)
		}
	}
	for ref := range before {
		if _, ok := after[ref]; !ok && !p.named[ref] {
			return fmt.Errorf("the hook did not name %+v, which was removed", ref)
		}
	}
	view := p.fsm.Store().View()
	want, got := p.model.Migration(), state.GetMigration(view)
	if !want.ChangedAt.Equal(got.ChangedAt) {
		return fmt.Errorf("migration of %s, want %s", got.ChangedAt, want.ChangedAt)
	}
	got.ChangedAt = want.ChangedAt
	if fmt.Sprint(want) != fmt.Sprint(got) {
		return fmt.Errorf("migration %+v, want %+v", got, want)
	}
	if moved := fmt.Sprint(want) != fmt.Sprint(p.road); moved && (p.moved == nil || p.moved.Epoch != got.Epoch || p.moved.Mode != got.Mode) {
		return fmt.Errorf("the hook did not tell of migration %+v but %+v", got, p.moved)
	}
	for _, name := range genSettings {
		if want, got := p.model.Setting(name), state.GetSetting(view, name); want != got {
			return fmt.Errorf("setting %s is %q, want %q", name, got, want)
		}
	}
	return nil
}
