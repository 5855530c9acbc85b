package controller

import (
	"context"
	"fmt"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// The tokens of a key rise, whichever system grants them. Between epochs they
// do by themselves: every change of the migration state begins one, and the
// legacy system grants in the epoch of its fence. Within an epoch of mode
// gradual each system is told how far the other one is before it decides. And a
// legacy store that another cluster has used may be in a later epoch: then this
// cluster goes there.

// lastToken returns the greatest token that the enhanced system has granted, or
// knows that the legacy system has.
func (t *term) lastToken() (last lockcluster.Token) {
	t.c.node.StaleRead(func(r state.Reader, _ uint64) { last = state.GetStats(r).LastToken })
	return last
}

// newestToken returns the greatest token that an answer tells of.
func newestToken(res *lockcluster.Result) lockcluster.Token {
	newest := res.Token
	for i := range res.Results {
		if token := newestToken(&res.Results[i]); newest.Less(token) {
			newest = token
		}
	}
	return newest
}

// learnTokens raises the enhanced system's epoch, and with it m's, to that of
// the tokens that the legacy store has given out.
func (t *term) learnTokens(ctx context.Context, m *lockcluster.Migration) error {
	var token lockcluster.Token
	if err := t.c.legacy.read(ctx, m, func(r state.Reader) { token = state.GetStats(r).LastToken }); err != nil {
		return fmt.Errorf("read the legacy system's tokens: %w", err)
	}
	if token.Epoch <= m.Epoch {
		return nil // what comes after m's epoch is greater
	}
	b := &batch{token: token, tokenOnly: true}
	return t.send(ctx, m, lockcluster.SystemEnhanced, b)
}
