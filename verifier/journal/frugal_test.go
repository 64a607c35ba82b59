package journal

import (
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/simulator/weigh"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/verdict"
)

// Reading an entry costs memory in proportion to it, whatever is in it.
func TestFrugal(t *testing.T) {
	kinds := []Type{TypeGenesis, TypeInvitation, TypeEnrolment, TypeVerdict, TypePolicy, TypePolicyApproval, TypeRoster, TypeGrant, TypeAdmission, "unknown"}
	for _, kind := range kinds {
		head := "quorate/" + string(kind) + "/v1\n"
		for name, body := range map[string]func(n int) string{
			"objects":  func(n int) string { return `{"node":{"findings":[` + strings.Repeat(`{},`, n) + `{}]}}` },
			"findings": func(n int) string { return `{"findings":[` + strings.Repeat(`{},`, n) + `{}]}` },
			"texts":    func(n int) string { return `{"manifests":[` + strings.Repeat(`"",`, n) + `""]}` },
			"names":    func(n int) string { return `{"node":{"approvals":[` + strings.Repeat(`"",`, n) + `""]}}` },
			"nested":   func(n int) string { return strings.Repeat(`[`, n) },
			"a text":   func(n int) string { return `{"consortium":"` + strings.Repeat(`\n`, n) + `"}` },
			"keys":     func(n int) string { return `{` + strings.Repeat(`"a":1,`, n) + `"a":1}` },
			"lines":    func(n int) string { return strings.Repeat("\n", n) },
		} {
			t.Run(string(kind)+", "+name, func(t *testing.T) {
				weigh.Linear(t, MaxEntry, func(n int) []byte { return []byte(head + body(n) + "\n") }, func(b []byte) { _, _ = Parse(b) })
			})
		}
	}
}

// The bound refuses no entry that the verifier writes: not even one whose findings
// fill it, each as short as a registered check's can be.
func TestMostFindingsAreReadAgain(t *testing.T) {
	var c Change
	for _, b := range bodies(t) {
		if change, ok := b.(Change); ok && change.Kind == TypeVerdict {
			c = change
		}
	}
	var all []verdict.Finding
	for range 2000 {
		all = append(all, verdict.Refuse(shortest(), "", "", "").Finding)
	}
	c.Node.Findings, c.Node.Omitted = node.Trim(all)
	if len(c.Node.Findings) < 50 || c.Node.Omitted == 0 {
		t.Fatalf("%d findings", len(c.Node.Findings))
	}
	entry, err := Format(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(entry); err != nil {
		t.Errorf("%d findings in %d bytes: %v", len(c.Node.Findings), len(entry), err)
	}
}

// shortest is the check with the shortest texts.
func shortest() verdict.CheckID {
	return slices.MinFunc(verdict.Checks(), func(a, b verdict.Check) int {
		return len(a.ID+verdict.CheckID(a.Title+a.Remedy)) - len(b.ID+verdict.CheckID(b.Title+b.Remedy))
	}).ID
}
