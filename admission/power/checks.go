package power

import (
	"cmp"
	"slices"

	"github.com/quorate/quorate/admission"
)

// The checks of this package.
const (
	Malformed      admission.CheckID = "power.malformed"
	TooMany        admission.CheckID = "power.too-many"
	OtherRole      admission.CheckID = "power.role"
	OtherLedger    admission.CheckID = "power.ledger"
	Retired        admission.CheckID = "power.retired"
	Barred         admission.CheckID = "power.barred"
	Doubled        admission.CheckID = "power.signed-twice"
	StaleBeacon    admission.CheckID = "power.beacon"
	HostBound      admission.CheckID = "power.host-bound"
	HostCooling    admission.CheckID = "power.host-cooling"
	NodeBound      admission.CheckID = "power.node-bound"
	PeerBound      admission.CheckID = "power.peer-bound"
	Known          admission.CheckID = "power.known"
	Older          admission.CheckID = "power.older"
	Frozen         admission.CheckID = "power.frozen"
	Untimely       admission.CheckID = "power.untimely"
	Unsigned       admission.CheckID = "power.unsigned"
	TooFew         admission.CheckID = "power.too-few"
	GlassUsed      admission.CheckID = "power.glass-used"
	UnknownSubject admission.CheckID = "power.unknown"
	NoFounders     admission.CheckID = "power.founders"
	BadState       admission.CheckID = "power.state"
)

var checks = []admission.Check{
	{ID: Malformed, Title: "The transaction is not a bundle, a roster or a command in its one form.", Protects: "Two nodes that understand the same bytes differently.",
		Got: "the text found", Want: "the form expected", Remedy: "Submit the file that the agent or the verifier wrote, unchanged, with quorate-gate submit."},
	{ID: TooMany, Title: "There is no room for it.", Protects: "Blocks and states that grow until the chain is slow.",
		Got: "what would be one more", Want: "the limit", Remedy: "Submit it again in a later block; for nodes, retire those that are no longer used."},
	{ID: OtherRole, Title: "The ledger grants no such role.", Protects: "A light role used to gain voting power.",
		Got: "the admitted role", Want: "a role with the keys that it needs", Remedy: "Enrol the node as a validator with its consensus key, or as an observer without one."},
	{ID: OtherLedger, Title: "The command is for another ledger.", Protects: "A command of one network used in another.",
		Got: "its consortium and ledger", Want: "this consortium and ledger", Remedy: "Write the command for this ledger and have it signed again."},
	{ID: Retired, Title: "A verifier or the policy behind the admission is retired.", Protects: "Admissions by a captured verifier or under a policy found weak.",
		Got: "what is retired, and since when", Want: "verifiers and a policy in service", Remedy: "Have the node admitted by other verifiers, or under the new policy, and submit that bundle."},
	{ID: Barred, Title: "The verifiers bar the node.", Protects: "Power for a host whose evidence was refused after it was admitted.",
		Got: "the node", Want: "a node that enough of its verifiers admit", Remedy: "Mend what quorate node explain names, reboot the host, and submit the new bundle."},
	{ID: Doubled, Title: "The consensus key signed twice, after this admission.", Protects: "Two hosts that vote with one key.",
		Got: "when it was admitted", Want: "an admission younger than the proof", Remedy: "Find the other host that has the key, stop it, and have the node admitted anew."},
	{ID: StaleBeacon, Title: "The evidence behind the admission is older than the chain allows.", Protects: "Old evidence, and verifiers with a wrong clock.",
		Got: "the block that the challenge named", Want: "a recent block of this chain", Remedy: "Submit the bundle sooner; if it is fresh, let the verifiers follow a node of this chain."},
	{ID: HostBound, Title: "The host serves another consensus key or node.", Protects: "One machine that votes as several validators.",
		Got: "what the host serves", Want: "a host that is free", Remedy: "Release the host with a command of its member, and wait for the cool-down."},
	{ID: HostCooling, Title: "The host served another consensus key or node lately.", Protects: "Proof of a double vote that comes to nothing, because its key has left.",
		Got: "until when it was in use", Want: "when it will be free", Remedy: "Wait for the height named, or use another host."},
	{ID: NodeBound, Title: "Another host serves the node or the consensus key.", Protects: "One consensus key that two hosts use.",
		Got: "the node and its host", Want: "a node and a key that are free", Remedy: "Release the old host with a command of its member; then submit the bundle again."},
	{ID: PeerBound, Title: "The peer id belongs to another node.", Protects: "A peer that comes in on another node's admission.",
		Got: "the peer and its node", Want: "a peer id of no other node", Remedy: "Use the id that cometbft show-node-id prints on this host."},
	{ID: Known, Title: "It was accepted before.", Protects: "A command that is carried out twice.",
		Got: "its digest", Want: "something new", Remedy: "Nothing to do; it is in force."},
	{ID: Older, Title: "It is older than what the ledger has.", Protects: "An old admission or roster replayed to undo a newer one.",
		Got: "its number", Want: "the least number that counts", Remedy: "Submit the newest bundle or roster."},
	{ID: Frozen, Title: "The set is frozen: only renewals count.", Protects: "A set that changes hands while a quorum cannot prove itself.",
		Got: "who wants to join", Want: "a renewal by a member of the set", Remedy: "See quorate-gate status for who must renew; the set thaws by itself when a quorum stands again."},
	{ID: Untimely, Title: "The command's time has passed or is too far off.", Protects: "A command that is kept and used when nobody expects it.",
		Got: "its end", Want: "the times that count", Remedy: "Write the command with an end in the next days and have it signed again."},
	{ID: Unsigned, Title: "No administrator's signature is under the command.", Protects: "Commands by people without a say.",
		Got: "the fault", Want: "signatures by administrators in the consortium file", Remedy: "Sign it with a key that the consortium file lists as admin."},
	{ID: TooFew, Title: "Too few members signed the command, or not the one concerned.", Protects: "One member, or one insider, who decides for all.",
		Got: "who signed", Want: "who must sign", Remedy: "Have administrators of more members sign the same command."},
	{ID: GlassUsed, Title: "There is nothing left to extend.", Protects: "Emergency extensions that become the rule.",
		Got: "", Want: "members of the set that were not extended since their latest bundle", Remedy: "Renew the admissions; a renewed one can be extended again."},
	{ID: UnknownSubject, Title: "The ledger does not know what the command is about.", Protects: "Commands that do nothing and look as if they did.",
		Got: "the subject", Want: "a subject that the ledger knows", Remedy: "See quorate-gate status for the names in use."},
	{ID: NoFounders, Title: "Nobody would have power.", Protects: "A chain that never starts, or one whose first set nobody vouched for unseen.",
		Got: "who was found", Want: "founders with bundles, or an explicit unattested start", Remedy: "Give the gate the founders' bundles, or state unattestedUntil in its rules."},
	{ID: BadState, Title: "The stored state is not what this program writes.", Protects: "Power decided on damaged or altered data.",
		Got: "what was found", Want: "what belongs there", Remedy: "Stop the node, restore the gate's folder together with the application's, or sync the node anew."},
}

// Checks returns every check of this package, sorted by identifier. Documents
// are generated from it.
func Checks() []admission.Check {
	all := slices.Clone(checks)
	slices.SortFunc(all, func(a, b admission.Check) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

func refuse(id admission.CheckID, where, got, want string) *admission.Refusal {
	i := slices.IndexFunc(checks, func(c admission.Check) bool { return c.ID == id })
	return checks[i].Refuse(where, got, want)
}
