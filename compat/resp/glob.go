package resp

// matchGlob reports whether s matches a Redis glob pattern, byte by byte:
// * ? [set] [^set] [a-z] and \x for x itself. Only the last star needs to be
// tried again, since everything else matches exactly one byte; so the time is
// at most the product of the lengths.
func matchGlob(pattern, s string) bool {
	p, i := 0, 0
	star, mark := -1, 0 // behind the last star, and where it stands in s
	for i < len(s) {
		if p < len(pattern) && pattern[p] == '*' {
			p++
			star, mark = p, i
			continue
		}
		if p < len(pattern) {
			if next, ok := matchOne(pattern, p, s[i]); ok {
				p, i = next, i+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		mark++
		p, i = star, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchOne matches the single-byte element at p and returns where the next
// begins.
func matchOne(pattern string, p int, c byte) (next int, ok bool) {
	switch pattern[p] {
	case '?':
		return p + 1, true
	case '[':
		return matchSet(pattern, p+1, c)
	case '\\':
		if p+1 < len(pattern) {
			p++
		}
	}
	return p + 1, pattern[p] == c
}

// matchSet matches a set whose first byte is at p. A set that is not closed
// ends with the pattern.
func matchSet(pattern string, p int, c byte) (next int, ok bool) {
	not := p < len(pattern) && pattern[p] == '^'
	if not {
		p++
	}
	found := false
	for ; p < len(pattern) && pattern[p] != ']'; p++ {
		switch {
		case pattern[p] == '\\' && p+1 < len(pattern):
			p++
			found = found || pattern[p] == c
		case p+2 < len(pattern) && pattern[p+1] == '-':
			lo, hi := pattern[p], pattern[p+2]
			if lo > hi {
				lo, hi = hi, lo
			}
			found = found || lo <= c && c <= hi
			p += 2
		default:
			found = found || pattern[p] == c
		}
	}
	if p < len(pattern) {
		p++ // the closing bracket
	}
	return p, found != not
}

// literalPrefix splits a pattern into what every match begins with, and the
// rest: "" means exactly the prefix.
func literalPrefix(pattern string) (prefix, rest string) {
	var b []byte
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '*' || c == '?' || c == '[':
			return string(b), pattern[i:]
		case c == '\\' && i+1 < len(pattern):
			i++
			b = append(b, pattern[i])
		default:
			b = append(b, c)
		}
	}
	return string(b), ""
}
