package evidence_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/simulator/account"
	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/verdict"
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
	var r *verdict.Refusal
	if errors.As(err, &r) {
		words = fmt.Sprintf("%s at %q: got %.70q, want %.70q", r.Check, r.Where, r.Got, r.Want)
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

// damages calls with every beginning of good, and with every byte changed.
func damages(good []byte, with func(name string, bad []byte)) {
	for n := range good {
		with(fmt.Sprintf("%d bytes", n), bytes.Clone(good[:n]))
	}
	for i := range good {
		for _, change := range []byte{1, 2, 0x80} {
			bad := bytes.Clone(good)
			bad[i] ^= change
			with(fmt.Sprintf("byte %d ^ %#02x", i, change), bad)
		}
	}
	with("one byte more", append(bytes.Clone(good), 0))
}

// TestAccount holds what is said of every damage to what a TPM signs, signed
// again, and to signatures and keys, against an account that was read by a person.
func TestAccount(t *testing.T) {
	var out bytes.Buffer
	w := &told{out: &out}
	s := newScene(t)
	s.passes()
	honest := s.raw
	resign := func(quote []byte) error {
		sig, err := s.node.AK.Sign(quote)
		if err != nil {
			t.Fatal(err)
		}
		s.raw.Quote, s.raw.Signature = quote, sig.Bytes()
		_, err = s.verify()
		return err
	}
	damages(honest.Quote, func(name string, bad []byte) { w.say("quote, "+name, resign(bad)) })
	s.raw = honest
	for _, scheme := range []byte{0x14, 0x16, 0x18, 0x1a} {
		damages([]byte{0, scheme, 0, 0x0b, 0, 2, 1, 2, 0, 2, 3, 4}, func(name string, bad []byte) {
			s.raw.Signature = bad
			_, err := s.verify()
			w.say(fmt.Sprintf("signature %#02x, %s", scheme, name), err)
		})
	}
	rsa, err := papertpm.RSAKey(2048, papertpm.AKAttributes())
	if err != nil {
		t.Fatal(err)
	}
	rsa.Public.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: bytes.Repeat([]byte{0xff}, 256)})
	for _, key := range []*papertpm.Key{papertpm.ECCKey(elliptic.P256(), "account", papertpm.AKAttributes()), rsa} {
		damages(key.Bytes(), func(name string, bad []byte) {
			_, err := evidence.ParseAK(bad)
			w.say(fmt.Sprintf("key of type %#x, %s", key.Public.Type, name), err)
		})
	}
	tellEvidence(w, t)
	w.flush()
	account.Hold(t, "testdata/account.txt", out.Bytes())
}

// tellEvidence accounts for evidence whose parts do not fit, and for what the
// verifier knew before.
func tellEvidence(w *told, t *testing.T) {
	rows := map[string]func(s *scene){
		"as it is":               func(*scene) {},
		"quote of 512 bytes":     func(s *scene) { s.raw.Quote = make([]byte, 512) },
		"quote of 513 bytes":     func(s *scene) { s.raw.Quote = make([]byte, 513) },
		"signature of 520 bytes": func(s *scene) { s.raw.Signature = make([]byte, 520) },
		"signature of 521 bytes": func(s *scene) { s.raw.Signature = make([]byte, 521) },
		"boot id of 64 bytes":    func(s *scene) { s.raw.BootID = strings.Repeat("a", 64) },
		"boot id of 65 bytes":    func(s *scene) { s.raw.BootID = strings.Repeat("a", 65) },
		"boot id ' '":            func(s *scene) { s.raw.BootID = " " },
		"boot id '~'":            func(s *scene) { s.raw.BootID = "~" },
		"boot id DEL":            func(s *scene) { s.raw.BootID = "\x7f" },
		"boot id 0x1f":           func(s *scene) { s.raw.BootID = "\x1f" },
		"16 values":              func(s *scene) { s.raw.PCRValues = make([][]byte, 16) },
		"17 values":              func(s *scene) { s.raw.PCRValues = make([][]byte, 17) },
		"no value":               func(s *scene) { s.raw.PCRValues = nil },
		"value of 31 bytes":      func(s *scene) { s.raw.PCRValues[3] = s.raw.PCRValues[3][:31] },
		"value of 33 bytes":      func(s *scene) { s.raw.PCRValues[3] = append(bytes.Clone(s.raw.PCRValues[3]), 0) },
		"another value":          func(s *scene) { s.raw.PCRValues[3] = make([]byte, 32); s.raw.PCRValues[3][0] = 1 },
		"challenges, most":       func(s *scene) { s.raw.Challenges = make([]binding.Challenge, binding.MaxChallenges) },
		"challenges, more":       func(s *scene) { s.raw.Challenges = make([]binding.Challenge, binding.MaxChallenges+1) },
		"no challenge":           func(s *scene) { s.raw.Challenges = nil },
		"another nonce":          func(s *scene) { s.want.Challenge.Nonce[0]++ },
		"another exporter":       func(s *scene) { s.want.Challenge.Exporter[0]++ },
		"another block":          func(s *scene) { s.want.Challenge.Beacon = binding.Beacon{Height: 7, Hash: [32]byte{7}} },
		"another node":           func(s *scene) { s.want.Node = "org-a/validator-2" },
		"another node key":       func(s *scene) { s.want.NodeKey[0]++ },
		"another ledger":         func(s *scene) { s.want.Ledger.ChainID = "example-2" },
		"another verifier":       func(s *scene) { s.want.Verifier, s.want.Challenge.Verifier = "b.verifier", "b.verifier" },
		"no boot log":            func(s *scene) { s.raw.BootLog = nil },
		"another boot log":       func(s *scene) { s.raw.BootLog = []byte("other") },
		"no list":                func(s *scene) { s.raw.IMA = nil },
		"list cut":               func(s *scene) { s.raw.IMA = s.raw.IMA[:len(s.raw.IMA)-1] },
		"list with more":         func(s *scene) { s.raw.IMA = append(bytes.Clone(s.raw.IMA), 0) },
		"previous epoch higher":  func(s *scene) { s.want.Previous = evidence.Clock{Epoch: verdict.Epoch{Reset: 9}} },
		"list of another epoch": func(s *scene) {
			v := s.passes()
			s.remember(v)
			s.want.IMA.Epoch.Reset = 7
			entries := slices.Collect(v.IMA().Entries())
			s.raw.IMA = s.list.Bytes()[entries[1].Offset:]
		},
		"list of another epoch, cut": func(s *scene) {
			s.remember(s.passes())
			s.want.IMA.Epoch.Reset = 7
			s.raw.IMA = nil
		},
		"another log in PCR 7": func(s *scene) {
			s.node.PCRs[7] = sha256.Sum256([]byte("other"))
			s.answer()
		},
		"something in PCR 13": func(s *scene) {
			s.node.PCRs[13] = sha256.Sum256([]byte("other"))
			s.answer()
		},
	}
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		s := newScene(t)
		rows[name](s)
		_, err := s.verify()
		w.say("evidence, "+name, err)
		if retry := evidence.Retryable(err); retry {
			w.say("evidence, "+name+", may be asked again", nil)
		}
	}
}
