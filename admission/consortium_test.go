package admission_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/simulator/weigh"
)

func fullFile(t testing.TB) (*network, string) {
	t.Helper()
	n := newNetwork(t, options{verifiers: 3, k: 2, witnesses: 2, w: 1, test: true})
	file, err := n.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return n, string(file)
}

func TestConsortiumFile(t *testing.T) {
	n, file := fullFile(t)
	v, ok := n.Verifier("org-b.verifier.example-net")
	if !ok || v.Member != "org-b" || v.LogOrigin() != "org-b.verifier.example-net/journal" {
		t.Errorf("got %+v", v)
	}
	if _, ok := n.Verifier("org-x.verifier.example-net"); ok {
		t.Error("found a verifier that is not there")
	}
	if key, ok := n.AdmissionKey(v.Name); !ok || key.Name() != v.Name {
		t.Error("admission key")
	}
	if _, ok := n.LogPolicy(v.Name); !ok {
		t.Error("log policy")
	}
	if _, ok := n.LogPolicy("nobody"); ok {
		t.Error("log policy of nobody")
	}

	commented := "# our network\n" + strings.Replace(file, "name: example-net", "name:   'example-net' # the name", 1)
	again, err := admission.ParseConsortium([]byte(commented))
	if err != nil || again.Digest() != n.Digest() || n.Digest().IsZero() {
		t.Errorf("comments and quoting change the digest, or: %v", err)
	}
	changed, err := admission.ParseConsortium([]byte(strings.Replace(file, "threshold: 2", "threshold: 3", 1)))
	if err != nil || changed.Digest() == n.Digest() {
		t.Errorf("another threshold keeps the digest, or: %v", err)
	}
}

func TestOperators(t *testing.T) {
	_, vkey := noteKey("org-a/bob", "operator")
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := fullFile(t)
	c := *n.Consortium
	c.Members = slices.Clone(c.Members)
	private := key("carol")
	carol, err := note.NewEd25519VerifierKey("org-a/carol", private.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	c.Members[0].Operators = append(c.Members[0].Operators, admission.Operator{Key: vkey, Role: admission.RoleAuditor}, admission.Operator{Key: carol, Role: admission.RoleGate})
	parsed := parse(t, &c)
	o, ok := parsed.Operator(spki(t, private.Public().(ed25519.PublicKey)))
	if !ok || o.Member != "org-a" || o.Role != admission.RoleGate || o.Name() != "org-a/carol" {
		t.Errorf("got %+v, %v", o, ok)
	}
	if _, ok := parsed.Operator(spki(t, key("stranger").Public().(ed25519.PublicKey))); ok {
		t.Error("a stranger is an operator")
	}
	if verifier.Name() != "org-a/bob" {
		t.Error("fixture")
	}
}

// consortiumChanges are changes of the full file by which it must not be read.
func consortiumChanges(n *network) map[string][2]string {
	v := n.Verifiers
	return map[string][2]string{
		"format":                {"consortium: quorate/v1", "consortium: quorate/v2"},
		"unknown key":           {"threshold: 2", "threshold: 2\ncaps: 3"},
		"repeated key":          {"threshold: 2", "threshold: 2\nthreshold: 2"},
		"name":                  {"name: example-net", "name: Example"},
		"ledger":                {"id: example-1", "id: 'exam ple'"},
		"genesis":               {n.Ledger.Genesis.String(), "sha256:00"},
		"zero genesis":          {n.Ledger.Genesis.String(), "sha256:" + zeros + "00"},
		"no threshold":          {"threshold: 2", "threshold: 0"},
		"threshold too high":    {"threshold: 2", "threshold: 4"},
		"verifier name":         {"name: " + v[0].Name, "name: Org-A"},
		"verifier twice":        {v[1].Name, v[0].Name},
		"unknown member":        {"member: org-a", "member: org-x"},
		"key of another name":   {v[0].AdmissionKey, v[1].AdmissionKey},
		"log key as admission":  {v[0].AdmissionKey, v[0].LogKey},
		"malformed key":         {v[0].AdmissionKey, v[0].AdmissionKey[:len(v[0].AdmissionKey)-4]},
		"witness as log":        {v[0].LogKey, n.Witnesses.Keys[0]},
		"log as witness":        {n.Witnesses.Keys[0], v[0].LogKey},
		"witness twice":         {n.Witnesses.Keys[0], n.Witnesses.Keys[1]},
		"too few witnesses":     {"witnesses:\n  threshold: 1", "witnesses:\n  threshold: 3"},
		"negative witnesses":    {"witnesses:\n  threshold: 1", "witnesses:\n  threshold: -1"},
		"address":               {"attest: 127.0.0.1:7600", "attest: 127.0.0.1"},
		"port":                  {"attest: 127.0.0.1:7600", "attest: 127.0.0.1:07600"},
		"TLS key":               {v[0].TLSKey.String(), "sha256:xyz"},
		"role":                  {"role: admin", "role: god"},
		"approvals":             {"approvals:\n  policy: 1", "approvals:\n  policy: 0"},
		"too many approvals":    {"approvals:\n  policy: 1", "approvals:\n  policy: 4"},
		"class":                 {"discrete: rsa-2048", "quantum: rsa-2048"},
		"template":              {"discrete: rsa-2048", "discrete: rsa-1024"},
		"roots":                 {n.Endorsement.Roots.String(), "''"},
		"second document":       {"consortium: quorate/v1", "consortium: quorate/v1\n---\na: b"},
		"alias":                 {"name: example-net", "name: &x example-net"},
		"tag":                   {"name: example-net", "name: !!str example-net"},
		"operator of another":   {n.Members[0].Operators[0].Key, n.Members[1].Operators[0].Key},
		"member twice":          {"- name: org-c\n", "- name: org-b\n"},
		"wrong type":            {"threshold: 2", "threshold: many"},
		"fraction":              {"threshold: 2", "threshold: 2.9"},
		"exponent":              {"threshold: 2", "threshold: 2e0"},
		"hexadecimal":           {"threshold: 2", "threshold: 0x2"},
		"octal":                 {"threshold: 2", "threshold: 02"},
		"underscore":            {"threshold: 2", "threshold: 2_"},
		"not YAML":              {"consortium: quorate/v1", "{"},
		"test as text":          {"test: true", "test: maybe"},
		"hash of key":           {"+", "+0"},
		"operator's name":       {n.Members[0].Operators[0].Key, mustKey("org-a/Alice")},
		"operator without org":  {n.Members[0].Operators[0].Key, mustKey("alice")},
		"capital hash of a key": {v[0].AdmissionKey, strings.ToUpper(v[0].AdmissionKey)},
	}
}

func TestConsortiumFileIsStrict(t *testing.T) {
	n, file := fullFile(t)
	for name, change := range consortiumChanges(n) {
		text := strings.Replace(file, change[0], change[1], 1)
		if text == file {
			t.Errorf("%s: nothing changed", name)
			continue
		}
		_, err := admission.ParseConsortium([]byte(text))
		var problems *admission.ConsortiumError
		if !errors.As(err, &problems) || len(problems.Problems) == 0 {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for _, b := range [][]byte{nil, []byte("# nothing\n"), bytes.Repeat([]byte("#"), admission.MaxConsortium+1)} {
		var problems *admission.ConsortiumError
		if _, err := admission.ParseConsortium(b); !errors.As(err, &problems) {
			t.Errorf("%d bytes: got %v", len(b), err)
		}
	}
}

func mustKey(name string) string {
	_, vkey := noteKey(name, "operator")
	return vkey
}

func TestConsortiumReportsAllProblems(t *testing.T) {
	_, file := fullFile(t)
	text := strings.NewReplacer("threshold: 2", "threshold: 9", "role: admin", "role: user", "id: example-1", "id: ''", "policy: 1", "policy: 7").Replace(file)
	_, err := admission.ParseConsortium([]byte(text))
	var problems *admission.ConsortiumError
	if !errors.As(err, &problems) {
		t.Fatal(err)
	}
	for _, where := range []string{"ledger.id:", "threshold:", "members[0].operators[0].role:", "members[2].operators[0].role:", "members:", "approvals.policy:"} {
		if !slices.ContainsFunc(problems.Problems, func(p string) bool { return strings.HasPrefix(p, where) }) {
			t.Errorf("nothing said about %s\n%v", where, err)
		}
	}
}

func FuzzConsortium(f *testing.F) {
	_, file := fullFile(f)
	seeds := []string{file, "consortium: quorate/v1\n", "{}", "a: &b [*b]", "- 1"}
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	if _, err := admission.ParseConsortium([]byte(seeds[0])); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		weigh.Bounded(t, len(b), func() { _, _ = admission.ParseConsortium(b) })
		c, err := admission.ParseConsortium(b)
		if err != nil {
			var problems *admission.ConsortiumError
			if !errors.As(err, &problems) {
				t.Fatalf("got %T", err)
			}
			return
		}
		printed, err := c.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := admission.ParseConsortium(printed)
		if err != nil || again.Digest() != c.Digest() {
			t.Fatalf("printed and parsed: %v\n%s", err, printed)
		}
		if twice, err := again.Marshal(); err != nil || !bytes.Equal(twice, printed) {
			t.Fatalf("printed twice, differently: %v", err)
		}
	})
}
