// Package values bounds what a text in YAML or JSON costs before it is decoded. A value of one
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

// Check refuses a YAML text that has too many values for its size, when each costs
// the given number of bytes, or that nests too deep. It allocates nothing but its
// error.
func Check(text []byte, cost int) error { return check(len(text), count(text), depth(text), cost) }

// CheckJSON does the same for JSON, where what stands within a text is no value.
func CheckJSON(text []byte, cost int) error {
	n, deepest := structure(text)
	return check(len(text), n, deepest, cost)
}

func check(size, n, deepest, cost int) error {
	if most := (Slack + Factor*size) / cost; n > most {
		return fmt.Errorf("%d values in %d bytes, at most %d", n, size, most)
	}
	if deepest > MaxDepth {
		return fmt.Errorf("nested %d deep, at most %d", deepest, MaxDepth)
	}
	return nil
}

// structure counts what begins another value of a JSON text, and how deep it nests.
func structure(text []byte) (n, deepest int) {
	open, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			n, open = n+1, open+1
			deepest = max(deepest, open)
		case c == ']' || c == '}':
			open--
		case c == ',':
			n++
		}
	}
	return n, deepest
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
