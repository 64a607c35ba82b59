// Package values bounds what a YAML text costs before it is decoded. A value of one
// byte becomes a node of a few hundred, so a short text could take much memory; and
// a deep one takes more with every level.
//
// The package is pure.
package values

import "fmt"

// Reading a text may cost Factor bytes for each of its own, and Slack beside.
const (
	Factor = 8
	Slack  = 1 << 20
)

// MaxDepth is how deep a text may nest. The languages of this project nest six deep;
// brackets within texts count as well.
const MaxDepth = 64

// Check refuses a text that has too many values for its size, when each costs the
// given number of bytes, or that nests too deep. It allocates nothing but its error.
func Check(text []byte, cost int) error {
	if n, most := count(text), (Slack+Factor*len(text))/cost; n > most {
		return fmt.Errorf("%d values in %d bytes, at most %d", n, len(text), most)
	}
	if n := depth(text); n > MaxDepth {
		return fmt.Errorf("nested %d deep, at most %d", n, MaxDepth)
	}
	return nil
}

// count counts what may begin another value: no text has more values than that.
func count(text []byte) int {
	n := 0
	for i, c := range text {
		switch c {
		case ',', ':', '[', '{', '\n':
			n++
		case '-', '?':
			if i+1 == len(text) || text[i+1] <= ' ' {
				n++
			}
		}
	}
	return n
}

// depth returns how deep a text nests: in brackets, and in lists and keys that begin
// on one line. Nesting by indentation needs text in proportion.
func depth(text []byte) int {
	deepest, open, run := 0, 0, 0
	for i, c := range text {
		switch {
		case c == '[' || c == '{':
			open++
		case c == ']' || c == '}':
			open = max(open-1, 0)
		}
		switch {
		case (c == '-' || c == '?') && i+1 < len(text) && text[i+1] <= ' ':
			run++
		case c > ' ' || c == '\n':
			run = 0
		}
		deepest = max(deepest, open, run)
	}
	return deepest
}
