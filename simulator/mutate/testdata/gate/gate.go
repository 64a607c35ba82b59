// Package gate is a small check with tests that miss something.
package gate

const most = 3

// Open admits one to three.
func Open(n int) bool {
	if n < 1 {
		return false
	}
	return n <= most
}

// Closed is never asked by a test.
func Closed(n int) bool { return !Open(n) }

// Loop ends unless it is changed.
func Loop(n int) int {
	sum := 0
	for n > 0 {
		sum += n
		n--
	}
	return sum
}
