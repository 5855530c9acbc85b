package backends

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// decideTries is how often a batch is decided anew because somebody else has
// written to the store meanwhile.
const decideTries = 16

// together answers calls, none of which needs another fence.
func (b *legacy) together(calls []*call) {
	ctx, cancel := b.bounded(calls)
	defer cancel()
	err := b.usable()
	if err == nil {
		var all needs
		for _, c := range calls {
			all.all = all.all || c.needs.all
			all.places = append(all.places, c.needs.places...)
		}
		if err = b.freshen(ctx, all); errors.Is(err, ErrFenced) {
			// Somebody else writes now. This backend goes on reading, as one
			// that was never given a fence.
			b.raised = false
			calls, err = refuse(calls, err), nil
		}
	}
	if err != nil {
		for _, c := range calls {
			c.done(lockcluster.Result{}, err)
		}
		return
	}
	if calls = b.sift(calls); len(calls) == 0 {
		return
	}
	var requests []*call
	for _, c := range calls {
		if c.req != nil {
			requests = append(requests, c)
		}
	}
	if b.slot == nil {
		b.decide(ctx, requests)
	} else {
		for _, c := range requests {
			b.decide(ctx, []*call{c})
		}
	}
	err = b.settlePending(ctx)
	for _, c := range calls {
		switch {
		case c.req != nil: // it has its answer
		case err == nil && c.strict && !b.raised && b.img.unsettled(c.needs):
			c.done(lockcluster.Result{}, errUnsettled)
		default:
			if err == nil && c.visit != nil {
				c.visit(b.img)
			}
			c.done(lockcluster.Result{}, err)
		}
	}
}

// refuse answers those calls that want to write, and returns the others.
func refuse(calls []*call, err error) (reads []*call) {
	for _, c := range calls {
		if c.req != nil {
			c.done(lockcluster.Result{}, err)
		} else {
			reads = append(reads, c)
		}
	}
	return reads
}

// settlePending writes the side records of records that were found without
// one, so that what the others are told of them stays true.
func (b *legacy) settlePending(ctx context.Context) error {
	if err := b.usable(); err != nil || !b.raised {
		return err
	}
	for left := len(b.img.pending); left > 0; {
		err := b.decideAll(ctx, []*call{{fence: b.fence}})
		if errors.Is(err, ErrFenced) || errors.Is(err, ErrOtherStore) {
			b.raised = false // who writes now settles them, or who accepts the store
			return nil
		}
		if err != nil {
			return err
		}
		if n := len(b.img.pending); n < left {
			left = n
			continue
		}
		return unavailable(errors.New("others kept changing the records"))
	}
	return nil
}

// bounded returns a context that lasts as long as the caller that waits
// longest, and not longer than the backend.
func (b *legacy) bounded(calls []*call) (context.Context, context.CancelFunc) {
	last := calls[0].ctx
	for _, c := range calls[1:] {
		was, _ := last.Deadline()
		if is, _ := c.ctx.Deadline(); is.After(was) {
			last = c.ctx
		}
	}
	deadline, _ := last.Deadline()
	return context.WithDeadline(b.closing, deadline)
}

// round is one try to decide requests.
type round struct {
	refs     []lockcluster.RecordRef
	changes  []change
	tokens   lockcluster.Token
	conflict bool // a host conflict, which may rest on a lock that is gone
}

// decide answers requests, all after one commit.
func (b *legacy) decide(ctx context.Context, calls []*call) {
	err := b.decideAll(ctx, calls)
	for _, c := range calls {
		switch {
		case c.err != nil:
			c.done(lockcluster.Result{}, c.err)
		case err != nil:
			c.done(lockcluster.Result{}, err)
		default:
			c.done(c.res, nil)
		}
	}
}

func (b *legacy) decideAll(ctx context.Context, calls []*call) error {
	if len(calls) == 0 {
		return nil
	}
	all := false
	for try := 1; ; try++ {
		r, err := b.run(calls)
		if err != nil {
			return err
		}
		if r.conflict && b.shared && !all {
			all = true
			if err := b.freshen(ctx, needs{all: true}); err != nil {
				return err
			}
			continue
		}
		err = b.commit(ctx, calls, r)
		switch {
		case err == nil:
			return nil
		case try == decideTries:
			return unavailable(fmt.Errorf("others kept changing the records: %w", err))
		case errors.Is(err, errTaken):
			if err := b.raise(ctx, b.fence, Claim{ID: b.id}); err != nil {
				return err
			}
			err = b.freshen(ctx, needs{})
		case errors.Is(err, errChanged) && !b.shared:
			// Nobody else may write to a locked file: it is another one by now.
			err = &brokenError{unavailable(err), err}
		case errors.Is(err, errChanged):
			n := needs{}
			for _, c := range r.changes {
				n.places = append(n.places, c.place)
			}
			err = b.freshen(ctx, n)
		}
		if err != nil {
			return b.noted(err)
		}
	}
}

// run decides calls on an overlay of the image.
func (b *legacy) run(calls []*call) (round, error) {
	var r round
	overlay := state.NewOverlay(b.img.mem.View())
	state.RaiseTokens(overlay, b.fence.Epoch)
	seen := map[lockcluster.RecordRef]bool{}
	for _, c := range calls {
		c.err = nil
		if c.fence.Less(b.fence) {
			c.err = fenced(c.fence, b.fence.String())
			continue
		}
		if c.req == nil {
			continue
		}
		for _, ref := range b.one(overlay, c) {
			if !seen[ref] {
				seen[ref] = true
				r.refs = append(r.refs, ref)
			}
		}
		r.conflict = r.conflict || hostConflict(c.res)
	}
	var err error
	r.changes, err = b.img.changes(overlay, r.refs)
	r.tokens = state.GetStats(overlay).LastToken
	return r, err
}

func hostConflict(res lockcluster.Result) bool {
	return res.Status == lockcluster.StatusHostConflict || slices.ContainsFunc(res.Results, hostConflict)
}

// one decides one call and returns what it has touched.
func (b *legacy) one(overlay *state.Overlay, c *call) []lockcluster.RecordRef {
	index := b.img.nextRevision()
	refuse := func(text string) []lockcluster.RecordRef {
		c.res = lockcluster.Result{Status: lockcluster.StatusInvalid, Index: index, Text: text}
		return nil
	}
	req, whole := b.withoutBlocked(c.req)
	if whole == nil {
		if text := b.img.blocked(c.needs.places); text != "" {
			return refuse(text)
		}
	}
	sub := state.NewOverlay(overlay)
	a := state.Begin(sub, state.Env{Index: index, Term: c.fence.Term, Now: c.now, System: lockcluster.SystemLegacy, Track: true})
	c.res = a.Apply(req)
	refs := a.Touched()
	a.End()
	for _, ref := range refs {
		if ref.Namespace != b.ns {
			return refuse(fmt.Sprintf("the legacy system covers namespace %q only", b.ns))
		}
		if !readsBack(sub, ref) {
			return refuse(fmt.Sprintf("%q cannot be kept in Atlantis's format: its value does not say the same as its key", ref.Key))
		}
	}
	sub.Flush(overlay)
	if whole != nil {
		c.res.Results = whole(c.res.Results)
	}
	c.res.Locks = append(slices.Clone(c.released), c.res.Locks...)
	return refs
}

// withoutBlocked leaves out of an import the records that are blocked; whole
// puts their answers where they belong.
func (b *legacy) withoutBlocked(req lockcluster.Request) (_ lockcluster.Request, whole func([]lockcluster.Result) []lockcluster.Result) {
	imp, ok := req.(lockcluster.Import)
	if !ok {
		return req, nil
	}
	var texts []string // by record, "" for one that is asked for
	left := lockcluster.Import{Namespace: imp.Namespace}
	ask := func(one lockcluster.Request) bool {
		text := b.img.blocked(needsOf(one).places)
		texts = append(texts, text)
		return text == ""
	}
	for _, l := range imp.Locks {
		if ask(l) {
			left.Locks = append(left.Locks, l)
		}
	}
	for _, c := range imp.CommandLocks {
		if ask(c) {
			left.CommandLocks = append(left.CommandLocks, c)
		}
	}
	for _, d := range imp.Documents {
		if ask(d) {
			left.Documents = append(left.Documents, d)
		}
	}
	return left, func(answers []lockcluster.Result) []lockcluster.Result {
		if len(answers) == 0 { // refused as a whole
			return answers
		}
		var all []lockcluster.Result
		for _, text := range texts {
			if text != "" {
				all = append(all, lockcluster.Result{Status: lockcluster.StatusInvalid, Text: text})
				continue
			}
			all, answers = append(all, answers[0]), answers[1:]
		}
		return all
	}
}

// commit writes what a round has changed, and takes it over into the image.
func (b *legacy) commit(ctx context.Context, calls []*call, r round) error {
	all := append(slices.Clone(r.changes), b.img.pendingChanges(r.changes)...)
	if len(all) == 0 {
		return nil
	}
	if b.slot == nil {
		return b.commitOne(ctx, r, all)
	}
	return b.commitBySlot(ctx, calls[0], r, all)
}

func (b *legacy) commitOne(ctx context.Context, r round, changes []change) error {
	if err := b.store.commit(ctx, b.fence, b.id, r.tokens, changes); err != nil {
		return b.noted(err)
	}
	entries := make(map[place]entry, len(changes))
	for _, c := range changes {
		entries[c.place] = c.new
	}
	b.img.update(entries, r.tokens)
	return nil
}

// commitBySlot commits the changes of one request slot by slot. A transaction
// is never split.
func (b *legacy) commitBySlot(ctx context.Context, c *call, r round, changes []change) error {
	groups := map[uint16][]change{}
	var order []uint16
	asked := map[uint16]bool{}
	for i, ch := range changes {
		slot := b.slot(ch.place)
		if groups[slot] == nil {
			order = append(order, slot)
		}
		groups[slot] = append(groups[slot], ch)
		if i < len(r.changes) {
			asked[slot] = true
		}
	}
	if len(asked) > 1 && isTxn(c.req) {
		c.res = lockcluster.Result{
			Status: lockcluster.StatusInvalid, Index: c.res.Index, Text: fmt.Sprintf("the records of this transaction lie in %d hash slots "+
				"of the Redis Cluster, which cannot change them together: change them one by one", len(asked)),
		}
		return nil
	}
	for i, slot := range order {
		err := b.commitOne(ctx, r, groups[slot])
		if err == nil {
			continue
		}
		if i > 0 && !errors.Is(err, errChanged) && !errors.Is(err, errTaken) {
			b.stale = true
			return unknown(fmt.Errorf("%d of %d parts of it were done: %w", i, len(order), err))
		}
		c.keepReleased(groups, order[:i])
		return err
	}
	return nil
}

// keepReleased notes the locks that the slots' commits have freed: the next try
// finds them gone.
func (c *call) keepReleased(groups map[uint16][]change, slots []uint16) {
	for _, slot := range slots {
		for _, ch := range groups[slot] {
			i := slices.IndexFunc(c.res.Locks, func(l lockcluster.Lock) bool {
				return ch.new.value == nil && ch.place == place{lockcluster.SpaceLock, l.Key.Text()}
			})
			if i >= 0 && !slices.ContainsFunc(c.released, func(l lockcluster.Lock) bool { return l.Key == c.res.Locks[i].Key }) {
				c.released = append(c.released, c.res.Locks[i])
			}
		}
	}
}

func isTxn(req lockcluster.Request) bool {
	if r, ok := req.(lockcluster.Routed); ok {
		req = r.Request
	}
	_, ok := req.(lockcluster.Txn)
	return ok
}
