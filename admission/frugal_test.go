package admission_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/simulator/weigh"
)

// Reading foreign bytes costs memory in proportion to them, whatever is in them.
func TestFrugal(t *testing.T) {
	n := newNetwork(t, options{verifiers: 1, k: 1})
	repeat := func(head, s, tail string) func(n int) []byte {
		return func(n int) []byte { return []byte(head + strings.Repeat(s, n) + tail) }
	}
	roster := func(count int) []byte {
		text, _, _ := bytes.Cut(n.roster(1, func(r *admission.Roster) {
			r.Admitted = nil
			for i := range count {
				l := n.listed()
				l.Node = fmt.Sprintf("org-a/v-%09d", i)
				l.Host, l.NodeKey, l.ConsensusKey = hexOf(l.Node), sha256.Sum256([]byte(l.Node)), ""
				r.Admitted = append(r.Admitted, l)
			}
		}), []byte("\n\n"))
		return append(text, '\n')
	}
	head := string(roster(1)[:bytes.Index(roster(1), []byte("admitted: "))])
	for name, c := range map[string]struct {
		most  int
		shape func(n int) []byte
		parse func([]byte)
	}{
		"bundle":              {admission.MaxBundle, repeat("quorate/bundle/v1\n", "admission 1\nxproof 1\nx", ""), func(b []byte) { _, _ = admission.ParseBundle(b) }},
		"bundle, long part":   {admission.MaxBundle, repeat("quorate/bundle/v1\nadmission 4096\n", "x", ""), func(b []byte) { _, _ = admission.ParseBundle(b) }},
		"statement":           {admission.MaxStatement, repeat("quorate/admission/v1\nconsortium: ", "x", "\n"), func(b []byte) { _, _ = admission.ParseStatement(b) }},
		"statement, lines":    {admission.MaxStatement, repeat("quorate/admission/v1\n", "\n", ""), func(b []byte) { _, _ = admission.ParseStatement(b) }},
		"roster":              {4 << 20, roster, func(b []byte) { _, _ = admission.ParseRoster(b) }},
		"roster, empty lines": {4 << 20, func(n int) []byte { return []byte(fmt.Sprintf("%sadmitted: %d\n", head, n) + strings.Repeat("\n", n)) }, func(b []byte) { _, _ = admission.ParseRoster(b) }},
		"consortium, flow":    {admission.MaxConsortium, repeat("members: [", "a,", "]"), func(b []byte) { _, _ = admission.ParseConsortium(b) }},
		"consortium, members": {admission.MaxConsortium, repeat("members: [", "{},", "]"), func(b []byte) { _, _ = admission.ParseConsortium(b) }},
		"consortium, list":    {admission.MaxConsortium, repeat("members:\n", "- name: a\n", ""), func(b []byte) { _, _ = admission.ParseConsortium(b) }},
		"consortium, keys":    {admission.MaxConsortium, repeat("", "k: v\n", ""), func(b []byte) { _, _ = admission.ParseConsortium(b) }},
		"consortium, other keys": {admission.MaxConsortium, func(n int) []byte {
			var b bytes.Buffer
			for i := range n {
				fmt.Fprintf(&b, "k%d: v\n", i)
			}
			return b.Bytes()
		}, func(b []byte) { _, _ = admission.ParseConsortium(b) }},
		"consortium, odd values":     {admission.MaxConsortium, repeat("members: [", "y,", "]"), func(b []byte) { _, _ = admission.ParseConsortium(b) }},
		"consortium, nested":         {admission.MaxConsortium, repeat("", "[", ""), func(b []byte) { _, _ = admission.ParseConsortium(b) }},
		"consortium, lists of lists": {admission.MaxConsortium, repeat("", strings.Repeat("- ", 60)+"\n", ""), func(b []byte) { _, _ = admission.ParseConsortium(b) }},
		"consortium, aliases":        {admission.MaxConsortium, repeat("a: &a [", "b", "]\nc: *a\n"), func(b []byte) { _, _ = admission.ParseConsortium(b) }},
	} {
		t.Run(name, func(t *testing.T) { weigh.Linear(t, c.most, c.shape, c.parse) })
	}
}
