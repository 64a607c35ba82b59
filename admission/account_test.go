package admission_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/simulator/account"
)

// told writes what is said, one line for all damages in a row that are refused
// in the same words.
type told struct {
	out         io.Writer
	first, last string
	words       string
}

func (w *told) say(name string, err error) {
	words := "accepted"
	var r *admission.Refusal
	if errors.As(err, &r) {
		words = fmt.Sprintf("%s at %q: got %.60q, want %.60q", r.Check, r.Where, r.Got, r.Want)
	} else if err != nil {
		words = err.Error()
	}
	if words != w.words {
		w.flush()
		w.first, w.words = name, words
	}
	w.last = name
}

func (w *told) flush() {
	if w.words != "" {
		name := w.first
		if w.first != w.last {
			name += " … " + w.last
		}
		fmt.Fprintf(w.out, "%s: %s\n", name, w.words)
	}
	w.words = ""
}

// damages calls with every beginning of a text, every byte changed, and every
// line gone, twice, or without a value.
func damages(text string, with func(name, bad string)) {
	for n := range len(text) {
		with(fmt.Sprintf("%d bytes", n), text[:n])
	}
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range lines {
		put := func(name, line string) {
			with(fmt.Sprintf("line %d %s", i+1, name), strings.Join(slices.Concat(lines[:i], []string{line}, lines[i+1:]), "")+"\n")
		}
		put("gone", "")
		put("twice", line+"\n"+line)
		name, _, _ := strings.Cut(line, ":")
		put("without value", name+": \n")
		put("with a space", strings.TrimSuffix(line, "\n")+" \n")
	}
	for i := range len(text) {
		bad := []byte(text)
		bad[i] ^= 1
		with(fmt.Sprintf("byte %d", i), string(bad))
	}
	with("more", text+"x")
	with("a line more", text+"\n")
}

// values put into the text of a statement, by field.
var values = map[string][]string{
	"consortium": {"a", "A", strings.Repeat("a", 63), strings.Repeat("a", 64)},
	"test":       {"false", "True", "true"},
	"ledger":     {"example-1", "example-1 ", " sha256:" + zeros + "01", "example-1 sha256:" + zeros + "00", "ex*mple sha256:" + zeros + "01", "a b sha256:" + zeros + "01"},
	"node":       {"org-a", "org-a/", "/v", "org-a/v", "org-a/v/w"},
	"host":       {zeros + "0", zeros + "0g", zeros + "0F", zeros + "0f", zeros + "0/", zeros + "0:", zeros + "0`", zeros + "000"},
	"role":       {"none", "-", "Validator"},
	"consensus-key": {
		"none", "", "ed25519:", "ed25519:AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "ed25519:AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=", "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		"ed25519:AQAA", "ed25519:AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=x",
	},
	"node-key": {"none", "sha256:" + zeros + "00", "sha512:" + zeros + "01", zeros + "01", "sha256:" + zeros + "0G"},
	"policy":   {"validators", "validators sha256:" + zeros + "00", ".v sha256:" + zeros + "04", " sha256:" + zeros + "04", "v sha256:" + zeros + "zz"},
	"evidence": {"sha256:" + zeros + "00", "none"},
	"epoch":    {"4", "4/", "/0", "04/0", "+4/0", "4/00", "4/0/0", "4294967295/4294967295", "4294967296/0", "0/4294967296", "-1/0", "a/0"},
	"beacon": {
		"none", "0 sha256:" + zeros + "06", "7 sha256:" + zeros + "00", "0 sha256:" + zeros + "00", "7", "x sha256:" + zeros + "06", "18446744073709551615 sha256:" + zeros + "06",
		"18446744073709551616 sha256:" + zeros + "06",
	},
	"not-before": {"2026-11-23T15:59:59Z", "2026-11-23T16:00:00Z", "2026-11-23T16:00:01Z", "2026-11-16T16:00:00Z", "2026-11-16T15:59:59Z", "1969-12-31T23:59:59Z", "2026-11-22 16:00:00Z", "2026-11-22T16:00:00.5Z", "2026-11-22T16:00:00+00:00", "2026-02-30T16:00:00Z"},
	"not-after":  {"2026-11-22T16:00:00Z", "10000-01-01T00:00:00Z", "now"},
	"verifier":   {"Org", ".", "a..b", "a"},
	"serial":     {"0", "1", "01", "+1", "-1", "9223372036854775808", "18446744073709551615", "18446744073709551616", "x", "1 "},
}

func tellStatements(w *told) {
	for _, field := range slices.Sorted(mapsKeys(values)) {
		for _, value := range values[field] {
			text := regexp.MustCompile(`(?m)^`+field+`: .*\n`).ReplaceAllLiteralString(golden, field+": "+value+"\n")
			if field == "test" {
				text = strings.Replace(golden, "ledger:", "test: "+value+"\nledger:", 1)
			}
			s, err := admission.ParseStatement([]byte(text))
			w.say(fmt.Sprintf("statement, %s %q, read %v", field, value, s != admission.Statement{}), err)
		}
	}
	damages(golden, func(name, bad string) {
		_, err := admission.ParseStatement([]byte(bad))
		w.say("statement, "+name, err)
	})
	w.flush()
}

func mapsKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func tellRosters(w *told, n *network) {
	msg := n.roster(12, func(r *admission.Roster) {
		late := r.Barred[0]
		late.Node, late.State, late.Check, late.Reason = "org-c/validator-2", admission.StateLate, "node.late", "silent"
		r.Barred = append(r.Barred, late)
	})
	text, _, _ := strings.Cut(string(msg), "\n\n")
	text += "\n"
	damages(text, func(name, bad string) {
		r, err := admission.ParseRoster([]byte(bad))
		w.say(fmt.Sprintf("roster, %s, %d listed", name, len(r.Admitted)+len(r.Barred)), err)
	})
	for _, field := range []string{"admitted", "barred"} {
		for _, count := range []string{"0", "1", "2", "3", "4", "5", "6", "7", "200000", "200001", "18446744073709551615", "x"} {
			bad := regexp.MustCompile(`(?m)^`+field+`: .*$`).ReplaceAllLiteralString(text, field+": "+count)
			_, err := admission.ParseRoster([]byte(bad))
			w.say("roster, "+field+" "+count, err)
		}
	}
	for _, number := range []string{"0", "9223372036854775808", "18446744073709551616"} {
		_, err := admission.ParseRoster([]byte(strings.Replace(text, "number: 12", "number: "+number, 1)))
		w.say("roster, number "+number, err)
	}
	w.flush()
}

// tellRosterFields accounts for rosters that cannot be printed, and their twins.
func tellRosterFields(w *told, n *network) {
	second := func(t time.Time) time.Time { return t.Add(time.Millisecond) }
	for _, row := range []struct {
		name   string
		change func(*admission.Roster)
	}{
		{"as it is", func(*admission.Roster) {}},
		{"consortium", func(r *admission.Roster) { r.Consortium = "A" }},
		{"ledger id", func(r *admission.Roster) { r.Ledger.ID = "" }},
		{"genesis", func(r *admission.Roster) { r.Ledger.Genesis = admission.Digest{} }},
		{"verifier", func(r *admission.Roster) { r.Verifier = "A" }},
		{"number", func(r *admission.Roster) { r.Number = 0 }},
		{"issued", func(r *admission.Roster) { r.Issued = second(r.Issued) }},
		{"node", func(r *admission.Roster) { r.Admitted[0].Node = "a" }},
		{"role", func(r *admission.Roster) { r.Admitted[0].Role = "A" }},
		{"serial 0", func(r *admission.Roster) { r.Admitted[0].Serial = 0 }},
		{"serial 1", func(r *admission.Roster) { r.Admitted[0].Serial = 1 }},
		{"not after", func(r *admission.Roster) { r.Admitted[0].NotAfter = second(r.Issued) }},
		{"host", func(r *admission.Roster) { r.Admitted[0].Host = "a" }},
		{"node key", func(r *admission.Roster) { r.Admitted[0].NodeKey = admission.Digest{} }},
		{"consensus key", func(r *admission.Roster) { r.Admitted[0].ConsensusKey = "a" }},
		{"no consensus key", func(r *admission.Roster) { r.Admitted[1].ConsensusKey = "" }},
		{"host twice", func(r *admission.Roster) { r.Admitted[1].Host = r.Admitted[0].Host }},
		{"node key twice", func(r *admission.Roster) { r.Admitted[1].NodeKey = r.Admitted[0].NodeKey }},
		{"node twice", func(r *admission.Roster) { r.Admitted[1].Node = r.Admitted[0].Node }},
		{"out of order", func(r *admission.Roster) { r.Admitted[0], r.Admitted[1] = r.Admitted[1], r.Admitted[0] }},
		{"barred twice", func(r *admission.Roster) { r.Barred = append(r.Barred, r.Barred[0]) }},
		{"barred out of order", func(r *admission.Roster) {
			r.Barred = append(r.Barred, r.Barred[0])
			r.Barred[1].Node = "org-a/z"
		}},
		{"in both", func(r *admission.Roster) { r.Barred[0].Node = r.Admitted[1].Node }},
		{"barred node", func(r *admission.Roster) { r.Barred[0].Node = "a" }},
		{"barred since", func(r *admission.Roster) { r.Barred[0].Since = second(r.Issued) }},
		{"barred check", func(r *admission.Roster) { r.Barred[0].Check = "" }},
		{"barred state", func(r *admission.Roster) { r.Barred[0].State = "" }},
		{"no reason", func(r *admission.Roster) { r.Barred[0].Reason = "" }},
		{"a reason in two lines", func(r *admission.Roster) { r.Barred[0].Reason = "a\nb" }},
		{"a reason of 256 bytes", func(r *admission.Roster) { r.Barred[0].Reason = strings.Repeat("a", 256) }},
		{"a reason of 257 bytes", func(r *admission.Roster) { r.Barred[0].Reason = strings.Repeat("a", 257) }},
		{"late", func(r *admission.Roster) { r.Barred[0].State = admission.StateLate }},
		{"suspended", func(r *admission.Roster) { r.Barred[0].State = admission.StateSuspended }},
		{"quarantined", func(r *admission.Roster) { r.Barred[0].State = admission.StateQuarantined }},
	} {
		list := n.verifyRoster(n.roster(1, nil), nil).Roster()
		row.change(&list)
		text, err := list.Marshal()
		w.say(fmt.Sprintf("roster of %d bytes, %s", len(text), row.name), err)
	}
	w.flush()
}

func tellConsortium(w *told, n *network, file string) {
	fmt.Fprintf(w.out, "%s", file)
	changes := consortiumChanges(n)
	v := n.Verifiers
	for name, change := range map[string][2]string{
		"anchor and alias":     {"name: example-net", "name: &a example-net\nb: *a"},
		"merge":                {"ledger:", "<<: {a: b}\nledger:"},
		"plain yes":            {"test: true", "test: Yes"},
		"quoted yes":           {"name: example-net", "name: 'yes'"},
		"plain no as text":     {"name: example-net", "name: no"},
		"large number":         {"threshold: 2", "threshold: 9223372036854775807"},
		"larger number":        {"threshold: 2", "threshold: 9223372036854775808"},
		"negative number":      {"threshold: 2", "threshold: -2"},
		"plus":                 {"threshold: 2", "threshold: +2"},
		"false":                {"test: true", "test: false"},
		"False":                {"test: true", "test: False"},
		"null":                 {"name: example-net", "name: ~"},
		"bad enroll":           {"enroll: 127.0.0.1:7601", "enroll: x"},
		"port 0":               {"attest: 127.0.0.1:7600", "attest: 127.0.0.1:0"},
		"port 1":               {"attest: 127.0.0.1:7600", "attest: 127.0.0.1:1"},
		"port 65535":           {"attest: 127.0.0.1:7600", "attest: 127.0.0.1:65535"},
		"port 65536":           {"attest: 127.0.0.1:7600", "attest: 127.0.0.1:65536"},
		"port x":               {"attest: 127.0.0.1:7600", "attest: '127.0.0.1:x'"},
		"no host":              {"attest: 127.0.0.1:7600", "attest: ':7600'"},
		"host of one letter":   {"attest: 127.0.0.1:7600", "attest: 'a:7600'"},
		"space in host":        {"attest: 127.0.0.1:7600", "attest: 'a b:7600'"},
		"lowest letter":        {"attest: 127.0.0.1:7600", "attest: '!:7600'"},
		"highest letter":       {"attest: 127.0.0.1:7600", "attest: '~:7600'"},
		"DEL in host":          {"attest: 127.0.0.1:7600", "attest: \"a\\x7f:7600\""},
		"address of 300 bytes": {"attest: 127.0.0.1:7600", "attest: '" + strings.Repeat("a", 295) + ":7600'"},
		"address of 301 bytes": {"attest: 127.0.0.1:7600", "attest: '" + strings.Repeat("a", 296) + ":7600'"},
		"no members":           {file[strings.Index(file, "members:"):strings.Index(file, "approvals:")], "members: []\n"},
		"no admins":            {file[strings.Index(file, "members:"):strings.Index(file, "approvals:")], strings.ReplaceAll(file[strings.Index(file, "members:"):strings.Index(file, "approvals:")], "role: admin", "role: gate")},
		"one admin":            {file[strings.Index(file, "members:"):strings.Index(file, "approvals:")], strings.Replace(file[strings.Index(file, "members:"):strings.Index(file, "approvals:")], "role: admin", "role: gate", 2)},
		"member's name":        {"- name: org-c\n", "- name: Org\n"},
		"no templates":         {"    discrete: rsa-2048\n    virtual: ecc-p256\n", "    {}\n"},
		"one template":         {"    virtual: ecc-p256\n", ""},
		"all must approve":     {"approvals:\n  policy: 1", "approvals:\n  policy: 3"},
		"key of another name":  {v[0].LogKey, v[1].LogKey},
		"person twice":         {"- key: " + n.Members[1].Operators[0].Key, "- key: " + mustKey("org-b/alice") + "\n        role: admin\n      - key: " + mustKeySalted("org-b/alice", "2")},
		"malformed witnesses":  {n.Witnesses.Keys[0] + "\n    - " + n.Witnesses.Keys[1], "x\n    - y"},
		"malformed operators":  {"- key: " + n.Members[1].Operators[0].Key, "- key: x\n        role: admin\n      - key: y"},
		"other member's label": {n.Members[0].Operators[0].Key, mustKeySalted("org-b/carol", "3")},
	} {
		changes[name] = change
	}
	for _, name := range slices.Sorted(mapsKeys(changes)) {
		text := strings.Replace(file, changes[name][0], changes[name][1], 1)
		if text == file && name != "as it is" {
			w.say("consortium, "+name, errors.New("nothing changed"))
			continue
		}
		_, err := admission.ParseConsortium([]byte(text))
		w.say("consortium, "+name, err)
	}
	for _, text := range []string{"", "# nothing\n", "{", "a: b\n---\nc: d\n", "- 1\n", "a: 'b\n", "members: 7\n", "x\x00y"} {
		_, err := admission.ParseConsortium([]byte(text))
		w.say(fmt.Sprintf("consortium %q", text), err)
	}
	w.flush()
}

func mustKeySalted(name, salt string) string {
	_, vkey := noteKey(name, salt)
	return vkey
}

func tellBundles(w *told, n *network) {
	item, second := n.item(0, nil), n.item(1, nil)
	damages(string(item.Proof), func(name, bad string) {
		b := admission.Bundle{Items: []admission.Item{item, {Admission: second.Admission, Proof: []byte(bad)}}}
		_, err := admission.ParseBundle(b.Marshal())
		w.say("proof, "+name, err)
	})
	_, block, _ := strings.Cut(string(item.Admission), "\n\n")
	for _, bad := range []string{"", "\n", block + block, strings.TrimSuffix(block, "\n"), "-" + block, block[:30] + "\n", strings.TrimSuffix(block, "\n") + "=\n"} {
		text, _, _ := strings.Cut(string(item.Admission), "\n\n")
		bad := admission.Item{Admission: []byte(text + "\n\n" + bad), Proof: item.Proof}
		_, err := bad.UntrustedStatement()
		w.say(fmt.Sprintf("signature, %d bytes", len(bad.Admission)), err)
		_, err = n.VerifyItem(bad, n.want(), now)
		w.say(fmt.Sprintf("signature, %d bytes, verified", len(bad.Admission)), err)
	}
	_, err := admission.Item{Admission: []byte("text")}.UntrustedStatement()
	w.say("signature, none", err)
	good := string(marshal(n.t, item, second))
	for _, header := range []string{"", "quorate/bundle", "quorate/bundle/v2\n", "quorate/bundle/v1", "quorate/bundle/v1\n", "quorate/bundle/v1\nadmission", "quorate/bundle/v1\nadmission 0\n", "quorate/bundle/v1\nadmission 1\nxproof 0\n", "quorate/bundle/v1\nadmission 1\nxproof 1\ny"} {
		_, err := admission.ParseBundle([]byte(header))
		w.say(fmt.Sprintf("bundle %q", header), err)
	}
	for i := strings.Index(good, "proof "); i < strings.Index(good, "proof ")+12; i++ {
		bad := []byte(good)
		bad[i] ^= 1
		_, err := admission.ParseBundle(bad)
		w.say(fmt.Sprintf("bundle, byte %d", i), err)
	}
	w.flush()
}

// TestAccount holds what is said of every damage against an account that was
// read by a person.
func TestAccount(t *testing.T) {
	var out bytes.Buffer
	w := &told{out: &out}
	n, file := fullFile(t)
	tellStatements(w)
	tellRosters(w, n)
	tellRosterFields(w, n)
	tellConsortium(w, n, file)
	tellBundles(w, twoOfTwo(t))
	account.Hold(t, "testdata/account.txt", out.Bytes())
}
