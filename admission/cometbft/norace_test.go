//go:build !race

package cometbft_test

const slowed = false
