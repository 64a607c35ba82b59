package journal

import (
	"bytes"
	"crypto/rand"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/simulator/weigh"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/verdict"
)

const verifierName = "org-a.verifier.example-net"

var now = time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC)

func newNode(t testing.TB, id string, n byte) node.Record {
	t.Helper()
	rec, err := node.New(node.Identity{
		ID: id, Role: "validator", HostID: strings.Repeat("8c", 31) + string("0123456789abcdef"[n&15]) + "0", AK: []byte{n}, AKName: []byte{n},
		NodeKey: node.Digest{n}, NodeKeyPublic: []byte{n}, TPMClass: "discrete", TPMVendor: "<STM & Ö>",
	}, nil, 1, "", now)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func admissionKey(t testing.TB) (note.Signer, note.Verifier) {
	t.Helper()
	private, public, err := note.GenerateKey(rand.Reader, verifierName)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return signer, verifier
}

func signedAdmission(t testing.TB, signer note.Signer, rec node.Record, serial uint64) Admission {
	t.Helper()
	s := admission.Statement{
		Consortium: "example-net", Test: true, Ledger: admission.Ledger{ID: "example-1", Genesis: admission.Digest{1}}, Node: rec.ID,
		Host: rec.HostID, Role: rec.Role, NodeKey: admission.Digest(rec.NodeKey), Policy: admission.PolicyRef{Name: "validators", Digest: admission.Digest{2}},
		Evidence: admission.Digest{3}, Epoch: admission.Epoch{Reset: 4}, NotBefore: now, NotAfter: now.Add(time.Hour), Verifier: verifierName, Serial: serial,
	}
	signed, err := s.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	return Admission{Note: signed, Statement: s}
}

// bodies returns one entry of every type.
func bodies(t testing.TB) []Body {
	signer, _ := admissionKey(t)
	rec, denied := newNode(t, "org-a/validator-1", 1), verdict.Denied
	rec.Findings = []verdict.Finding{{Check: "boot.image", Got: `<a> & "b"`}}
	all := []Body{
		Genesis{At: now, Verifier: verifierName, Consortium: "consortium: quorate/v1\nname: example-net\n"},
		Invitation{At: now, Token: node.Digest{1}, Node: "org-a/validator-1", Role: "validator", PreApproved: true, By: "org-a/ana", NotAfter: now.Add(time.Hour)},
		Policy{At: now, Digest: node.Digest{1}, Name: "validators", Version: 1, Roles: []string{"validator"}, Policy: node.Digest{2}, Manifests: []node.Digest{{3}}},
		PolicyApproval{At: now, Digest: node.Digest{1}, Operator: "org-a/ana", Member: "org-a", Note: "note\n"},
		PolicyActivation{At: now, Digest: node.Digest{1}, Role: "validator"},
		Roster{At: now, Number: 3, Digest: node.Digest{4}},
		Grant{At: now, Node: "org-a/validator-1", ConsensusKey: "ed25519:AAAA", Nonce: []byte{1, 2}, Seconds: 300, Serial: 7, Follows: 9},
		signedAdmission(t, signer, rec, 7),
	}
	for _, kind := range []Type{TypeEnrolment, TypeApproval, TypeVerdict, TypeSuspension, TypeResumption, TypeRetirement, TypeQuarantine} {
		c := Change{Kind: kind, At: now, Node: rec}
		if kind == TypeVerdict {
			c.Decision = &denied
		}
		all = append(all, c)
	}
	return all
}

func format(t testing.TB, b Body) []byte {
	t.Helper()
	raw, err := Format(b)
	if err != nil {
		t.Fatalf("%s: %v", b.Type(), err)
	}
	return raw
}

func TestFormatParse(t *testing.T) {
	for _, b := range bodies(t) {
		raw := format(t, b)
		back, err := Parse(raw)
		if err != nil || !reflect.DeepEqual(back, b) {
			t.Errorf("%s: %v\n%s\nread back as %+v", b.Type(), err, raw, back)
		}
		if !strings.HasPrefix(string(raw), "quorate/"+string(b.Type())+"/v1\n") {
			t.Errorf("%s begins with %.40q", b.Type(), raw)
		}
	}
}

func TestParseIsStrict(t *testing.T) {
	good := string(format(t, Roster{At: now, Number: 3, Digest: node.Digest{4}}))
	for name, change := range map[string][2]string{
		"trailing byte":   {"}\n", "}\nx"},
		"no newline":      {"}\n", "}"},
		"second newline":  {"}\n", "}\n\n"},
		"space":           {`"number":3`, `"number": 3`},
		"order":           {`"at":"2026-11-22T16:00:00Z","number":3`, `"number":3,"at":"2026-11-22T16:00:00Z"`},
		"duplicate field": {`"number":3`, `"number":3,"number":3`},
		"unknown field":   {`"number":3`, `"number":3,"x":1`},
		"letter case":     {`"number"`, `"Number"`},
		"missing field":   {`"number":3,`, ``},
		"null":            {`"number":3`, `"number":null`},
		"exponent":        {`"number":3`, `"number":3e0`},
		"fraction time":   {`00:00Z`, `00:00.5Z`},
		"zone":            {`16:00:00Z`, `17:00:00+01:00`},
		"digest case":     {`sha256:04`, `SHA256:04`},
		"version":         {`/v1`, `/v2`},
		"unknown type":    {`quorate/roster`, `quorate/rooster`},
		"other type":      {`quorate/roster`, `quorate/genesis`},
		"prefix":          {`quorate/`, ` quorate/`},
		"carriage return": {"/v1\n", "/v1\r\n"},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if bad == good {
			t.Fatalf("%s changes nothing", name)
		}
		if _, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%s: accepted %q", name, bad)
		}
	}
	if _, err := Parse([]byte(good)); err != nil {
		t.Errorf("twin: %v", err)
	}
}

func TestFormatRefuses(t *testing.T) {
	rec, admitted := newNode(t, "org-a/validator-1", 1), verdict.Admitted
	broken := rec
	broken.HostID = ""
	for name, b := range map[string]Body{
		"local time":            Roster{At: now.In(time.FixedZone("x", 3600)), Number: 1},
		"fraction of a second":  Roster{At: now.Add(1), Number: 1},
		"no kind":               Change{At: now, Node: rec},
		"kind of something":     Change{Kind: TypeRoster, At: now, Node: rec},
		"no decision":           Change{Kind: TypeVerdict, At: now, Node: rec},
		"decision out of place": Change{Kind: TypeApproval, At: now, Node: rec, Decision: &admitted},
		"invalid record":        Change{Kind: TypeApproval, At: now, Node: broken},
		"unsigned admission":    Admission{Note: []byte("quorate/admission/v1\n")},
	} {
		if _, err := Format(b); err == nil {
			t.Errorf("%s: formatted", name)
		}
	}
	if _, err := Format(Genesis{At: now, Consortium: strings.Repeat("x", MaxEntry)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
}

// TestLargestVerdictFits: findings as long as a record may hold them, and made
// of what JSON escapes, still fit an entry.
func TestLargestVerdictFits(t *testing.T) {
	rec, denied := newNode(t, "org-a/validator-1", 1), verdict.Denied
	many := make([]verdict.Finding, 1000)
	for i := range many {
		many[i] = verdict.Finding{Check: "c", Got: strings.Repeat(`"`, 4000)}
	}
	rec, err := node.Next(rec, node.Refused{Proof: node.Proof{Evidence: node.Digest{1}, Findings: many}, Authentic: true}, now)
	if err != nil {
		t.Fatal(err)
	}
	raw := format(t, Change{Kind: TypeVerdict, At: now, Decision: &denied, Node: rec})
	t.Logf("%d bytes, %d findings left out", len(raw), rec.Omitted)
}

func FuzzParse(f *testing.F) {
	seeds := bodies(f)
	if len(seeds) < 14 {
		f.Fatalf("%d seeds", len(seeds))
	}
	for _, b := range seeds {
		f.Add(format(f, b))
	}
	f.Fuzz(func(t *testing.T, entry []byte) {
		weigh.Bounded(t, len(entry), func() { _, _ = Parse(entry) })
		b, err := Parse(entry)
		if err != nil {
			return
		}
		if again, err := Format(b); err != nil || !bytes.Equal(again, entry) {
			t.Errorf("%q is not canonical: %q, %v", entry, again, err)
		}
	})
}
