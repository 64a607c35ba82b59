// Package mutate measures whether the tests of the pure core would notice a
// check that got lost. It changes one condition, statement, constant or result
// at a time, runs the tests that reach the change, and reports each change
// that no test notices: a survivor.
//
// A package is compiled once, with every mutant in it; an environment variable
// chooses the one that is switched on. A first run of each test tells which
// mutants it reaches, so a mutant costs a run of those tests and nothing more.
package mutate
