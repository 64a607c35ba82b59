package eventlog

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/quorate/quorate/simulator/bootlog"
)

// configLog is a log of configurations in PCR 1, one for each text.
func configLog(t testing.TB, texts ...string) *Log {
	t.Helper()
	b := bootLog{header: bootlog.Header("Spec ID Event03", nil, bootlog.Algorithm{Alg: 0xb, Size: 32})}
	for _, text := range texts {
		b.events = append(b.events, measured(1, EvPlatformConfigFlags, text))
	}
	l, err := Parse(b.bytes(), SHA256, DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// common is the length of the longest common subsequence.
func common(a, b string) int {
	switch {
	case a == "" || b == "":
		return 0
	case a[0] == b[0]:
		return 1 + common(a[1:], b[1:])
	}
	return max(common(a[1:], b), common(a, b[1:]))
}

// letters are the texts of a word.
func letters(word string) []string {
	var all []string
	for _, c := range word {
		all = append(all, string(c))
	}
	return all
}

// No difference goes unseen, and none is reported that is none: what is left out
// of both logs is a longest common part of them.
func TestDiffIsComplete(t *testing.T) {
	var words []string
	for n := 1; n <= 4; n++ {
		for i := range 1 << (2 * n) {
			word := ""
			for j := range n {
				word += string("abcd"[i>>(2*j)&3])
			}
			if n < 4 || i%5 == 0 {
				words = append(words, word)
			}
		}
	}
	logs := map[string]*Log{}
	for _, word := range words {
		logs[word] = configLog(t, letters(word)...)
	}
	for _, a := range words {
		for _, b := range words {
			leftA, leftB := letters(a), letters(b)
			for _, d := range Diff(logs[a], logs[b]) {
				if d.EventA > 0 {
					leftA[d.EventA-1] = ""
				}
				if d.EventB > 0 {
					leftB[d.EventB-1] = ""
				}
			}
			empty := func(s string) bool { return s == "" }
			leftA, leftB = slices.DeleteFunc(leftA, empty), slices.DeleteFunc(leftB, empty)
			if !slices.Equal(leftA, leftB) || len(leftA) != common(a, b) {
				t.Fatalf("%s and %s: %v", a, b, Diff(logs[a], logs[b]))
			}
		}
	}
}

// Which of two alignments is chosen, in which order, and in which words.
func TestDiffChooses(t *testing.T) {
	for pair, want := range map[[2]string]string{
		{"a", "a"}: "", {"ab", "ba"}: "(1,-1)(-1,2)", {"ba", "ab"}: "(1,-1)(-1,2)", {"abc", "c"}: "(1,-1)(2,-1)", {"c", "abc"}: "(-1,1)(-1,2)", {"xay", "bac"}: "(1,1)(3,3)", {"xya", "a"}: "(1,-1)(2,-1)",
		{"xaybz", "ab"}: "(1,-1)(3,-1)(5,-1)", {"abab", "baba"}: "(1,-1)(-1,4)",
	} {
		got := ""
		for _, d := range Diff(configLog(t, letters(pair[0])...), configLog(t, letters(pair[1])...)) {
			got += fmt.Sprintf("(%d,%d)", d.EventA, d.EventB)
		}
		if got != want {
			t.Errorf("%v: %s, want %s", pair, got, want)
		}
	}
	d := Diff(configLog(t, "a\x01"), configLog(t, "b\n"))
	if len(d) != 1 || d[0].A != `a\x01` || d[0].B != `b\n` {
		t.Errorf("%+v", d)
	}
}

// Logs with up to 2^20 pairs of events that differ are aligned, longer ones paired.
func TestDiffAlignsUpToItsBound(t *testing.T) {
	shared := make([]string, 1022)
	for i := range shared {
		shared[i] = fmt.Sprint("shared ", i)
	}
	a, b := configLog(t, slices.Concat([]string{"p"}, shared, []string{"q"})...), configLog(t, slices.Concat([]string{"r"}, shared, []string{"s"})...)
	if n := len(Diff(a, b)); n != 2 {
		t.Errorf("%d differences at the bound", n)
	}
	longer := configLog(t, slices.Concat([]string{"r", "r2"}, shared, []string{"s"})...)
	if n := len(Diff(a, longer)); n < 1000 {
		t.Errorf("%d differences beyond the bound", n)
	}
}

func TestDiffOfBanksAndLocalities(t *testing.T) {
	header := bootlog.Header("Spec ID Event03", nil, bootlog.Algorithm{Alg: 0xb, Size: 32}, bootlog.Algorithm{Alg: 0xc, Size: 48})
	digests := [][]byte{make([]byte, 32), make([]byte, 48)}
	raw := appendEvent(slices.Clone(header), record{0, EvNoAction, nil, []byte("StartupLocality\x00\x03")}, []Alg{SHA256, SHA384}, digests)
	parse := func(raw []byte, bank Alg) *Log {
		l, err := Parse(raw, bank, DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	if got := Diff(parse(raw, SHA256), parse(raw, SHA384)); len(got) != 1 || got[0] != (Difference{Where: "header", What: "quoted bank differs", A: "sha256", B: "sha384"}) {
		t.Errorf("%+v", got)
	}
	other := bytes.Replace(raw, []byte("Locality\x00\x03"), []byte("Locality\x00\x00"), 1)
	if got := Diff(parse(raw, SHA256), parse(other, SHA256)); len(got) != 1 || got[0] != (Difference{"PCR 0", "startup locality differs", "3", "0", -1, -1}) {
		t.Errorf("%+v", got)
	}
}
