package migration

import (
	"math"
	"time"
)

const (
	lagLeast  = 100 * time.Microsecond
	lagFactor = 1.05 // from one class to the next: how exact a quantile is
	lagMax    = 400  // classes: up to hours
)

// lagCounter counts times in classes, each 5 % wider than the one before, so
// that it takes the same room however long it counts.
type lagCounter struct {
	classes [lagMax]uint64
	count   uint64
	max     time.Duration
}

func (l *lagCounter) add(d time.Duration) {
	i := 0
	if d > lagLeast {
		i = min(1+int(math.Log(float64(d)/float64(lagLeast))/math.Log(lagFactor)), lagMax-1)
	}
	l.classes[i]++
	l.count++
	l.max = max(l.max, d)
}

// quantile returns a time, in milliseconds, that the part q of all times does
// not exceed; 0 if there is none.
func (l *lagCounter) quantile(q float64) float64 {
	need := uint64(math.Ceil(q * float64(l.count)))
	for i, seen := 0, uint64(0); i < lagMax && need > 0; i++ {
		if seen += l.classes[i]; seen >= need {
			upper := time.Duration(float64(lagLeast) * math.Pow(lagFactor, float64(i)))
			return milliseconds(min(upper, l.max))
		}
	}
	return 0
}

// milliseconds returns d with three digits behind the point.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
