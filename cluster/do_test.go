package cluster

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
)

// A request that is still inside when its node has closed, whose leader's context
// has ended too, is not tried again.
func TestNoFurtherAttemptOnAClosedNode(t *testing.T) {
	n := &Node{lead: newLeadership("n1")}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.lead.setLeader("n1", "n1:1")
	n.cancel()
	n.lead.close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := n.pause(ctx, n.lead.current(), 0); !errors.Is(err, lockcluster.ErrClosed) {
		t.Errorf("the pause before the next attempt ends with %v, want %v", err, lockcluster.ErrClosed)
	}
}
