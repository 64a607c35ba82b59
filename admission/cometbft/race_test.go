//go:build race

package cometbft_test

// slowed says that the race detector makes everything several times slower, so
// that times mean nothing.
const slowed = true
