package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	quoratev1 "github.com/quorate/quorate/proto/quorate/v1"
)

// statusEvery bounds how often the status file is written while nothing but
// times change.
const statusEvery = time.Minute

// Status is what the agent knows about its standing. The JSON names are stable.
type Status struct {
	Node      string           `json:"node"`
	Running   bool             `json:"running"` // an agent is running now
	Updated   time.Time        `json:"updated"`
	Bundle    *BundleStatus    `json:"bundle,omitempty"`
	Problem   string           `json:"problem,omitempty"` // what keeps the whole agent from working
	Verifiers []VerifierStatus `json:"verifiers"`
}

// BundleStatus describes the bundle file.
type BundleStatus struct {
	Path       string    `json:"path"`
	Admissions int       `json:"admissions"`
	Needed     int       `json:"needed"`
	NotAfter   time.Time `json:"notAfter"` // the first admission in it ends
}

// VerifierStatus is the standing with one verifier.
type VerifierStatus struct {
	Name      string           `json:"name"`
	Enrolment string           `json:"enrolment"` // "not joined", "asked", "pending", "approved"
	Connected bool             `json:"connected"`
	Problem   string           `json:"problem,omitempty"` // why it is not, or what was wrong with an answer
	Decision  string           `json:"decision,omitempty"`
	State     string           `json:"state,omitempty"` // of the node's record
	Decided   *time.Time       `json:"decided,omitempty"`
	Findings  []Finding        `json:"findings"`
	Admission *AdmissionStatus `json:"admission,omitempty"`
}

// AdmissionStatus is the latest admission by one verifier.
type AdmissionStatus struct {
	Serial   uint64    `json:"serial"`
	Policy   string    `json:"policy"`
	Epoch    string    `json:"epoch"`
	NotAfter time.Time `json:"notAfter"`
}

// Finding is one reason of a verdict, as the verifier worded it.
type Finding struct {
	Check    string `json:"check"`
	Severity string `json:"severity"`
	Where    string `json:"where,omitempty"`
	Got      string `json:"got,omitempty"`
	Want     string `json:"want,omitempty"`
	Message  string `json:"message,omitempty"`
	Remedy   string `json:"remedy,omitempty"`
}

// Bounds of what is kept from a verdict.
const (
	maxFindings    = 64
	maxFindingText = 1024
)

func findings(list []*quoratev1.Finding) []Finding {
	out := []Finding{}
	for _, f := range list[:min(len(list), maxFindings)] {
		out = append(out, Finding{
			Check: printable(f.GetCheck()), Severity: printable(f.GetSeverity()), Where: printable(f.GetWhere()),
			Got: printable(f.GetGot()), Want: printable(f.GetWant()),
			Message: printable(f.GetMessage()), Remedy: printable(f.GetRemedy()),
		})
	}
	return out
}

// printable makes a text from the network safe for a terminal.
func printable(s string) string {
	s = s[:min(len(s), maxFindingText)]
	clean := make([]rune, 0, len(s))
	for _, r := range s {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0xfffd {
			r = '?'
		}
		clean = append(clean, r)
	}
	return string(clean)
}

// Standing sums a Status up.
type Standing int

// The three standings; the zero value knows nothing.
const (
	Unknown  Standing = iota // not running, or nobody decided yet
	Refused                  // a verifier's last verdict denied, and too few admit
	Admitted                 // a bundle stands, and as many verifiers as it needs still admit
)

// Standing returns what the status amounts to at the given time.
func (s Status) Standing(now time.Time) Standing {
	admitted, denied := 0, 0
	for _, v := range s.Verifiers {
		switch v.Decision {
		case "":
		case "admitted":
			admitted++
		default:
			denied++
		}
	}
	b := s.Bundle
	switch {
	case !s.Running:
		return Unknown
	case b != nil && b.Admissions >= b.Needed && admitted >= b.Needed && now.Before(b.NotAfter):
		return Admitted
	case denied > 0:
		return Refused
	}
	return Unknown
}

// ReadStatus reads the status that the agent with this configuration last
// wrote. Error is fs.ErrNotExist when none ever ran.
func ReadStatus(cfg Config) (Status, error) {
	st, err := readState(cfg.StateDir)
	if err != nil {
		return Status{}, err
	}
	defer st.Close()
	var status Status
	if err := st.ReadJSON(statusFile, &status); err != nil {
		return Status{}, err
	}
	status.Running = st.Running()
	return status, nil
}

// board keeps the status and its file.
type board struct {
	state *state
	log   *slog.Logger

	mu      sync.Mutex
	status  Status
	written []byte    // without times, as last written
	at      time.Time // of the last write
}

func newBoard(st *state, log *slog.Logger, node string) *board {
	return &board{state: st, log: log, status: Status{Node: node, Verifiers: []VerifierStatus{}}}
}

// update changes the status and writes the file when more than times changed.
func (b *board) update(change func(*Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.status)
	b.status.Updated = time.Now().UTC().Truncate(time.Second)
	now, err := json.Marshal(b.status.timeless())
	if err == nil && bytes.Equal(now, b.written) && time.Since(b.at) < statusEvery {
		return
	}
	if err == nil {
		err = b.state.WriteJSON(statusFile, b.status)
	}
	if err != nil {
		b.log.Error("status is not written", "error", err)
		return
	}
	b.written, b.at = now, time.Now()
}

// verifier changes one verifier's part.
func (b *board) verifier(name string, change func(*VerifierStatus)) {
	b.update(func(s *Status) {
		for i := range s.Verifiers {
			if s.Verifiers[i].Name == name {
				change(&s.Verifiers[i])
				return
			}
		}
		v := VerifierStatus{Name: name, Findings: []Finding{}}
		change(&v)
		s.Verifiers = append(s.Verifiers, v)
	})
}

// timeless is the status without the times that pass by themselves.
func (s Status) timeless() Status {
	s.Updated = time.Time{}
	s.Verifiers = append([]VerifierStatus(nil), s.Verifiers...)
	for i := range s.Verifiers {
		s.Verifiers[i].Decided = nil
	}
	return s
}

// String names the standing.
func (s Standing) String() string {
	switch s {
	case Admitted:
		return "admitted"
	case Refused:
		return "refused"
	case Unknown:
		return "unknown"
	}
	return fmt.Sprintf("standing %d", int(s))
}
