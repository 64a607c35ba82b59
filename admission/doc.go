// Package admission is what a ledger imports to learn whether a node may have
// power. It checks, offline and from bytes alone, the statements that verifiers
// sign: a Bundle of admissions with their transparency-log proofs, and the
// Roster that says which admissions still stand.
//
// A ParseConsortium result pins everything a relying party trusts. With it,
// Consortium.VerifyBundle turns bytes into an *Admission, and
// Consortium.VerifyRoster turns bytes into a *VerifiedRoster; there is no other
// way to make either, and CheckAgainstRoster brings the two together.
//
// The package is pure: it reads no clock, no file and no network, keeps no
// state, and returns the same answer to the same bytes on every machine, so it
// may run inside a state machine. Following a verifier's roster over the
// network is the work of the package roster below it.
package admission
