package history

import "math"

// TryAll tries every record of a history without a log, whether it seems wrong
// or not, and returns those to which nothing can have happened that explains
// the answers, and how many have too many possibilities.
func TryAll(ops []Op, o Options) (wrong []string, undecidedN int) {
	c := newChecker(ops, o)
	c.model.journal = true
	c.prepareUnknown()
	c.gather(c.distinct())
	for r := range c.parts {
		switch c.trialOf(r).advance(math.MaxUint64, true) {
		case impossible:
			wrong = append(wrong, r.name.key)
		case undecided:
			undecidedN++
		case explained:
		}
	}
	return wrong, undecidedN
}
