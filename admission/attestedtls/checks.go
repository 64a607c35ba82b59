package attestedtls

import (
	"cmp"
	"slices"

	"github.com/quorate/quorate/admission"
)

// The checks of this package. What is wrong with a bundle, the checks of package
// admission say.
const (
	NoAttestation admission.CheckID = "link.attestation"
	OwnKey        admission.CheckID = "link.own-key"
	TwoHosts      admission.CheckID = "link.two-hosts"
	Ended         admission.CheckID = "link.ended"
)

var checks = []admission.Check{
	{ID: NoAttestation, Title: "The peer shows no bundle in its certificate.", Protects: "Links to machines that never proved what they are.",
		Got: "what the certificate holds", Want: "one certificate with one bundle of bounded size", Remedy: "Let the peer use attested TLS with the bundle that its agent keeps; before its first admission it cannot connect."},
	{ID: OwnKey, Title: "The peer holds this node's own key.", Protects: "A node that is shown its own attestation, by whoever relays it back.",
		Got: "the digest of the peer's key", Want: "another node's key", Remedy: "Look at who answers at the address that was dialled; a node does not connect to itself."},
	{ID: TwoHosts, Title: "The same node is connected from two addresses.", Protects: "One credential that is used on two hosts.",
		Got: "both addresses", Want: "connections of one node from one host", Remedy: "Both connections were closed. If the node did not move, quarantine it and look at both hosts."},
	{ID: Ended, Title: "The peer's admission ended while it was connected.", Protects: "Links that outlive what allowed them.",
		Got: "the node", Want: "an admission that stands", Remedy: "Renew the admission; quorate node explain says what is in its way."},
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
