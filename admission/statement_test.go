package admission_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/simulator/weigh"
)

const golden = `quorate/admission/v1
consortium: example-net
ledger: example-1 sha256:` + zeros + `01
node: org-a/validator-1
host: ` + zeros + `02
role: validator
consensus-key: ed25519:AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
node-key: sha256:` + zeros + `03
policy: validators sha256:` + zeros + `04
evidence: sha256:` + zeros + `05
epoch: 4/0
beacon: 7 sha256:` + zeros + `06
not-before: 2026-11-22T16:00:00Z
not-after: 2026-11-23T16:00:00Z
verifier: org-a.verifier.example-net
serial: 1187
`

const zeros = "00000000000000000000000000000000000000000000000000000000000000"

func last(b byte) (d admission.Digest) {
	d[31] = b
	return d
}

func goldenStatement() admission.Statement {
	return admission.Statement{
		Consortium: "example-net", Ledger: admission.Ledger{ID: "example-1", Genesis: last(1)},
		Node: "org-a/validator-1", Host: zeros + "02", Role: "validator",
		ConsensusKey: "ed25519:AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", NodeKey: last(3),
		Policy: admission.PolicyRef{Name: "validators", Digest: last(4)}, Evidence: last(5), Epoch: admission.Epoch{Reset: 4},
		Beacon:    admission.Beacon{Height: 7, Hash: last(6)},
		NotBefore: now, NotAfter: now.Add(24 * time.Hour), Verifier: "org-a.verifier.example-net", Serial: 1187,
	}
}

func TestStatementText(t *testing.T) {
	text, err := goldenStatement().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != golden {
		t.Errorf("got\n%s", text)
	}
	s, err := admission.ParseStatement([]byte(golden))
	if err != nil || s != goldenStatement() {
		t.Errorf("got %+v, %v", s, err)
	}
	test := strings.Replace(golden, "ledger:", "test: true\nledger:", 1)
	if s, err = admission.ParseStatement([]byte(test)); err != nil || !s.Test {
		t.Errorf("got %+v, %v", s, err)
	}
	blockless := strings.Replace(golden, "7 sha256:"+zeros+"06", "none", 1)
	if s, err = admission.ParseStatement([]byte(blockless)); err != nil || !s.Beacon.IsZero() {
		t.Errorf("got %+v, %v", s, err)
	}
	none := strings.Replace(golden, "ed25519:AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "none", 1)
	if s, err = admission.ParseStatement([]byte(none)); err != nil || s.ConsensusKey != "" {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestStatementIsStrict(t *testing.T) {
	for _, change := range [][2]string{
		{"serial: 1187", "serial: 01187"}, {"serial: 1187", "serial: +1187"}, {"serial: 1187", "serial: 0"}, {"serial: 1187", "serial: 18446744073709551616"},
		{"serial: 1187\n", "serial: 1187"}, {"serial: 1187\n", "serial: 1187\n\n"}, {"serial: 1187\n", "serial: 1187 \n"}, {"serial: 1187\n", "serial: 1187\r\n"},
		{"epoch: 4/0", "epoch: 4/00"}, {"epoch: 4/0", "epoch: 4"}, {"epoch: 4/0", "epoch: 4294967296/0"}, {"epoch: 4/0", "epoch: -4/0"},
		{"beacon: 7 ", "beacon: 0 "}, {"beacon: 7 ", "beacon: 07 "}, {"beacon: 7 ", "beacon: -7 "}, {"beacon: 7 ", "beacon: 7"}, {"beacon: 7 ", "beacon: "},
		{zeros + "06", zeros + "00"}, {"7 sha256:" + zeros + "06", "0 sha256:" + zeros + "00"}, {"7 sha256:" + zeros + "06", "None"}, {"7 sha256:" + zeros + "06", "7 none"},
		{"16:00:00Z", "16:00:00.0Z"}, {"16:00:00Z", "16:00:00+00:00"}, {"16:00:00Z", "16:00:00z"}, {"2026-11-23T16", "2026-11-23T6"}, {"2026-11-23", "2026-11-31"},
		{"2026-11-23T16:00:00Z", "2026-11-22T16:00:00Z"}, {"2026-11-23", "2026-12-23"}, {"2026-11-23", "1926-11-23"},
		{"node: org-a/validator-1", "node: Org-a/validator-1"}, {"node: org-a/validator-1", "node: validator-1"}, {"node: org-a/validator-1", "node: org-a/v/1"},
		{"host: 0", "host: A"}, {"host: 00", "host: 0"}, {"role: validator", "role: "}, {"role: validator", "role:  validator"},
		{"ed25519:AQ", "ed25519:AA=="}, {"AAAA=\n", "AAAB=\n"}, {"ed25519:", "rsa:"}, {"consensus-key: ed25519:AQ", "consensus-key: \nAQ"},
		{"sha256:" + zeros + "03", "sha256:" + zeros + "0"}, {"sha256:" + zeros + "03", "sha1:" + zeros + "03"}, {"sha256:" + zeros + "03", "sha256:" + zeros + "00"},
		{"policy: validators ", "policy: "}, {"policy: validators ", "policy: validators  "}, {"ledger: example-1 ", "ledger: example-1  "}, {"ledger: example-1", "ledger: exa mple-1"},
		{"consortium: ", "Consortium: "}, {"consortium: example-net\n", ""}, {"ledger:", "test: false\nledger:"}, {"ledger:", "test: true\ntest: true\nledger:"},
		{"role: validator\n", "role: validator\nrole: validator\n"}, {"admission/v1", "admission/v2"}, {"quorate", " quorate"}, {"verifier: org-a", "verifier: ORG-a"},
		{"verifier: org-a.", "verifier: org-a.."},
	} {
		text := strings.Replace(golden, change[0], change[1], 1)
		if text == golden {
			t.Fatalf("%q changes nothing", change)
		}
		_, err := admission.ParseStatement([]byte(text))
		if err == nil {
			t.Errorf("%q → %q: accepted", change[0], change[1])
			continue
		}
		wantRefusal(t, err, admission.Malformed)
	}
}

func TestSignRefuses(t *testing.T) {
	s := goldenStatement()
	other, _ := noteKey("org-b.verifier.example-net", "admission")
	if _, err := s.Sign(other); err == nil {
		t.Error("another verifier's key signed")
	}
	own, _ := noteKey(s.Verifier, "admission")
	s.NotBefore = s.NotBefore.Add(time.Millisecond)
	if _, err := s.Sign(own); err == nil {
		t.Error("a time that cannot be written was signed")
	}
	if _, err := (admission.Statement{}).Sign(own); err == nil {
		t.Error("an empty statement was signed")
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("a", 63)
	for s, ok := range map[string]bool{
		"org-a/validator-1": true, long + "/" + long: true, "a/0": true,
		"": false, "/": false, "a/": false, "/a": false, "a": false, "a/b/c": false, "a/-b": false, "a/b-": false, "a/B": false,
		"a/b_c": false, "a/" + long + "a": false, "a/b\n": false, "ä/b": false, "a/b.c": false,
	} {
		if admission.ValidNodeID(s) != ok {
			t.Errorf("node id %q", s)
		}
	}
	for s, ok := range map[string]bool{
		"org-a.verifier.example-net": true, "a": true, strings.Repeat("abcdefg.", 31) + "abcde": true,
		"": false, ".": false, "a.": false, ".a": false, "a..b": false, "A": false, "a/b": false, strings.Repeat("abcdefg.", 31) + "abcdef": false,
	} {
		if admission.ValidVerifierName(s) != ok {
			t.Errorf("verifier name %q (%d bytes)", s, len(s))
		}
	}
	for s, ok := range map[string]bool{"cosmoshub-4": true, "evmos_9001-2": true, "A.b": true, "": false, "-a": false, "a b": false, "a\n": false, strings.Repeat("a", 65): false} {
		if admission.ValidToken(s) != ok {
			t.Errorf("token %q", s)
		}
	}
	if admission.NodeMember("org-a/validator-1") != "org-a" {
		t.Error("member of a node")
	}
}

func TestChecksAreComplete(t *testing.T) {
	seen := map[admission.CheckID]bool{}
	for _, c := range admission.Checks() {
		if !strings.HasPrefix(string(c.ID), "admission.") || seen[c.ID] || c.Title == "" || c.Protects == "" || c.Want == "" || c.Remedy == "" {
			t.Errorf("incomplete: %+v", c)
		}
		seen[c.ID] = true
		if found, ok := admission.Lookup(c.ID); !ok || found != c {
			t.Errorf("%s is not found", c.ID)
		}
	}
	if len(seen) < 25 {
		t.Errorf("only %d checks", len(seen))
	}
	if _, ok := admission.Lookup("admission.no-such"); ok {
		t.Error("found what is not there")
	}
}

func FuzzStatement(f *testing.F) {
	seeds := []string{golden, strings.Replace(golden, "ledger:", "test: true\nledger:", 1), strings.Replace(golden, "serial: 1", "serial: 01", 1), "quorate/admission/v1\n"}
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	if _, err := admission.ParseStatement([]byte(seeds[0])); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		weigh.Bounded(t, len(text), func() { _, _ = admission.ParseStatement(text) })
		s, err := admission.ParseStatement(text)
		if err != nil {
			wantRefusal(t, err, admission.Malformed)
			return
		}
		again, err := s.Marshal()
		if err != nil || !bytes.Equal(again, text) {
			t.Fatalf("printed as %q, %v", again, err)
		}
	})
}
