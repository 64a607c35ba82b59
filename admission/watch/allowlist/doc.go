// Package allowlist decides which nodes may be peers on a ledger that Quorate does
// not gate itself. It compares what the ledger was told with what the verifiers'
// rosters say, and returns numbered changes: add this node, remove that one.
//
// Unreachable and untrusted are never the same. A node joins when the fresh rosters
// of enough members list it. It leaves when so many members deny it that those which
// are silent could not make up for it; a roster that is old or missing is silence.
// No more nodes leave within one window than a ledger can lose: beyond that nothing
// joins or leaves, and the state says why, until verifiers or a person mend it.
//
// The package is pure: it reads no clock, no file and no network.
package allowlist
