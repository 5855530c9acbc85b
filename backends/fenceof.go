package backends

import (
	"errors"
	"fmt"
	"strings"
)

// FenceOf returns the fence of the store that refused with err. It reads the
// error's text, which is all that comes over from another node.
func FenceOf(err error) (f Fence, ok bool) {
	if err == nil || !errors.Is(err, ErrFenced) {
		return Fence{}, false
	}
	_, text, found := strings.Cut(err.Error(), fencedHave)
	if !found {
		return Fence{}, false
	}
	n, _ := fmt.Sscanf(text, "%d.%d", &f.Term, &f.Epoch)
	return f, n == 2
}

// fencedHave stands before the store's fence in a refusal.
const fencedHave = "the store's is "
