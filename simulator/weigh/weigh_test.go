package weigh

import (
	"fmt"
	"testing"
)

var sink []byte

// failures is a test that is expected to fail.
type failures struct{ messages []string }

func (*failures) Helper() {}
func (f *failures) Errorf(format string, args ...any) {
	f.messages = append(f.messages, fmt.Sprintf(format, args...))
}

func TestBytes(t *testing.T) {
	for _, n := range []int{0, 1 << 10, 1 << 20, 10 << 20} {
		if got := Bytes(func() { sink = make([]byte, n) }); got < uint64(n) || got > uint64(n+n/64+16384) {
			t.Errorf("%d bytes are counted as %d", n, got)
		}
	}
}

func TestBounded(t *testing.T) {
	for n, want := range map[int]int{0: 0, 8<<10 + Slack/2: 0, 9<<10 + Slack: 1, 100 << 20: 1} {
		var f failures
		Bounded(&f, 1<<10, func() { sink = make([]byte, n) })
		if len(f.messages) != want {
			t.Errorf("%d bytes for 1 KiB: %v", n, f.messages)
		}
	}
}

func TestLinear(t *testing.T) {
	input := func(n int) []byte { return make([]byte, n) }
	for name, c := range map[string]struct {
		parse func([]byte)
		fails bool
	}{
		"linear":    {func(b []byte) { sink = make([]byte, 3*len(b)) }, false},
		"quadratic": {func(b []byte) { sink = make([]byte, len(b)*len(b)/(1<<14)) }, true},
		"greedy":    {func(b []byte) { sink = make([]byte, 20*len(b)) }, true},
	} {
		var f failures
		Linear(&f, 1<<19, input, c.parse)
		if (len(f.messages) > 0) != c.fails {
			t.Errorf("%s: %v", name, f.messages)
		}
	}
}
