// Package watch tells a ledger which nodes may be its peers. Package allowlist
// decides; this one follows the verifiers, writes every change down before anybody
// hears of it, and delivers the changes in order, each at least once, by running a
// command or calling JSON-RPC.
//
// A change is forgotten only after the ledger took it. So a program that was killed
// at any instant delivers its last change once more when it starts again, and a
// ledger must not mind being told something twice.
package watch
