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
	Number     uint64    // a member's own commands (release, peer) ascend; others may have any
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

// command carries out a command, after these checks: administrators signed it, it
// is about this ledger, its time has not passed, it was signed for enough members
// or the one concerned, and it was not carried out before.
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
	switch {
	case c.Consortium != r.rules.Consortium.Name || c.Ledger != r.rules.Consortium.Ledger:
		return refuse(OtherLedger, "command", c.Consortium+" "+c.Ledger.ID, r.rules.Consortium.Name+" "+r.rules.Consortium.Ledger.ID)
	case !r.time.Before(c.NotAfter) || c.NotAfter.Sub(r.time) > MaxCommandLife:
		return refuse(Untimely, "not-after", formatTime(c.NotAfter), "within "+MaxCommandLife.String()+" after "+formatTime(r.time))
	}
	if err := r.carryOut(c, digestOf(text), members); err != nil {
		return err
	}
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

func (r *run) carryOut(c Command, digest admission.Digest, members []string) error {
	all := len(r.rules.Consortium.Members)
	switch c.Action {
	case RetirePolicy: // those who can make another one
		return r.together(c, digest, members, r.rules.Consortium.Approvals.Policy, func() error { r.retire(c.Subject); return nil })
	case RetireVerifier:
		return r.together(c, digest, members, all/2+1, func() error { r.retire(c.Subject); return nil })
	case Extend:
		return r.together(c, digest, members, 2*all/3+1, r.extend)
	case Release:
		return r.release(c, members)
	default: // Peer; Marshal knows no other
		return r.peer(c, members)
	}
}

// together carries out what takes several members, once: the state remembers the
// command until its end.
func (r *run) together(c Command, digest admission.Digest, members []string, n int, act func() error) error {
	if n < 1 || len(members) < n {
		return refuse(TooFew, "signatures", num(uint64(len(members)))+" members", num(uint64(n)))
	}
	if _, done := r.commands[digest]; done {
		return refuse(Known, "command", digest.String(), "a command that was not carried out yet")
	}
	if err := act(); err != nil {
		return err
	}
	r.commands[digest] = c.NotAfter
	return nil
}

// alone checks that the node's own member signed, and that the command is newer
// than its latest one: a member alone must not make the state grow.
func (r *run) alone(c Command, node string, members []string) error {
	member := admission.NodeMember(node)
	if !slices.Contains(members, member) {
		return refuse(TooFew, "signatures", strings.Join(members, ","), "an administrator of "+member)
	}
	if last, ok := r.numbers[member]; ok && c.Number <= last {
		return refuse(Older, "number", num(c.Number), "more than "+num(last)+", the latest of "+member)
	}
	return nil
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
		delete(r.seen, node)
		done++
	}
	if done == 0 {
		return refuse(GlassUsed, "", "no admission that could be extended", "members of the set not extended since their latest bundle")
	}
	r.mark()
	return nil
}

// release takes a host out of use, so that its consensus key may move to another
// host at once, and the host may serve another key after the cool-down (R5).
func (r *run) release(c Command, members []string) error {
	h, ok := r.hosts[c.Subject]
	if !ok {
		return refuse(UnknownSubject, "host", c.Subject, "a host that is bound")
	}
	if err := r.alone(c, h.Node, members); err != nil {
		return err
	}
	if r.seats[h.Node].Host == c.Subject {
		r.vacate(h.Node)
	}
	r.numbers[admission.NodeMember(h.Node)] = c.Number
	return nil
}

// maxPeers bounds the peers that one member binds.
const maxPeers = 64

// peer binds a peer of the ledger's network to a node.
func (r *run) peer(c Command, members []string) error {
	node, peer, _ := strings.Cut(c.Subject, "=")
	if err := r.alone(c, node, members); err != nil {
		return err
	}
	if old, taken := r.peers[peer]; taken && old != node {
		return refuse(PeerBound, "peer", peer+" is "+old, "a peer id of no other node")
	}
	bound := 0
	for _, n := range r.peers {
		if n != node && admission.NodeMember(n) == admission.NodeMember(node) {
			bound++
		}
	}
	if bound >= maxPeers {
		return refuse(TooMany, "", "another peer of "+admission.NodeMember(node), num(maxPeers)+" peers of a member")
	}
	maps.DeleteFunc(r.peers, func(_, n string) bool { return n == node })
	r.peers[peer] = node
	r.numbers[admission.NodeMember(node)] = c.Number
	return nil
}
