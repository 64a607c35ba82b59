package power

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/quorate/quorate/admission"
)

// Limits of rules.
const (
	MaxBeaconAge = 1024    // blocks whose hashes a state remembers
	maxBlocks    = 1 << 32 // of a window or cool-down
	maxNotice    = 90 * 24 * time.Hour
	maxGrace     = 24 * time.Hour // after an outage
	perMille     = 1000
)

// Rules are what a consortium agreed on, from a height on.
type Rules struct {
	From            uint64 // the first height at which they hold
	Consortium      *admission.Consortium
	UnattestedUntil uint64        // founders need no admission up to this height
	Window          uint64        // blocks in which lapses may take a third of the power
	CoolDown        uint64        // blocks before a host may serve another consensus key
	BeaconAge       uint64        // age in blocks of the oldest evidence that counts; 0 asks for no beacon
	Notice          time.Duration // what a retired verifier or policy still gets
	Extension       time.Duration // what break-glass adds to an admission
	CapPerMille     uint64        // of all power that one member may hold
	FairShares      uint64        // or this many times an equal share, whichever is less
	CapFrom         uint64        // members that a consortium must have before caps bind
	OutageGrace     time.Duration // in which nodes renew when verifiers are back; 0 lets admissions lapse in an outage
	text            string        // in a Schedule: what Text returns
}

// DefaultRules are the rules of a consortium that states none: they hold from
// the first block, and founders need bundles at genesis.
func DefaultRules(c *admission.Consortium) Rules {
	return Rules{
		From: 1, Consortium: c, Window: 3600, CoolDown: 500_000, Notice: 24 * time.Hour, Extension: 24 * time.Hour,
		CapPerMille: 333, FairShares: 8, CapFrom: 4, OutageGrace: time.Hour,
	}
}

// Text is the one line that names the rules under the application hash. Rules
// that came later are named only where they hold: the text of a chain that began
// before them stays what it was.
func (r Rules) Text() string {
	text := []string{
		"from", num(r.From), "consortium", r.Consortium.Digest().String(), "unattested", num(r.UnattestedUntil),
		"window", num(r.Window), "cool-down", num(r.CoolDown), "beacon-age", num(r.BeaconAge),
		"notice", r.Notice.String(), "extension", r.Extension.String(),
		"cap", num(r.CapPerMille), "fair-shares", num(r.FairShares), "cap-from", num(r.CapFrom),
	}
	if r.OutageGrace > 0 {
		text = append(text, "outage-grace", r.OutageGrace.String())
	}
	return strings.Join(text, " ")
}

func num(n uint64) string { return strconv.FormatUint(n, 10) }

func (r Rules) check() error {
	for _, c := range []struct {
		ok   bool
		what string
	}{
		{r.Consortium != nil && !r.Consortium.Digest().IsZero(), "no parsed consortium file"},
		{r.Window >= 1 && r.Window <= maxBlocks, "window is not 1 to 2^32 blocks"},
		{r.CoolDown >= 1 && r.CoolDown <= maxBlocks, "coolDown is not 1 to 2^32 blocks"},
		{r.BeaconAge <= MaxBeaconAge, "beaconAge is more than " + strconv.Itoa(MaxBeaconAge) + " blocks"},
		{wholeSeconds(r.Notice), "notice is not whole seconds up to " + maxNotice.String()},
		{wholeSeconds(r.Extension), "extension is not whole seconds up to " + maxNotice.String()},
		{r.CapPerMille >= 1 && r.CapPerMille <= perMille, "cap is not 1 to 1000 per mille"},
		{r.FairShares >= 1 && r.FairShares <= perMille, "fairShares is not 1 to 1000"},
		{r.CapFrom >= 1 && r.CapFrom <= perMille, "capFrom is not 1 to 1000 members"},
		{r.OutageGrace == 0 || wholeSeconds(r.OutageGrace) && r.OutageGrace <= maxGrace, "outageGrace is neither 0s nor whole seconds up to " + maxGrace.String()},
	} {
		if !c.ok {
			return fmt.Errorf("power: rules from height %d: %s", r.From, c.what)
		}
	}
	return nil
}

func wholeSeconds(d time.Duration) bool { return d > 0 && d <= maxNotice && d%time.Second == 0 }

// Schedule is the rules of a ledger's whole life, ascending by height. Only
// NewSchedule makes one that answers.
type Schedule struct{ rules []Rules }

// NewSchedule checks that the rules are whole, start at height 1, ascend, and
// are all about one ledger.
func NewSchedule(rules ...Rules) (*Schedule, error) {
	if len(rules) == 0 || rules[0].From != 1 {
		return nil, errors.New("power: the first rules must hold from height 1")
	}
	for i, r := range rules {
		if err := r.check(); err != nil {
			return nil, err
		}
		if i > 0 && r.From <= rules[i-1].From {
			return nil, fmt.Errorf("power: rules from height %d do not come after those from %d", r.From, rules[i-1].From)
		}
		if r.Consortium.Name != rules[0].Consortium.Name || r.Consortium.Ledger != rules[0].Consortium.Ledger {
			return nil, fmt.Errorf("power: rules from height %d are about another consortium or ledger", r.From)
		}
	}
	s := &Schedule{append([]Rules(nil), rules...)}
	for i, r := range s.rules {
		s.rules[i].text = r.Text()
	}
	return s, nil
}

// At returns the rules of a height.
func (s *Schedule) At(height uint64) Rules {
	at := s.rules[0]
	for _, r := range s.rules[1:] {
		if r.From <= height {
			at = r
		}
	}
	return at
}

// Ledger returns the ledger that all rules are about.
func (s *Schedule) Ledger() admission.Ledger { return s.rules[0].Consortium.Ledger }

// Last returns the newest rules, for people who look ahead.
func (s *Schedule) Last() Rules { return s.rules[len(s.rules)-1] }
