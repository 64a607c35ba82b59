// Package cometbft gates the voting power of a CometBFT chain. Gate stands
// between a node and its application, in one process or between two, and is
// itself an ABCI application: what the application wants for its validators
// goes to consensus only as far as package power allows.
//
// Bundles, rosters and operators' commands reach the gate as transactions with
// Prefix; the application never sees them. The gate's state lies under the
// application hash, beside the application's own, so that two gates that decide
// differently, or are configured differently, show in the next block.
package cometbft
