package fsm_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/internal/history"
)

// TestRulesEqualModel: whatever is in the log, the state machine answers and
// stands as a model of plain maps does, and its promises hold after each entry.
func TestRulesEqualModel(t *testing.T) {
	numbers := make([]int, 1000) // gen picks among so many at most
	for i := range numbers {
		numbers[i] = i
	}
	for range 10 { // rapid tries a hundred logs each time
		rapid.Check(t, func(rt *rapid.T) { checkLog(rt, numbers) })
	}
}

func checkLog(rt *rapid.T, numbers []int) {
	// Not IntRange: it prefers small numbers.
	p := newPair(func(n int) int { return rapid.SampledFrom(numbers[:n]).Draw(rt, "pick") })
	for range rapid.SampledFrom(numbers[:100]).Draw(rt, "entries") {
		if err := p.step(p.gen.entry()); err != nil {
			rt.Fatal(err)
		}
	}
}

// pair is the real state machine and the model beside it.
type pair struct {
	fsm   *fsm.FSM
	model *history.Model
	gen   *gen
	at    history.Position
	token lockcluster.Token // the newest seen in a grant
	logs  []*raft.Log
	armed map[state.Lease]bool           // what the leader's timers would know
	fresh map[state.Lease]bool           // armed by the present entry
	road  lockcluster.Migration          // before the present entry
	moved *lockcluster.Migration         // what the hook told of it
	named map[lockcluster.RecordRef]bool // records that the present entry has changed

	answered map[answerID]bool
}

type answerID struct {
	client   string
	sequence uint64
}

func newPair(pick func(int) int) *pair {
	model := history.NewModel()
	model.Validate = state.Validate
	p := &pair{
		model: model,
		at:    history.Position{Index: 1, Term: 1, Time: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)},
		gen:   &gen{pick: pick, model: model, seqs: map[string]uint64{}, acked: map[string]uint64{}},
		armed: map[state.Lease]bool{}, fresh: map[state.Lease]bool{}, answered: map[answerID]bool{},
	}
	p.gen.road = pick(2) == 0
	p.gen.mode = []lockcluster.Mode{2, 3, 3, 4, 4, 4, 4, 5}[pick(8)]
	p.fsm = fsm.New(fsm.Hooks{Leases: p.leases, Changed: p.changed, Migration: func(m lockcluster.Migration) { p.moved = &m }})
	// The first entry writes the counters of the empty state, whatever it asks.
	if l, err := entryLog(p.at, []command.Command{{Request: lockcluster.Checkpoint{}}}); err == nil {
		p.logs = append(p.logs, l)
		p.fsm.Apply(l)
	}
	return p
}

func (p *pair) leases(changes []state.LeaseChange) {
	for _, c := range changes {
		for l := range p.armed {
			if l.Namespace == c.Namespace && l.Space == c.Space && l.Key == c.Key {
				delete(p.armed, l)
			}
		}
		if c.Armed {
			p.armed[c.Lease], p.fresh[c.Lease] = true, true
		}
	}
}

// next moves on as a log does: indexes leave gaps, terms rise now and then.
func (p *pair) next() {
	p.at.Index += 1 + uint64(p.gen.pick(10)/9)
	p.at.Term += uint64(p.gen.pick(12) / 11)
	p.at.Time = p.at.Time.Add(time.Duration(p.gen.pick(5)-1) * time.Second) // clocks run back too
	p.gen.term = p.at.Term
}

func (p *pair) step(commands []command.Command) error {
	p.next()
	l, err := entryLog(p.at, commands)
	if err != nil {
		return err
	}
	p.logs = append(p.logs, l)
	hashes, _ := p.fsm.Store().Hashes()
	version := p.model.Version()
	before := p.before()
	answers, ok := p.fsm.Apply(l).(fsm.Applied)
	if !ok || len(answers) != len(commands) {
		return fmt.Errorf("entry %d: %d answers for %d commands", l.Index, len(answers), len(commands))
	}
	for i, c := range commands {
		want := p.model.Apply(p.at, c.ID, c.Request)
		if d := history.Diff(want, answers[i]); d != "" {
			return fmt.Errorf("entry %d: %T %+v: %s", l.Index, c.Request, c, d)
		}
		if answers[i].Status == lockcluster.StatusNotActive {
			continue // it may come again
		}
		if retry := !c.ID.IsZero() && p.answered[answerID{c.ID.ClientID, c.ID.Sequence}]; retry {
			continue
		}
		p.answered[answerID{c.ID.ClientID, c.ID.Sequence}] = true
		if err := p.tokens(answers[i]); err != nil {
			return fmt.Errorf("entry %d: %T: %w", l.Index, c.Request, err)
		}
		p.roadStep(c.Request, answers[i])
	}
	after, _ := p.fsm.Store().Hashes()
	if p.model.Version() == version && hashes.Data != after.Data {
		return fmt.Errorf("entry %d: nothing was to change, but the data hash did", l.Index)
	}
	if err := p.checkRoad(before); err != nil {
		return fmt.Errorf("entry %d: %w", l.Index, err)
	}
	return p.check()
}

// tokens requires that a grant's token is newer than all before it.
func (p *pair) tokens(res lockcluster.Result) error {
	if res.Status == lockcluster.StatusGranted {
		if !p.token.Less(res.Token) {
			return fmt.Errorf("token %s after %s", res.Token, p.token)
		}
		p.token = res.Token
	}
	if res.Status == lockcluster.StatusConflict {
		return nil // what its requests would have got was taken back
	}
	for _, sub := range res.Results {
		if err := p.tokens(sub); err != nil {
			return err
		}
	}
	return nil
}

// check compares the whole state with the model.
func (p *pair) check() error {
	view := p.fsm.Store().View()
	if err := state.CheckInvariants(view); err != nil {
		return fmt.Errorf("entry %d: %w", p.at.Index, err)
	}
	for _, ns := range genNamespaces {
		if err := p.checkNamespace(view, ns); err != nil {
			return fmt.Errorf("entry %d: namespace %s: %w", p.at.Index, ns, err)
		}
	}
	n := 0
	for _, armed := range leasesOf(view) {
		switch {
		case p.armed[armed]:
			n++
		case p.mayExpire(view, armed):
			return fmt.Errorf("entry %d: the hook did not tell of lease %+v", p.at.Index, armed)
		}
	}
	if n != len(p.armed) {
		return fmt.Errorf("entry %d: of the leases that the hook told of %d are there and %d not", p.at.Index, n, len(p.armed)-n)
	}
	if got := state.GetStats(view).LastToken; got != p.model.LastToken() {
		return fmt.Errorf("entry %d: last token %s, the model's is %s", p.at.Index, got, p.model.LastToken())
	}
	return nil
}

func leasesOf(r state.Reader) []state.Lease {
	var all []state.Lease
	state.Leases(r, func(l state.Lease) bool { all = append(all, l); return true })
	return all
}

func (p *pair) checkNamespace(r state.Reader, ns string) error {
	want := p.model.List(ns)
	i := 0
	var diff string
	state.ListLocks(r, ns, state.LockFilter{}, func(l *lockcluster.Lock) bool {
		if i == len(want) {
			diff = "more locks than in the model"
		} else {
			diff = history.DiffLock(&want[i], l)
		}
		i++
		return diff == ""
	})
	if diff == "" && i != len(want) {
		diff = "fewer locks than in the model"
	}
	for _, name := range genNames {
		if diff == "" {
			diff = history.DiffCommandLock(p.model.CommandLock(ns, name), state.GetCommandLock(r, ns, name))
		}
	}
	for _, key := range genDocs {
		if diff == "" {
			diff = history.DiffDocument(p.model.Document(ns, key), state.GetDocument(r, ns, key))
		}
	}
	for _, space := range genSpaces {
		if diff == "" && !bytes.Equal(p.model.RangeDigest(ns, space, "a"), state.RangeDigest(r, ns, space, "a")) {
			diff = fmt.Sprintf("range digest of space %d", space)
		}
	}
	if diff != "" {
		return fmt.Errorf("%s", diff)
	}
	return nil
}

func entryLog(at history.Position, commands []command.Command) (*raft.Log, error) {
	encoded := make([][]byte, len(commands))
	for i, c := range commands {
		var err error
		if encoded[i], err = command.EncodeCommand(c.ID, c.Request); err != nil {
			return nil, err
		}
	}
	data, err := command.EncodeEntry(at.Time, encoded)
	return &raft.Log{Index: at.Index, Term: at.Term, Type: raft.LogCommand, Data: data}, err
}
