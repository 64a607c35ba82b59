package power

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/admission"
)

// Actions of commands.
const (
	RetireVerifier = "retire-verifier" // subject: "<name>+<key hash>"
	RetirePolicy   = "retire-policy"   // subject: the policy's digest
	Extend         = "extend"          // subject: the ledger's id; break-glass
	Release        = "release"         // subject: a host id that its member takes out of use
	Peer           = "peer"            // subject: "<node id>=<peer id>", the peer id as the ledger's network has it
)

// MaxCommandLife is how long before its end a command may be carried out.
const MaxCommandLife = 7 * 24 * time.Hour

const (
	commandHeader = "quorate/power-command/v1"
	maxCommand    = 64 << 10 // bytes, signatures included
	timeLayout    = "2006-01-02T15:04:05Z"
)

// Command is what members' operators decide. Its text is signed, as a note, by
// administrators of as many members as the action asks for.
type Command struct {
	Consortium string
	Ledger     admission.Ledger
	Action     string
	Subject    string
	NotAfter   time.Time // it cannot be carried out later; whole seconds
	Number     uint64    // makes a command that is given twice another one
}

// Marshal returns the text that operators sign.
func (c Command) Marshal() ([]byte, error) {
	for _, f := range []struct {
		ok   bool
		name string
	}{
		{admission.ValidLabel(c.Consortium), "consortium"},
		{admission.ValidToken(c.Ledger.ID) && !c.Ledger.Genesis.IsZero(), "ledger"},
		{validSubject(c.Action, c.Subject), c.Action + " subject"},
		{c.NotAfter.Nanosecond() == 0 && c.NotAfter.Unix() > 0 && c.NotAfter.UTC().Year() <= 9999, "not-after"},
	} {
		if !f.ok {
			return nil, refuse(Malformed, f.name, "", "a whole command")
		}
	}
	return fmt.Appendf(nil, "%s\nconsortium: %s\nledger: %s %s\naction: %s\nsubject: %s\nnot-after: %s\nnumber: %d\n",
		commandHeader, c.Consortium, c.Ledger.ID, c.Ledger.Genesis, c.Action, c.Subject, formatTime(c.NotAfter), c.Number), nil
}

// ParseCommand reads a command's text, without signatures. It accepts exactly
// what Marshal makes.
func ParseCommand(text []byte) (Command, error) {
	lines := strings.Split(string(text), "\n")
	if len(text) > maxCommand || len(lines) != 8 || lines[0] != commandHeader {
		return Command{}, refuse(Malformed, "", "other lines", commandHeader+" and six fields")
	}
	value := func(i int, name string) string { return strings.TrimPrefix(lines[i], name+": ") }
	id, genesis, _ := strings.Cut(value(2, "ledger"), " ")
	digest, _ := admission.ParseDigest(genesis)
	end, _ := time.Parse(timeLayout, value(5, "not-after"))
	c := Command{
		Consortium: value(1, "consortium"), Ledger: admission.Ledger{ID: id, Genesis: digest},
		Action: value(3, "action"), Subject: value(4, "subject"), NotAfter: end, Number: parseNum(value(6, "number")),
	}
	again, err := c.Marshal()
	if err != nil {
		return Command{}, err
	}
	if !bytes.Equal(again, text) {
		return Command{}, refuse(Malformed, "", "text that is not its own canonical form", "canonical text")
	}
	return c, nil
}

func validSubject(action, subject string) bool {
	switch action {
	case RetireVerifier:
		name, hash, ok := strings.Cut(subject, "+")
		raw, err := hex.DecodeString(hash)
		return ok && admission.ValidVerifierName(name) && err == nil && len(raw) == 4 && hex.EncodeToString(raw) == hash
	case RetirePolicy:
		_, err := admission.ParseDigest(subject)
		return err == nil
	case Extend:
		return admission.ValidToken(subject)
	case Release:
		return admission.ValidHostID(subject)
	case Peer:
		node, peer, ok := strings.Cut(subject, "=")
		return ok && admission.ValidNodeID(node) && admission.ValidToken(peer)
	}
	return false
}

func isCommand(tx []byte) bool { return bytes.HasPrefix(tx, []byte(commandHeader+"\n")) }

// command carries out a command, after these checks: it is about this ledger,
// its time has not passed, it was not carried out before, and administrators of
// enough members signed it.
func (r *run) command(tx []byte) error {
	if len(tx) > maxCommand {
		return refuse(Malformed, "", num(uint64(len(tx)))+" bytes", "at most "+num(maxCommand))
	}
	text, members, err := r.signers(tx)
	if err != nil {
		return err
	}
	c, err := ParseCommand(text)
	if err != nil {
		return err
	}
	digest := digestOf(text)
	_, done := r.commands[digest]
	switch {
	case c.Consortium != r.rules.Consortium.Name || c.Ledger != r.rules.Consortium.Ledger:
		return refuse(OtherLedger, "command", c.Consortium+" "+c.Ledger.ID, r.rules.Consortium.Name+" "+r.rules.Consortium.Ledger.ID)
	case !r.time.Before(c.NotAfter) || c.NotAfter.Sub(r.time) > MaxCommandLife:
		return refuse(Untimely, "not-after", formatTime(c.NotAfter), "within "+MaxCommandLife.String()+" after "+formatTime(r.time))
	case done:
		return refuse(Known, "command", digest.String(), "a command that was not carried out yet")
	}
	if err := r.carryOut(c, members); err != nil {
		return err
	}
	r.commands[digest] = c.NotAfter
	r.event("command", [2]string{"action", c.Action}, [2]string{"subject", c.Subject}, [2]string{"members", strings.Join(members, ",")})
	return nil
}

// signers returns the note's text and the distinct members whose administrators
// signed it, ascending.
func (r *run) signers(tx []byte) ([]byte, []string, error) {
	var keys []note.Verifier
	for _, m := range r.rules.Consortium.Members {
		for _, o := range m.Operators {
			if key, err := note.NewVerifier(o.Key); err == nil && o.Role == admission.RoleAdmin {
				keys = append(keys, key)
			}
		}
	}
	n, err := note.Open(tx, note.VerifierList(keys...))
	if err != nil {
		return nil, nil, refuse(Unsigned, "signature", err.Error(), "signatures by administrators of members")
	}
	members := map[string]bool{}
	for _, sig := range n.Sigs {
		members[admission.NodeMember(sig.Name)] = true
	}
	return []byte(n.Text), slices.Sorted(maps.Keys(members)), nil
}

func (r *run) carryOut(c Command, members []string) error {
	switch c.Action {
	case RetireVerifier, RetirePolicy:
		return r.need(members, r.rules.Consortium.Approvals.Policy, func() error { r.retire(c.Subject); return nil })
	case Extend:
		return r.need(members, 2*len(r.rules.Consortium.Members)/3+1, r.extend)
	case Release:
		return r.release(c.Subject, members)
	default: // Peer; Marshal knows no other
		return r.peer(c.Subject, members)
	}
}

func (r *run) need(members []string, n int, act func() error) error {
	if n < 1 || len(members) < n {
		return refuse(TooFew, "signatures", num(uint64(len(members)))+" members", num(uint64(n)))
	}
	return act()
}

// retire gives what a verifier signed, or a policy allowed, its notice. A second
// notice does not lengthen the first.
func (r *run) retire(what string) {
	end := r.time.Add(r.rules.Notice)
	if before, ok := r.retired[what]; !ok || end.Before(before) {
		r.retired[what] = end
	}
}

// extend is break-glass (R9): every validator in the set that has a seat keeps
// it for longer, once until its next bundle. It does not undo a retirement.
func (r *run) extend() error {
	done := 0
	for node, seat := range r.seats {
		if seat.Extended || seat.Key == "" || r.validators[seat.Key].Effective == 0 {
			continue
		}
		if seat.NotAfter.Before(r.time) {
			seat.NotAfter = r.time
		}
		seat.NotAfter, seat.Extended = seat.NotAfter.Add(r.rules.Extension), true
		r.seats[node] = seat
		done++
	}
	if done == 0 {
		return refuse(GlassUsed, "", "no admission that could be extended", "members of the set not extended since their latest bundle")
	}
	return nil
}

// release takes a host out of use, so that its consensus key may move to another
// host at once, and the host may serve another key after the cool-down (R5).
func (r *run) release(host string, members []string) error {
	h, ok := r.hosts[host]
	if !ok {
		return refuse(UnknownSubject, "host", host, "a host that is bound")
	}
	if err := own(h.Node, members); err != nil {
		return err
	}
	if r.seats[h.Node].Host == host {
		r.vacate(h.Node)
	}
	return nil
}

// peer binds a peer of the ledger's network to a node.
func (r *run) peer(subject string, members []string) error {
	node, peer, _ := strings.Cut(subject, "=")
	if err := own(node, members); err != nil {
		return err
	}
	if old, taken := r.peers[peer]; taken && old != node {
		return refuse(PeerBound, "peer", peer+" is "+old, "a peer id of no other node")
	}
	if len(r.peers) >= maxSeats {
		return refuse(TooMany, "", "another peer", num(maxSeats)+" peers")
	}
	maps.DeleteFunc(r.peers, func(_, n string) bool { return n == node })
	r.peers[peer] = node
	return nil
}

// own checks that the node's own member signed.
func own(node string, members []string) error {
	if !slices.Contains(members, admission.NodeMember(node)) {
		return refuse(TooFew, "signatures", strings.Join(members, ","), "an administrator of "+admission.NodeMember(node))
	}
	return nil
}
