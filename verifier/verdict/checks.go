package verdict

import (
	"cmp"
	"slices"
	"unicode"
)

func printable(r rune) bool { return unicode.IsPrint(r) }

// CheckID names one check, for example "quote.nonce". Identifiers are stable:
// policies, metrics, documents and people's notes refer to them.
type CheckID string

// Check describes one check for people. docs/checks.md is generated from these.
type Check struct {
	ID       CheckID
	Title    string // one sentence saying what was found wrong
	Protects string // the attack or accident that the check stops
	Got      string // what the finding's "got" holds
	Want     string // what the finding's "want" holds
	Remedy   string // what a person does about it
}

// Checks returns every registered check, sorted by identifier.
func Checks() []Check {
	all := slices.Concat(sessionChecks, enrollChecks, evidenceChecks, eventlogChecks, imaChecks, appraiseChecks, nodeChecks, grantChecks)
	slices.SortFunc(all, func(a, b Check) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Lookup finds a check by identifier.
func Lookup(id CheckID) (Check, bool) {
	for _, table := range [][]Check{sessionChecks, enrollChecks, evidenceChecks, eventlogChecks, imaChecks, appraiseChecks, nodeChecks, grantChecks} {
		for _, c := range table {
			if c.ID == id {
				return c, true
			}
		}
	}
	return Check{}, false
}
