package lockcluster

import "time"

// SwitchRequest asks for a cutover.
type SwitchRequest struct {
	To      string        `json:"to"` // enhanced or legacy
	Reason  string        `json:"reason,omitempty"`
	Timeout time.Duration `json:"timeout,omitempty"` // how long the gate may be closed; 0: 30 s
	DryRun  bool          `json:"dry_run,omitempty"`
	// Force leaves out the criteria, and the legacy system if it cannot be
	// reached.
	Force bool `json:"force,omitempty"`
}

// SwitchResult says what a cutover did. The JSON names are those that scripts
// rely on.
type SwitchResult struct {
	From         string   `json:"from"`
	To           string   `json:"to"`
	Epoch        uint64   `json:"epoch"`
	Index        uint64   `json:"index"`
	GateClosedMS float64  `json:"gate_closed_ms"`
	Carried      int      `json:"carried"` // records copied while the gate was closed
	Records      int      `json:"records"` // records that both systems held alike when it was committed
	DryRun       bool     `json:"dry_run"`
	Unverified   bool     `json:"unverified,omitempty"` // the legacy system was left out
	Checks       []string `json:"checks,omitempty"`
}

// ModeRequest asks for another mode.
type ModeRequest struct {
	Mode       string        `json:"mode"`
	Percentage *uint32       `json:"percentage,omitempty"`
	Canary     []CanaryRule  `json:"canary,omitempty"`
	KeepCanary bool          `json:"keep_canary,omitempty"`
	Authority  string        `json:"authority,omitempty"` // which system's records count when one is attached
	Kind       string        `json:"kind,omitempty"`      // of the legacy system to attach
	Host       string        `json:"host,omitempty"`
	Namespace  string        `json:"namespace,omitempty"`
	Reason     string        `json:"reason,omitempty"`
	Timeout    time.Duration `json:"timeout,omitempty"`
	DryRun     bool          `json:"dry_run,omitempty"`
	Force      bool          `json:"force,omitempty"`
}

// ModeResult says what a change of the mode did.
type ModeResult struct {
	From         string   `json:"from"`
	Mode         string   `json:"mode"`
	ActiveSystem string   `json:"active_system"`
	Epoch        uint64   `json:"epoch"`
	Percentage   uint32   `json:"percentage"`
	GateClosedMS float64  `json:"gate_closed_ms"`
	Differences  int      `json:"differences"` // records that the other system will take over
	Lost         int      `json:"lost"`        // records of the other system that will be no more
	DryRun       bool     `json:"dry_run"`
	Notes        []string `json:"notes,omitempty"`
}
