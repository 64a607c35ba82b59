// Package catalogue lists every known way to fool a remote attestation that
// Quorate has to refuse, and finds the test that shows each refusal.
//
// A test belongs to a row by its name: TestA018_SelectionExactlyAsAsked answers
// row A018. A row that no test can answer, because it is about how machines are
// built or run, is answered by a line of the threat model. A row of a part that
// does not exist yet names that part.
package catalogue

import "fmt"

// Size is how many rows the catalogue has.
const Size = 188

// Row is one way to fool an attestation.
type Row struct {
	Number  int    // 1 to Size
	Name    string // the attempt, in a few words
	Refused string // what is refused, or held against what
	By      []Component
	Met     bool // by a line of the threat model, see Anchor
	Due     Part // with a part that does not exist yet; empty for all others
}

// ID is the row's name in tests and documents, for example A018.
func (r Row) ID() string { return fmt.Sprintf("A%03d", r.Number) }

// Anchor is the place of the row's line in the threat model, for example a127.
func (r Row) Anchor() string { return fmt.Sprintf("a%03d", r.Number) }

// Group is a part of the catalogue: rows about one subject, in order.
type Group struct {
	Title string
	Rows  []Row
}

// Component is the directory of the package that refuses, from the module's root.
type Component string

// The components that rows name.
const (
	agentCore  Component = "agent"
	keys       Component = "agent/key"
	device     Component = "agent/device"
	sealing    Component = "agent/seal"
	admissions Component = "admission"
	rosters    Component = "admission/roster"
	links      Component = "admission/attestedtls"
	wording    Component = "proto/binding"
	protocol   Component = "proto/quorate/v1"
	service    Component = "verifier"
	calls      Component = "verifier/rpc"
	quotes     Component = "verifier/evidence"
	bootlogs   Component = "verifier/eventlog"
	lists      Component = "verifier/ima"
	enrolment  Component = "verifier/enroll"
	policies   Component = "verifier/policy"
	appraisal  Component = "verifier/appraise"
	lifecycle  Component = "verifier/node"
	journals   Component = "verifier/journal"
	stores     Component = "verifier/store"
	archives   Component = "verifier/archive"
	programs   Component = "cmd"
	all        Component = "simulator/catalogue"
	operation  Component = "docs"
)

// Part is a part of Quorate that does not exist yet.
type Part string

// Console is the only part that rows still wait for: policy administration for people.
const Console Part = "console"

// Groups returns the whole catalogue.
func Groups() []Group {
	return []Group{
		{"Quote, signature and nonce", quoteRows},
		{"PCRs and banks", pcrRows},
		{"Keys and certificates", keyRows},
		{"Clock, resets and copies", clockRows},
		{"Boot log and boot policy", bootRows},
		{"IMA", imaRows},
		{"Protocol and service", serviceRows},
		{"Channel, admission and ledger", admissionRows},
		{"Journal, database, people and supply chain", journalRows},
	}
}

// Rows returns all rows in order.
func Rows() []Row {
	rows := make([]Row, 0, Size)
	for _, g := range Groups() {
		rows = append(rows, g.Rows...)
	}
	return rows
}

func by(c ...Component) []Component { return c }
