// Package watch tells a ledger which nodes may be its peers. It turns the rosters
// of a consortium's verifiers into changes, "add this node" and "remove that one",
// writes them down, and delivers them in order, each at least once, to whatever
// the ledger has: a command, or JSON-RPC.
//
// Unreachable and untrusted are never the same. A node is added once verifiers of
// enough members list it, in rosters that are fresh. It is removed when so many of
// them bar it, or have let its admission end, that the rest could not admit it; but
// rosters that are merely old change nothing, and no more nodes leave in one window
// than a ledger can lose: past that, everything stays as it is, and an alarm says so.
package watch
