package controller

import (
	"sync/atomic"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/migration"
)

// ShadowCounts is what shadowing has come to since this node leads.
type ShadowCounts struct {
	Operations uint64 `json:"operations"` // decided by the legacy system
	Compared   uint64 `json:"compared"`
	Skipped    uint64 `json:"skipped"`   // not compared: the queue was full, or the outcome was not known
	Outages    uint64 `json:"outages"`   // times that the enhanced system did not answer
	Inherited  uint64 `json:"inherited"` // unexplained divergences that leaders before this one have found
	migration.MismatchCounts
}

// shadowLog counts what shadowing has found. It is safe for concurrent use.
type shadowLog struct {
	operations, compared, skips, outages atomic.Uint64
	earlier                              atomic.Pointer[trial] // what the leaders before have seen
	mismatches                           atomic.Pointer[migration.MismatchLog]
	size                                 int
	told                                 func(op string) // of each divergence; may be nil
}

func newShadowLog(size int) *shadowLog {
	s := &shadowLog{size: size}
	s.clear(trial{})
	return s
}

func (s *shadowLog) operation()   { s.operations.Add(1) }
func (s *shadowLog) skipped()     { s.skips.Add(1) }
func (s *shadowLog) outage(n int) { s.outages.Add(1); s.skips.Add(uint64(n)) }

// compare notes a difference between two answers; it reports whether they agree.
func (s *shadowLog) compare(req lockcluster.Request, legacy, enhanced *lockcluster.Result) bool {
	s.compared.Add(1)
	d := migration.Compare(req, *legacy, *enhanced)
	if d == nil {
		return true
	}
	s.mismatches.Load().Add(*d)
	if s.told != nil {
		s.told(d.Operation)
	}
	return false
}

// conflict notes a key that both systems claim to decide about.
func (s *shadowLog) conflict(ref lockcluster.RecordRef) {
	s.mismatches.Load().Add(migration.Mismatch{
		Operation: "align", Namespace: ref.Namespace, Key: ref.Key, Difference: "holder",
		Legacy: migration.Answer{Status: "held"}, Enhanced: migration.Answer{Status: "held"},
	})
}

// clear begins to count anew, on top of what was seen before.
func (s *shadowLog) clear(earlier trial) {
	s.mismatches.Store(migration.NewMismatchLog(s.size))
	for _, c := range []*atomic.Uint64{&s.operations, &s.compared, &s.skips, &s.outages} {
		c.Store(0)
	}
	s.earlier.Store(&earlier)
}

// accept forgets the divergences, after a person has looked at them.
func (s *shadowLog) accept() {
	s.mismatches.Load().ExplainAll("accepted")
	earlier := s.before()
	earlier.Unexplained = 0
	s.earlier.Store(&earlier)
}

// before returns what the leaders before have seen.
func (s *shadowLog) before() trial { return *s.earlier.Load() }

// unexplained counts the divergences that nobody has explained.
func (s *shadowLog) unexplained() uint64 {
	return s.mismatches.Load().Counts().Unexplained + s.before().Unexplained
}

func (s *shadowLog) counts() ShadowCounts {
	return ShadowCounts{
		Operations: s.operations.Load(), Compared: s.compared.Load(), Skipped: s.skips.Load(), Outages: s.outages.Load(),
		Inherited:      s.before().Unexplained,
		MismatchCounts: s.mismatches.Load().Counts(),
	}
}
