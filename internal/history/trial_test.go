package history_test

import (
	"testing"

	"github.com/lockcluster/lockcluster/internal/history"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// TestRightHistoriesAreNeverConvicted: whatever a correct cluster answered, a
// trial of each record finds what can have happened, also where nothing seems
// wrong.
func TestRightHistoriesAreNeverConvicted(t *testing.T) {
	rnd := testutil.Rand(t)
	for round := range 120 {
		s := newSim(rnd, round%2 == 0, []int{10, 30, 60}[round%3])
		s.run(t, 400)
		for _, essential := range []bool{false, true} {
			wrong, undecided := history.TryAll(s.history(), history.Options{Essential: essential})
			if len(wrong) > 0 || undecided > 0 {
				t.Fatalf("round %d, essential %t: wrong are %q, %d undecided", round, essential, wrong, undecided)
			}
		}
	}
}
