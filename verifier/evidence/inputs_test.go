package evidence_test

import (
	"bytes"
	"crypto/elliptic"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/verdict"
)

// A verifier that lost one of its expectations must not find evidence in order
// for want of anything to compare it with. That is its own fault, no refusal.
func TestExpectationsAreComplete(t *testing.T) {
	for name, forget := range map[string]func(*evidence.Expected){
		"attestation key":         func(w *evidence.Expected) { w.AK = nil },
		"verifier":                func(w *evidence.Expected) { w.Verifier, w.Challenge.Verifier = "", "" },
		"challenge of the same":   func(w *evidence.Expected) { w.Challenge.Verifier = "org-b.verifier" },
		"node":                    func(w *evidence.Expected) { w.Node = "" },
		"nonce":                   func(w *evidence.Expected) { w.Challenge.Nonce = [32]byte{} },
		"exporter":                func(w *evidence.Expected) { w.Challenge.Exporter = [32]byte{} },
		"genesis":                 func(w *evidence.Expected) { w.Ledger.Genesis = [32]byte{} },
		"node key":                func(w *evidence.Expected) { w.NodeKey = [32]byte{} },
		"bank":                    func(w *evidence.Expected) { w.Bank = eventlog.SHA384 },
		"PCRs":                    func(w *evidence.Expected) { w.PCRs = nil },
		"the last PCR of a boot":  func(w *evidence.Expected) { w.PCRs = quotedPCRs[:14] },
		"the first PCR of a boot": func(w *evidence.Expected) { w.PCRs = append(quotedPCRs[1:15:15], 15) },
		"order after the boot's":  func(w *evidence.Expected) { w.PCRs = append(quotedPCRs[:15:15], 13) },
		"distinct PCRs":           func(w *evidence.Expected) { w.PCRs = append(quotedPCRs[:15:15], 15, 15) },
		"PCRs that exist":         func(w *evidence.Expected) { w.PCRs = append(quotedPCRs[:15:15], 16) },
	} {
		each(t, name, func(s *scene) {
			forget(&s.want)
			v, err := s.verify()
			var refusal *verdict.Refusal
			if err == nil || v != nil || errors.As(err, &refusal) || !strings.HasPrefix(err.Error(), "evidence: ") {
				t.Errorf("without %s: %v, %v", name, v, err)
			}
		})
	}
	each(t, "twin", func(s *scene) { s.passes() })
	each(t, "twin with one more PCR", func(s *scene) {
		s.want.PCRs = append(quotedPCRs[:15:15], 15)
		s.answer()
		s.passes()
	})
}

// alter returns a copy with a number written over the bytes at an offset.
func alter(public []byte, at int, bytesWide int, number uint64) []byte {
	out := bytes.Clone(public)
	var wide [8]byte
	binary.BigEndian.PutUint64(wide[:], number)
	copy(out[at:at+bytesWide], wide[8-bytesWide:])
	return out
}

// Offsets in a TPMT_PUBLIC of a signing key without a policy.
const (
	nameAlgAt, symmetricAt, schemeAt, hashAt = 2, 10, 12, 14
	curveAt, kdfAt, xAt, yAt                 = 16, 18, 20, 54
	bitsAt, exponentAt, modulusAt            = 16, 18, 22
)

func TestAttestationKeysAreStrict(t *testing.T) {
	ecc := papertpm.ECCKey(elliptic.P256(), "strict", papertpm.AKAttributes()).Bytes()
	key, err := papertpm.RSAKey(2048, papertpm.AKAttributes())
	if err != nil {
		t.Fatal(err)
	}
	rsa := key.Bytes()
	even := bytes.Clone(rsa)
	even[len(even)-1] &^= 1
	short := bytes.Clone(rsa)
	short[modulusAt+2] = 0 // the highest byte
	for name, public := range map[string][]byte{
		"none":                      {},
		"too long":                  append(bytes.Clone(ecc), make([]byte, 2000)...),
		"trailing byte":             append(bytes.Clone(ecc), 0),
		"cut":                       ecc[:len(ecc)-1],
		"name algorithm SHA-1":      alter(ecc, nameAlgAt, 2, 0x0004),
		"symmetric algorithm":       alter(ecc, symmetricAt, 2, 0x0006),
		"scheme ECDAA":              alter(ecc, schemeAt, 2, 0x001a),
		"scheme of RSA":             alter(ecc, schemeAt, 2, 0x0014),
		"hash SHA-1":                alter(ecc, hashAt, 2, 0x0004),
		"hash SHA-384 on P-256":     alter(ecc, hashAt, 2, 0x000c),
		"curve P-384":               alter(ecc, curveAt, 2, 0x0004),
		"key derivation":            alter(ecc, kdfAt, 2, 0x0020),
		"type of RSA":               alter(ecc, 0, 2, 0x0001),
		"type of a keyed hash":      alter(ecc, 0, 2, 0x0008),
		"point at another place":    alter(ecc, yAt+2, 8, 1),
		"RSA with scheme of ECC":    alter(rsa, schemeAt, 2, 0x0018),
		"RSA without scheme":        alter(rsa, schemeAt, 2, 0x0010),
		"RSA exponent 3":            alter(rsa, exponentAt, 4, 3),
		"RSA exponent 1":            alter(rsa, exponentAt, 4, 1),
		"RSA of 1024 bits, as said": alter(rsa, bitsAt, 2, 1024),
		"RSA of 2049 bits, as said": alter(rsa, bitsAt, 2, 2049),
		"RSA of 3072 bits, as said": alter(rsa, bitsAt, 2, 3072),
		"RSA of 8192 bits, as said": alter(rsa, bitsAt, 2, 8192),
		"RSA with an even modulus":  even,
		"RSA with a short modulus":  short,
		"RSA cut":                   rsa[:len(rsa)-1],
		"RSA with trailing byte":    append(bytes.Clone(rsa), 0),
	} {
		k, err := evidence.ParseAK(public)
		var refusal *verdict.Refusal
		if k != nil || !errors.As(err, &refusal) || refusal.Check != verdict.QuoteKey && refusal.Check != verdict.QuoteFormat {
			t.Errorf("%s: %v", name, err)
		}
	}
	wide := bytes.Clone(ecc[:xAt])
	wide = append(wide, 0, 33, 0)
	wide = append(append(wide, ecc[xAt+2:yAt]...), ecc[yAt:]...)
	if _, err := evidence.ParseAK(wide); err == nil {
		t.Error("a coordinate of 33 bytes")
	}
	for name, public := range map[string][]byte{
		"ECC": ecc, "RSA": rsa, "RSA with the exponent written out": alter(rsa, exponentAt, 4, 65537),
		"RSA with SHA-384": alter(rsa, hashAt, 2, 0x000c), "RSAPSS": alter(rsa, schemeAt, 2, 0x0016), "named by SHA-384": alter(ecc, nameAlgAt, 2, 0x000c),
	} {
		if k, err := evidence.ParseAK(public); err != nil || !bytes.Equal(k.Public(), public) {
			t.Errorf("twin, %s: %v", name, err)
		}
	}
}

// A recorded challenge with parts of a wrong size is no record of a challenge.
func TestRecordedChallenges(t *testing.T) {
	for name, spoil := range map[string]func(*evidence.Challenge){
		"short nonce":     func(c *evidence.Challenge) { c.Nonce = c.Nonce[:31] },
		"long nonce":      func(c *evidence.Challenge) { c.Nonce = append(bytes.Clone(c.Nonce), 0) },
		"short exporter":  func(c *evidence.Challenge) { c.Exporter = c.Exporter[:31] },
		"long exporter":   func(c *evidence.Challenge) { c.Exporter = append(bytes.Clone(c.Exporter), 0) },
		"short block":     func(c *evidence.Challenge) { c.Block = make([]byte, 31) },
		"long block":      func(c *evidence.Challenge) { c.Block = make([]byte, 33) },
		"another's block": func(c *evidence.Challenge) { c.Height, c.Block = 9, bytes.Repeat([]byte{9}, 32) },
	} {
		for _, own := range []bool{true, false} {
			s := newScene(t)
			s.want.Challenge.Beacon = binding.Beacon{Height: 8, Hash: [32]byte{8}}
			s.answer()
			s.passes()
			f := s.record()
			if _, err := f.Verify(); err != nil {
				t.Fatal("twin:", err)
			}
			c := &f.Record.Challenge
			if !own {
				c = &f.Record.Challenges[0]
			}
			spoil(c)
			if _, err := f.Verify(); err == nil {
				t.Errorf("%s, own %v: verified", name, own)
			}
		}
	}
}
