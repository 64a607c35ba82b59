package power_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/power"
	"github.com/quorate/quorate/simulator/issuer"
)

const (
	chain = "example-1"
	blink = 10 * time.Second // between blocks
)

var birth = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// world is a ledger without a network: a state, and a block every ten seconds.
type world struct {
	testing.TB
	*issuer.Network
	schedule *power.Schedule
	state    *power.State
	now      time.Time
	set      map[string]int64 // what consensus has: the sum of all updates
	events   []power.Event    // of the latest block
}

// setup says what a world starts with.
type setup struct {
	members  int // with a verifier each; 7 if 0, so that caps do not bind
	founders int // validators with bundles and power 10, one for each member in turn; 4 if 0
	lasts    time.Duration
	rules    func(*power.Rules)
	more     func(power.Rules) []power.Rules // from later heights
}

func newWorld(t testing.TB, s setup) *world {
	t.Helper()
	if s.members == 0 {
		s.members = 7
	}
	if s.founders == 0 {
		s.founders = 4
	}
	if s.lasts == 0 {
		s.lasts = 24 * time.Hour
	}
	w := &world{TB: t, now: birth, set: map[string]int64{}, Network: newIssuer(t, s.members, "")}
	rules := power.DefaultRules(w.Consortium)
	rules.Window, rules.CoolDown, rules.OutageGrace = 5, 20, 0 // R11 has tests of its own
	if s.rules != nil {
		s.rules(&rules)
	}
	all := []power.Rules{rules}
	if s.more != nil {
		all = append(all, s.more(rules)...)
	}
	w.schedule = must(power.NewSchedule(all...))
	g := power.Genesis{ChainID: chain, Time: birth}
	for i := range s.founders {
		n := w.node(i)
		n.NotAfter = birth.Add(s.lasts)
		g.Validators = append(g.Validators, power.Power{Key: key(n), Power: 10})
		g.Founding = append(g.Founding, w.sign(n))
	}
	state, set, err := power.New(g, w.schedule)
	if err != nil {
		t.Fatal(err)
	}
	w.state = state
	w.tell(set)
	return w
}

func newIssuer(t testing.TB, members int, salt string) *issuer.Network {
	t.Helper()
	var names []string
	for i := range members {
		names = append(names, fmt.Sprintf("org-%c", 'a'+i))
	}
	n, err := issuer.New(issuer.Setup{Members: names, Threshold: min(2, members), Salt: salt, Ledger: admission.Ledger{ID: chain, Genesis: sha256.Sum256([]byte("genesis"))}})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// node is the i-th validator, of the members in turn.
func (w *world) node(i int) issuer.Node {
	seed := sha256.Sum256(fmt.Append(nil, "consensus key ", i))
	return issuer.Node{
		ID:           fmt.Sprintf("%s/validator-%d", w.Members[i%len(w.Members)].Name, i),
		ConsensusKey: ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey),
		NotBefore:    w.now, NotAfter: w.now.Add(24 * time.Hour),
	}
}

func key(n issuer.Node) string { return admission.FormatConsensusKey(n.ConsensusKey) }

func (w *world) sign(n issuer.Node, members ...string) []byte {
	w.Helper()
	b, err := w.Bundle(n, members...)
	if err != nil {
		w.Fatal(err)
	}
	return b
}

// tell takes updates as consensus would, and fails where consensus would stop.
func (w *world) tell(updates []power.Power) {
	w.Helper()
	for _, u := range updates {
		if _, in := w.set[u.Key]; u.Power == 0 && !in {
			w.Fatalf("height %d: removes %s, which is not in the set", w.state.Height(), u.Key)
		}
		if w.set[u.Key] = u.Power; u.Power == 0 {
			delete(w.set, u.Key)
		}
	}
	if len(w.set) == 0 {
		w.Fatalf("height %d: empties the set", w.state.Height())
	}
}

// block steps to the next height and returns what became of the transactions.
func (w *world) block(desired []power.Power, txs ...[]byte) []power.Result {
	w.Helper()
	w.now = w.now.Add(blink)
	height, before := w.state.Height()+1, w.state.Marshal()
	next, out, err := w.state.Step(power.Block{Height: height, Time: w.now, Hash: hashOf(height), Txs: txs, Desired: desired}, w.schedule)
	if err != nil {
		w.Fatal(err)
	}
	if !bytes.Equal(before, w.state.Marshal()) {
		w.Fatalf("height %d: the block changed the state before it", height)
	}
	text := next.Marshal()
	if again, err := power.ParseState(text); err != nil || string(again.Marshal()) != string(text) {
		w.Fatalf("height %d: the state does not read back: %v", height, err)
	}
	w.state, w.events = next, out.Events
	w.tell(out.Updates)
	return out.Results
}

func hashOf(height uint64) admission.Digest { return sha256.Sum256(fmt.Append(nil, "block ", height)) }

// blocks steps without anything happening.
func (w *world) blocks(n int) {
	w.Helper()
	for range n {
		w.block(nil)
	}
}

// accept steps with one transaction that must be accepted.
func (w *world) accept(tx []byte) {
	w.Helper()
	if r := w.block(nil, tx)[0].Refusal; r != nil {
		w.Fatalf("height %d: refused: %v", w.state.Height(), r)
	}
}

// refuse steps with one transaction that must be refused by the check.
func (w *world) refuse(tx []byte, check admission.CheckID) {
	w.Helper()
	before := entries(w.state, "seat/", "host/", "peer/", "retired/", "barred/", "command/", "validator/")
	r := w.block(nil, tx)[0].Refusal
	if r == nil || r.Check != check || r.Message == "" || r.Remedy == "" {
		w.Fatalf("height %d: %v, want %s with message and remedy", w.state.Height(), r, check)
	}
	for k, v := range entries(w.state, "seat/", "peer/", "retired/", "barred/", "command/") {
		if before[k] != v {
			w.Fatalf("%s refused, and yet %s became %q", check, k, v)
		}
	}
}

func entries(s *power.State, prefixes ...string) map[string]string {
	out := map[string]string{}
	for _, e := range s.Entries() {
		for _, p := range prefixes {
			if len(e.Key) >= len(p) && e.Key[:len(p)] == p {
				out[e.Key] = e.Value
			}
		}
	}
	return out
}

// want checks the powers that consensus has of the first nodes.
func (w *world) want(powers ...int64) {
	w.Helper()
	var got []int64
	for i := range powers {
		got = append(got, w.set[key(w.node(i))])
	}
	if !slices.Equal(got, powers) {
		w.Fatalf("height %d: powers %v, want %v", w.state.Height(), got, powers)
	}
}

func (w *world) happened(kind string) bool {
	return slices.ContainsFunc(w.events, func(e power.Event) bool { return e.Type == "quorate_"+kind })
}

// wish is what the application asks for.
func (w *world) wish(i int, p int64) []power.Power {
	return []power.Power{{Key: key(w.node(i)), Power: p}}
}

// command is a command that administrators of the members signed.
func (w *world) command(action, subject string, members ...string) []byte {
	w.Helper()
	return w.commandUntil(w.now.Add(time.Hour), action, subject, members...)
}

func (w *world) commandUntil(end time.Time, action, subject string, members ...string) []byte {
	w.Helper()
	text, err := power.Command{Consortium: w.Network.Name, Ledger: w.Ledger, Action: action, Subject: subject, NotAfter: end, Number: uint64(w.now.Unix())}.Marshal()
	if err != nil {
		w.Fatal(err)
	}
	var signers []note.Signer
	for _, m := range members {
		signers = append(signers, w.Operator(m))
	}
	return must(note.Sign(&note.Note{Text: string(text)}, signers...))
}
