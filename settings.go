package lockcluster

// SettingsResult says what a change of replicated settings did. The JSON names
// are those that "config set" prints.
type SettingsResult struct {
	Changes map[string]string `json:"changes"` // what was set, by canonical name; empty: back to the default
	Index   uint64            `json:"index"`
	Epoch   uint64            `json:"epoch"` // of the migration state after it
	Mode    string            `json:"mode"`
	Active  string            `json:"active_system"` // empty: differs from key to key
	Why     []string          `json:"why"`
}
