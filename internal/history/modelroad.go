package history

import (
	"slices"

	"github.com/lockcluster/lockcluster"
)

// Migration returns the state of the road between two systems.
func (m *Model) Migration() lockcluster.Migration {
	road := m.road
	if road.Mode == 0 {
		road.Mode, road.Active = lockcluster.ModeEnhanced, lockcluster.SystemEnhanced
	}
	road.Epoch = m.token.Epoch
	return road
}

// Setting returns the value of a setting, "" if it has none.
func (m *Model) Setting(name string) string { return m.settings[name] }

// MayExpire reports whether the enhanced system may end a lease of namespace
// ns on a record of that home.
func (m *Model) MayExpire(ns string, home lockcluster.Home) bool {
	road := m.Migration()
	switch {
	case ns != road.Namespace:
		return true
	case road.GateClosed:
		return false
	case road.Mode == lockcluster.ModeGradual:
		return m.homeIn(road.GradualEpoch, road.Active, home) == lockcluster.SystemEnhanced
	case road.Mode == lockcluster.ModeBlueGreen:
		return road.Active == lockcluster.SystemEnhanced
	}
	return road.Mode == lockcluster.ModeEnhanced
}

func (m *Model) homeIn(epoch uint64, base lockcluster.System, home lockcluster.Home) lockcluster.System {
	if home.Epoch == epoch {
		return home.System
	}
	return base
}

// inactive reports whether a plain request is not the enhanced system's.
func (m *Model) inactive(req lockcluster.Request) bool {
	if m.road.Mode == 0 || !slices.Contains(namespaces(req), m.road.Namespace) {
		return false
	}
	if m.road.GateClosed {
		return true
	}
	switch m.road.Mode {
	case lockcluster.ModeEnhanced:
		return false
	case lockcluster.ModeBlueGreen:
		return m.road.Active != lockcluster.SystemEnhanced
	}
	return true
}

// namespaces returns those that a plain request names.
func namespaces(req lockcluster.Request) []string {
	switch r := req.(type) {
	case lockcluster.Acquire:
		return []string{r.Key.Namespace}
	case lockcluster.Release:
		return []string{r.Namespace}
	case lockcluster.ReleaseByPull:
		return []string{r.Namespace}
	case lockcluster.LockCommand:
		return []string{r.Namespace}
	case lockcluster.UnlockCommand:
		return []string{r.Namespace}
	case lockcluster.PutDocument:
		return []string{r.Namespace}
	case lockcluster.DeleteDocument:
		return []string{r.Namespace}
	case lockcluster.SetTTL:
		return []string{r.Namespace}
	case lockcluster.Import:
		return []string{r.Namespace}
	case lockcluster.Txn:
		all := []string{r.Namespace}
		for _, inner := range r.Requests {
			all = append(all, namespaces(inner)...)
		}
		return all
	}
	return nil
}

func (m *Model) setMigration(at Position, r lockcluster.SetMigration) lockcluster.Result {
	before, next := m.Migration(), r.Next
	ns := next.Namespace
	records := len(keysOf(m.locks, ns, "")) + len(keysOf(m.commands, ns, "")) + len(keysOf(m.documents, ns, ""))
	if r.ExpectedEpoch != before.Epoch {
		return lockcluster.Result{Status: lockcluster.StatusConflict}
	}
	gradual := next.Mode == lockcluster.ModeGradual
	if gradual && before.Mode == lockcluster.ModeGradual && ns == before.Namespace {
		if next.Active != before.Active {
			return lockcluster.Result{Status: lockcluster.StatusInvalid}
		}
	} else if gradual {
		decided := before.Active // legacy and shadow: legacy
		if ns != before.Namespace {
			decided = lockcluster.SystemEnhanced
		}
		attach := r.IfEmpty && decided == lockcluster.SystemEnhanced && before.Mode != lockcluster.ModeGradual
		if next.Active != decided && !attach {
			return lockcluster.Result{Status: lockcluster.StatusInvalid}
		}
	}
	if r.IfEmpty && records > 0 {
		return lockcluster.Result{Status: lockcluster.StatusConflict}
	}
	m.token.Epoch++
	m.version++
	next.Epoch, next.GradualEpoch, next.ChangedAt = 0, 0, at.Time
	switch {
	case gradual && before.Mode == lockcluster.ModeGradual:
		next.GradualEpoch = before.GradualEpoch
	case gradual:
		next.GradualEpoch = m.token.Epoch
	case next.Mode == lockcluster.ModeEnhanced:
		next.Active = lockcluster.SystemEnhanced
	case next.Mode != lockcluster.ModeBlueGreen:
		next.Active = lockcluster.SystemLegacy
	}
	m.road = next
	return lockcluster.Result{Status: lockcluster.StatusApplied, Token: m.token}
}

func (m *Model) setConfig(r lockcluster.SetConfig) lockcluster.Result {
	m.version++
	for _, s := range r.Settings {
		if s.Value == "" {
			delete(m.settings, s.Name)
		} else {
			m.settings[s.Name] = s.Value
		}
	}
	return lockcluster.Result{Status: lockcluster.StatusApplied}
}

func (m *Model) shadow(at Position, r lockcluster.Shadow) lockcluster.Result {
	if m.road.Mode != lockcluster.ModeShadow || r.Epoch != m.token.Epoch || r.Namespace != m.road.Namespace {
		return lockcluster.Result{Status: lockcluster.StatusIgnored}
	}
	res := lockcluster.Result{Status: lockcluster.StatusApplied}
	for _, req := range r.Requests {
		one := bare(m.plain(at, req))
		one.Index = at.Index
		res.Results = append(res.Results, one)
	}
	return res
}

// route decides r if it is meant for this system and names nothing of the
// other one.
func (m *Model) route(at Position, r lockcluster.Routed) lockcluster.Result {
	no := lockcluster.Result{Status: lockcluster.StatusNotActive}
	road := m.road
	if r.Home != lockcluster.SystemEnhanced || r.Epoch != m.token.Epoch || road.Mode != lockcluster.ModeGradual || road.GateClosed ||
		r.GradualEpoch != road.GradualEpoch || r.Base != road.Active || !slices.Contains(namespaces(r.Request), road.Namespace) {
		return no
	}
	inner := []lockcluster.Request{r.Request}
	if txn, ok := r.Request.(lockcluster.Txn); ok {
		inner = txn.Requests
	}
	for _, req := range inner {
		if home, ok := m.homeOf(req); ok && m.homeIn(r.GradualEpoch, r.Base, home) != r.Home {
			return no
		}
	}
	m.routed = &r
	defer func() { m.routed = nil }()
	return m.plain(at, r.Request)
}

// homeOf returns the home of the record that req names.
func (m *Model) homeOf(req lockcluster.Request) (home lockcluster.Home, ok bool) {
	var l lockcluster.Lock
	var c lockcluster.CommandLock
	var d lockcluster.Document
	switch r := req.(type) {
	case lockcluster.Acquire:
		l, ok = m.locks[name{r.Key.Namespace, r.Key.Text()}]
		return l.Home, ok
	case lockcluster.Release:
		l, ok = m.locks[name{r.Namespace, r.Text}]
		return l.Home, ok
	case lockcluster.LockCommand:
		c, ok = m.commands[name{r.Namespace, r.Name}]
		return c.Home, ok
	case lockcluster.UnlockCommand:
		c, ok = m.commands[name{r.Namespace, r.Name}]
		return c.Home, ok
	case lockcluster.PutDocument:
		d, ok = m.documents[name{r.Namespace, r.Key}]
		return d.Home, ok
	case lockcluster.DeleteDocument:
		d, ok = m.documents[name{r.Namespace, r.Key}]
		return d.Home, ok
	case lockcluster.SetTTL:
		d, ok = m.documents[name{r.Namespace, r.Key}]
		return d.Home, ok
	}
	return lockcluster.Home{}, false
}

// newHome returns the home of a record that is made now.
func (m *Model) newHome() lockcluster.Home {
	if m.routed == nil {
		return lockcluster.Home{}
	}
	return lockcluster.Home{System: m.routed.Home, Epoch: m.routed.GradualEpoch}
}

// elsewhere reports whether the routed request in hand must leave out a lock.
func (m *Model) elsewhere(l *lockcluster.Lock) bool {
	return m.routed != nil && m.homeIn(m.routed.GradualEpoch, m.routed.Base, l.Home) != m.routed.Home
}

// mirror takes over records as they are, or takes back what it did.
func (m *Model) mirror(r lockcluster.Mirror) lockcluster.Result {
	if r.Epoch != m.token.Epoch {
		return lockcluster.Result{Status: lockcluster.StatusIgnored}
	}
	m.journal = true
	before := m.mark()
	ok := m.replace(r)
	if !ok {
		m.rollback(before)
	}
	m.journal, m.undo = false, nil
	if !ok {
		return lockcluster.Result{Status: lockcluster.StatusInvalid}
	}
	return lockcluster.Result{Status: lockcluster.StatusApplied}
}

func (m *Model) replace(r lockcluster.Mirror) bool {
	ns := r.Namespace
	if m.token.Less(r.Token) {
		m.raise(r.Token)
		m.version++
	}
	drop := slices.Clone(r.Deletes)
	for _, l := range r.Locks {
		drop = append(drop, lockcluster.RecordRef{Namespace: ns, Space: lockcluster.SpaceLock, Key: l.Key.Text()})
	}
	for _, c := range r.CommandLocks {
		drop = append(drop, lockcluster.RecordRef{Namespace: ns, Space: lockcluster.SpaceCommand, Key: c.Name})
	}
	for _, d := range r.Documents {
		drop = append(drop, lockcluster.RecordRef{Namespace: ns, Space: lockcluster.SpaceDocument, Key: d.Key})
	}
	for _, ref := range drop {
		if n := (name{ns, ref.Key}); m.Revision(ns, ref.Space, ref.Key) != 0 {
			switch ref.Space {
			case lockcluster.SpaceLock:
				m.setLock(n, nil)
			case lockcluster.SpaceCommand:
				m.setCommand(n, nil)
			default:
				m.setDocument(n, nil)
			}
		}
	}
	for _, l := range r.Locks {
		n := name{ns, l.Key.Text()}
		if m.Lock(ns, n.key) != nil || m.boundElsewhere(lockcluster.Acquire{Key: l.Key, Owner: l.Owner}) {
			return false
		}
		l.LeaseEpoch = m.leaseOf(l.TTL > 0)
		m.raise(l.Token)
		m.setLock(n, &l)
	}
	for _, c := range r.CommandLocks {
		if m.CommandLock(ns, c.Name) != nil {
			return false
		}
		m.raise(c.Token)
		m.setCommand(name{ns, c.Name}, &c)
	}
	for _, d := range r.Documents {
		if m.Document(ns, d.Key) != nil {
			return false
		}
		d.LeaseEpoch = m.leaseOf(d.TTL > 0)
		m.setDocument(name{ns, d.Key}, &d)
	}
	return true
}

func (m *Model) leaseOf(leased bool) uint64 {
	if !leased {
		return 0
	}
	return m.nextLease()
}

// raise makes every later token greater than t.
func (m *Model) raise(t lockcluster.Token) {
	if t.Epoch >= m.token.Epoch {
		m.token = lockcluster.Token{Epoch: t.Epoch, Counter: max(m.token.Counter, t.Counter)}
	}
}

// bare returns an answer without the stored values.
func bare(res lockcluster.Result) lockcluster.Result {
	if res.Lock != nil {
		l := *res.Lock
		l.Value, res.Lock = nil, &l
	}
	if res.CommandLock != nil {
		l := *res.CommandLock
		l.Value, res.CommandLock = nil, &l
	}
	if res.Document != nil {
		d := *res.Document
		d.Value, res.Document = nil, &d
	}
	res.Locks, res.Results = slices.Clone(res.Locks), slices.Clone(res.Results)
	for i := range res.Locks {
		res.Locks[i].Value = nil
	}
	for i := range res.Results {
		res.Results[i] = bare(res.Results[i])
	}
	return res
}
