package compat

import "encoding/json"

// Teams returns the groups of the user who asked for a lock, as its stored
// value names them; none if it does not.
func Teams(value []byte) []string {
	var v struct {
		User struct{ Teams []string }
	}
	if len(value) == 0 || json.Unmarshal(value, &v) != nil {
		return nil
	}
	return v.User.Teams
}
