// Package power decides how much voting power each validator of a ledger may
// have: what the application asks for, as far as its host's admission and its
// operator's cap allow, and nothing otherwise.
//
// The rules, in the order in which a block meets them:
//
//   - R1 effective power = standing admission ? min(desired, cap) : 0;
//   - R2 admissions end by block time, grace by block height, never by a clock;
//   - R3 lapses take at most a third of the power out of one window; when fewer
//     than a quorum would stay, the set is frozen and only renewals count;
//   - R4 a set is never emptied, and nobody leaves who is not in it;
//   - R5 one host has one consensus key, and another only after a cool-down;
//   - R6 what a retired verifier signed, or a retired policy allowed, ends after
//     a notice; which evidence it rested on stays on record;
//   - R7 an old policy counts beside a new one until its notice ends;
//   - R8 founders enter with bundles, or unattested until a stated height;
//   - R9 a quorum of the members may extend every standing admission, once;
//   - R10 no member holds more than its cap, whoever joins and whoever leaves;
//   - R11 nobody leaves because verifiers are down: an admission that ends lapses
//     only after the ledger has seen that it could have been renewed.
//
// A State is a value of one height. Step makes the next one from a block. The
// package is pure: the same blocks give the same states, bytes and results on
// every machine, and rules hold from a height on, so that an old block is judged
// again as it was judged then.
package power
