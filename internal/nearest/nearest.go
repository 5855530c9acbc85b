// Package nearest finds the name that a mistyped one was probably meant to be.
package nearest

// Of returns the candidate with the smallest edit distance to name, the first
// one of equals; empty without candidates.
func Of(name string, candidates []string) string {
	best, bestDistance := "", -1
	for _, c := range candidates {
		if d := distance(name, c); bestDistance < 0 || d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// Near returns the candidate that name may be a slip for, empty if none is
// near enough.
func Near(name string, candidates []string) string {
	best := Of(name, candidates)
	if distance(name, best) > max(1, len(name)/3) {
		return ""
	}
	return best
}

// distance is the Levenshtein distance of a and b, in bytes. Names are short:
// longer ones are cut, so that a hostile file costs nothing.
func distance(a, b string) int {
	const longest = 128
	a, b = a[:min(len(a), longest)], b[:min(len(b), longest)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
