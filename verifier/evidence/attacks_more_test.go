package evidence_test

import (
	"crypto/sha256"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/verdict"
)

// The firmware extended another bank only. Whoever then fills the quoted bank by
// hand has no log that gives digests for it.
func TestA026_BankLeftOpen(t *testing.T) {
	s := newScene(t)
	s.passes()
	filled := s.node.PCRs
	s.log.Header = bootlog.Header("Spec ID Event03", nil, bootlog.Algorithm{Alg: 0x0004, Size: 20})
	for i := range s.log.Events {
		e := &s.log.Events[i]
		e.Digests = []bootlog.Digest{{Alg: 0x0004, Value: e.Digest[:20]}}
	}
	s.raw.BootLog = s.log.Bytes()
	s.raw.BootLogDigest = sha256.Sum256(s.raw.BootLog)
	for _, pcrs := range []papertpm.PCRs{filled, papertpm.ResetPCRs()} {
		s.node.PCRs = pcrs
		s.answer()
		s.refused(verdict.BootlogHeader)
	}
}

// A host without a good TPM of its own has the questions it gets answered by the
// good one of another machine.
func TestA063_RelayToAnotherMachine(t *testing.T) {
	good, bad := newHost(t), newHost(t)
	good.passes()
	bad.passes()
	question := bad.want
	question.Challenge.Nonce, question.Challenge.Exporter = [32]byte{8}, [32]byte{9}

	// The good machine's agent answers on its own connection, whatever the nonce.
	good.want.Challenge.Nonce = question.Challenge.Nonce
	good.answer()
	relayed := good.raw
	relayed.Challenges = []binding.Challenge{question.Challenge}
	_, err := evidence.Verify(relayed, question) // as itself: another key signed
	refusedBy(t, err, verdict.QuoteSignature)
	asGood := good.want // as the good machine: on another connection
	asGood.Challenge = question.Challenge
	_, err = evidence.Verify(good.raw, asGood)
	refusedBy(t, err, verdict.QuoteChannel)
	_, err = evidence.Verify(relayed, asGood)
	refusedBy(t, err, verdict.QuoteBinding)
	good.passes()
}

// A process that may use the TPM, but does not hold the connection, gets quotes
// made of the right nonce. They name its own key.
func TestA069_QuoteByAnotherProcess(t *testing.T) {
	h := newHost(t)
	h.passes()
	agent := h.want.NodeKey
	h.want.NodeKey = papertpm.NewNode("another process").NodeKey.SPKIDigest()
	h.answer()
	own := h.want
	h.want.NodeKey = agent
	h.refused(verdict.QuoteBinding)
	h.want = own
	h.want.Challenge.Exporter = [32]byte{0xcc} // the channel it could open itself
	h.answer()
	h.want.NodeKey, h.want.Challenge.Exporter = agent, [32]byte{3}
	h.refused(verdict.QuoteChannel)
	h.answer()
	h.passes()
}

// What is judged is the log that replayed, also when the verifier knows another.
func TestA102_OneLogVerifiedAnotherJudged(t *testing.T) {
	good := newScene(t)
	known := good.passes().KnownLog()

	s := newScene(t)
	b := bootlog.Debian()
	b.CommandLine += " init=/bin/sh"
	s.boot(b.Log())
	s.want.KnownLog = known
	s.answer()
	v := s.passes()
	facts, err := v.Log().Facts(nil)
	if err != nil || !reflect.DeepEqual(facts, v.Facts()) || sha256.Sum256(v.KnownLog().Bytes()) != v.BootLogDigest() {
		t.Errorf("facts, log and digest differ: %v", err)
	}
	if line := v.Facts().CommandLines[0].Text; line != b.CommandLine {
		t.Errorf("judged is %q", line)
	}
	bank := v.Log().Replay()
	for _, pcr := range []int{0, 4, 7, 8, 9} {
		if quoted, _ := v.PCR(pcr); !slices.Equal(quoted[:], bank.Value(pcr)) {
			t.Errorf("PCR %d: the judged log gives %x, quoted is %x", pcr, bank.Value(pcr), quoted)
		}
	}
	s.raw.BootLog = nil // the known one is not what the quote names
	s.refused(verdict.BootlogMissing)
	s.raw.BootLog = known.Bytes()
	s.refused(verdict.QuoteBootLog)
}

// TPM and log are two writes. Whichever of the two is lost, they do not agree.
func TestA112_OneOfTwoWritesIsLost(t *testing.T) {
	newScene(t).passes()
	for _, m := range []bootlog.Mutation{"extend-unlogged", "log-unextended"} {
		each(t, string(m), func(s *scene) {
			s.must(s.log.Mutate(m))
			s.boot(s.log)
			s.answer()
			s.refused(verdict.BootlogReplay)
		})
	}
	entry := bootlog.FileEntry("/usr/bin/tool", sha256.Sum256([]byte("tool")))
	each(t, "extended, not listed", func(s *scene) {
		(&bootlog.List{Entries: []bootlog.Entry{entry}}).Replay(&s.node.PCRs)
		s.answer()
		s.refused(verdict.QuoteInMotion)
		s.run("/usr/bin/next") // nothing that follows heals it
		s.answer()
		s.refused(verdict.QuoteInMotion)
	})
	each(t, "listed, not extended", func(s *scene) {
		s.list.Entries = append(s.list.Entries, entry)
		s.raw.IMA = s.list.Bytes()
		s.answer()
		if v := s.passes(); v.IMA().Len() != 2 { // not yet, as with every list read after the quote
			t.Errorf("%d entries count", v.IMA().Len())
		}
		s.run("/usr/bin/next")
		s.answer()
		s.refused(verdict.QuoteInMotion)
	})
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// Boot PCRs belong to the boot log. systemd goes on in PCR 11, with fixed words
// and only behind an image that it measured.
func TestA113_EventsByOthers(t *testing.T) {
	for _, pcr := range []int{0, 4, 5, 7, 8, 9, 11, 12, 13, 14} {
		s := newScene(t)
		s.passes()
		s.node.PCRs.Extend(pcr, sha256.Sum256([]byte("enter-initrd")))
		s.answer()
		s.refused(verdict.BootlogReplay)
	}
	unified := bootlog.Debian()
	unified.Chain = bootlog.UKI
	phase := func(words ...string) *scene {
		s := newScene(t)
		s.boot(unified.Log())
		for _, w := range words {
			s.node.PCRs.Extend(11, sha256.Sum256([]byte(w)))
		}
		s.answer()
		return s
	}
	phase().passes()
	phase("enter-initrd", "leave-initrd").passes()
	for _, words := range [][]string{{"leave-initrd"}, {"enter-initrd", "enter-initrd"}, {"enter-initrd", "anything"}, {"enter-initrd", "leave-initrd", "sysinit", "ready", "shutdown"}} {
		phase(words...).refused(verdict.BootlogReplay)
	}
}

// An attestation key that other software may use freely is still only a key that
// quotes: what it signs at will begins differently.
func TestA001_SoftwareTPMDoesNotSignLookAlikes(t *testing.T) {
	h := newHost(t)
	h.passes()
	forged := slices.Clone(h.raw.Quote)
	key := loadAK(t, h.machine.TPM, tpm2.TPMRHEndorsement)
	hashed, err := tpm2.Hash{Data: tpm2.TPM2BMaxBuffer{Buffer: forged}, HashAlg: tpm2.TPMAlgSHA256, Hierarchy: tpm2.TPMRHEndorsement}.Execute(h.machine.TPM)
	h.must(err)
	sign := tpm2.Sign{
		KeyHandle: tpm2.AuthHandle{Handle: key.ObjectHandle, Name: key.Name, Auth: tpm2.PasswordAuth(nil)},
		Digest:    hashed.OutHash, InScheme: tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull}, Validation: hashed.Validation,
	}
	if _, err := sign.Execute(h.machine.TPM); err == nil {
		t.Error("the TPM signed a quote that it did not make")
	}
	forged[0] ^= 1
	hashed, err = tpm2.Hash{Data: tpm2.TPM2BMaxBuffer{Buffer: forged}, HashAlg: tpm2.TPMAlgSHA256, Hierarchy: tpm2.TPMRHEndorsement}.Execute(h.machine.TPM)
	h.must(err)
	sign.Digest, sign.Validation = hashed.OutHash, hashed.Validation
	signed, err := sign.Execute(h.machine.TPM)
	h.must(err)
	h.raw.Quote, h.raw.Signature = forged, tpm2.Marshal(signed.Signature)
	h.refused(verdict.QuoteMagic)
}
