package evidence_test

import (
	"strings"
	"testing"

	"github.com/quorate/quorate/simulator/weigh"
	"github.com/quorate/quorate/verifier/evidence"
)

// Reading a record or an exported file costs memory in proportion to it, whatever is
// in it.
func TestFrugal(t *testing.T) {
	repeat := func(head, s, tail string) func(n int) []byte {
		return func(n int) []byte { return []byte(head + strings.Repeat(s, n) + tail) }
	}
	long := newScene(t)
	for name, shape := range map[string]func(n int) []byte{
		"challenges":         repeat(`{"challenges":[`, `{},`, `{}]}`),
		"challenges of file": repeat(`{"record":{"challenges":[`, `{},`, `{}]}}`),
		"PCRs":               repeat(`{"pcrs":[`, `0,`, `0]}`),
		"values":             repeat(`{"pcrValues":[`, `"",`, `""]}`),
		"earlier lists":      repeat(`{"imaEarlier":[`, `"",`, `""]}`),
		"findings":           repeat(`{"record":{"verdict":{"findings":[`, `{},`, `{}]}}}`),
		"checks":             repeat(`{"verdict":{"passed":[`, `"",`, `""]}}`),
		"blobs":              repeat(`{"blobs":{`, `"":"",`, `"":""}}`),
		"nested":             repeat(`{"history":`, `[`, ``),
		"keys":               repeat(`{`, `"format":"",`, `"format":""}`),
		"one text":           repeat(`{"format":"`, `a`, `"}`),
		"escapes":            repeat(`{"format":"`, `\u0001`, `"}`),
		"a blob":             repeat(`{"record":null,"blobs":{"sha256:`+strings.Repeat("0a", 32)+`":"`, `AAAA`, `"}}`),
		"a genuine file": func(n int) []byte {
			for range n {
				long.run(strings.Repeat("/usr/lib/quorate", 10))
			}
			long.answer()
			file, err := long.record().Marshal()
			if err != nil {
				t.Fatal(err)
			}
			return file
		},
	} {
		t.Run(name, func(t *testing.T) {
			weigh.Linear(t, 1<<18, shape, func(b []byte) {
				_, _ = evidence.ParseRecord(b)
			})
			weigh.Linear(t, 1<<18, shape, func(b []byte) {
				_, _ = evidence.ParseFile(b)
			})
		})
	}
}
