// Package evidence decides whether evidence is authentic: made now, by the
// enrolled TPM, for this node, ledger and connection, with logs that explain every
// quoted PCR. Whether an authentic boot is acceptable is the business of package
// appraise, which takes only what Verify returns.
//
// The package is pure: bytes and expectations in, a value or a refusal out.
package evidence

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/ima"
	"github.com/quorate/quorate/verifier/verdict"
)

// Raw is evidence as an agent sent it. Nothing in it is believed.
type Raw struct {
	Quote         []byte              // TPMS_ATTEST
	Signature     []byte              // TPMT_SIGNATURE over Quote
	PCRValues     [][]byte            // values of the PCRs asked for, in ascending order
	Challenges    []binding.Challenge // all challenges that the quote answers, sorted
	BootLogDigest [32]byte            // SHA-256 of the boot log
	BootLog       []byte              // the boot log; empty if the verifier has it already
	IMA           []byte              // the IMA list from Expected.IMA on
	BootID        string              // the host's boot id, from /proc/sys/kernel/random/boot_id
}

// Expected is what the verifier knows by itself. All fields but KnownLog, Contents,
// IMA and Previous are required; ConsensusKey is empty for a node without one.
type Expected struct {
	Ledger       binding.Ledger
	Verifier     string             // this verifier's name
	Node         string             // node id of the session
	AK           *AK                // as enrolled
	NodeKey      [32]byte           // SHA-256 of the SubjectPublicKeyInfo, as enrolled and as used in the session
	ConsensusKey string             // as enrolled
	Challenge    binding.Challenge  // this verifier's own, with its connection's exporter
	Bank         eventlog.Alg       // SHA256
	PCRs         []int              // PCRs asked for, ascending: 0 to 14, and 15 if wanted
	KnownLog     *KnownLog          // boot log verified earlier, if any
	Contents     *eventlog.Contents // event data hashed earlier, if any; spares time and decides nothing
	IMA          ima.State          // position in the IMA list verified earlier; zero for none
	Previous     Clock              // of the last authentic quote; zero for none
}

// Verified is authentic evidence. Only Verify and FromRecord make one.
type Verified struct {
	raw        Raw
	want       Expected
	clock      Clock
	transition Transition
	values     [maxPCR + 1][sha256.Size]byte // of the quoted PCRs
	log        *KnownLog
	ima        *ima.Segment
}

// maxPCR is the highest PCR that may be asked for: those above can be reset by
// software or belong to another root of trust.
const maxPCR = 15

// bootPCRs are the PCRs that every quote covers: all that a boot log may name, and
// PCR 10. What a log says of a PCR that nobody quoted would be its host's word.
const bootPCRs = 15

// maxBootID bounds the host's boot id, in bytes.
const maxBootID = 64

// check makes sure that the verifier itself asked a sensible question. A failure
// is a programming error, and denies.
func (w *Expected) check() error {
	switch {
	case w.AK == nil:
		return errors.New("evidence: no attestation key to check with")
	case w.Verifier == "" || w.Verifier != w.Challenge.Verifier || w.Node == "":
		return errors.New("evidence: verifier, node and challenge do not belong together")
	case w.Challenge.Nonce == [32]byte{} || w.Challenge.Exporter == [32]byte{}:
		return errors.New("evidence: no nonce or no exporter to compare with")
	case w.Ledger.Genesis == [32]byte{} || w.NodeKey == [32]byte{}:
		return errors.New("evidence: no ledger or no node key to compare with")
	case w.Bank != eventlog.SHA256:
		return fmt.Errorf("evidence: cannot verify the %v bank", w.Bank)
	}
	return checkPCRs(w.PCRs)
}

func checkPCRs(pcrs []int) error {
	if len(pcrs) < bootPCRs {
		return fmt.Errorf("evidence: %d PCRs asked for, at least 0 to 14 are needed", len(pcrs))
	}
	for i, pcr := range pcrs {
		if pcr != i || pcr > maxPCR {
			return fmt.Errorf("evidence: PCRs %v are not 0 to 14 and perhaps %d, ascending", pcrs, maxPCR)
		}
	}
	return nil
}

// Verify decides whether evidence is authentic. It proves, in order:
//
//   - no part is larger than it can be;
//   - the quote is signed by the enrolled attestation key with its enrolled scheme;
//   - a TPM made it, as a quote, with a primary key of the endorsement hierarchy;
//   - it answers this verifier's challenge over this connection, and was made for
//     this ledger, node, node key, consensus key and boot log;
//   - it covers exactly the PCRs asked for, of one bank, and the values sent are
//     the quoted ones;
//   - the TPM's counters and clock follow those of the last quote;
//   - the boot log explains every quoted PCR but PCR 10, those without events by
//     their reset value, and describes a complete boot;
//   - the IMA list continues the verified position and reaches PCR 10.
//
// What was verified in an earlier boot epoch is not used. An error is a
// *verdict.Refusal unless the question itself was senseless; see Retryable.
func Verify(raw Raw, want Expected) (*Verified, error) {
	if err := want.check(); err != nil {
		return nil, err
	}
	if err := checkSizes(&raw); err != nil {
		return nil, err
	}
	if err := want.AK.verify(raw.Quote, raw.Signature); err != nil {
		return nil, err
	}
	quoted, err := parseAttest(raw.Quote)
	if err != nil {
		return nil, err
	}
	v := &Verified{raw: raw, want: want}
	for _, step := range []func(*attest) error{
		v.checkSigner, v.checkChallenge, v.checkSelection, v.checkValues, v.checkClock, v.checkBootLog, v.checkIMA,
	} {
		if err := step(&quoted); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// Retryable reports whether the refusal may be an accident of timing, so that the
// verifier should ask once more, for everything, before it believes it. The node
// is not admitted meanwhile.
func Retryable(err error) bool {
	var refusal *verdict.Refusal
	if !errors.As(err, &refusal) {
		return false
	}
	switch refusal.Check {
	case verdict.QuoteInMotion, verdict.QuotePCRDigest, verdict.QuoteNewEpoch, verdict.BootlogMissing:
		return true
	}
	return false
}

// Clock returns what the quote says about the TPM's time: the next quote's
// Expected.Previous.
func (v *Verified) Clock() Clock { return v.clock }

// Epoch returns the boot epoch of the quote.
func (v *Verified) Epoch() verdict.Epoch { return v.clock.Epoch }

// Firmware returns the TPM's firmware version.
func (v *Verified) Firmware() uint64 { return v.clock.Firmware }

// Transition says how the boot epoch relates to that of the last quote.
func (v *Verified) Transition() Transition { return v.transition }

// PCR returns the quoted value of a PCR, and whether the quote covers it. A PCR
// that is not covered has no value.
func (v *Verified) PCR(i int) (value [sha256.Size]byte, ok bool) {
	for _, pcr := range v.want.PCRs {
		if pcr == i {
			return v.values[i], true
		}
	}
	return value, false
}

// Log returns the boot log, replayed to the quoted PCRs.
func (v *Verified) Log() *eventlog.Log { return v.log.log }

// Facts returns what the boot log proves. They are shared and must not be changed.
func (v *Verified) Facts() *eventlog.Facts { return v.log.facts }

// KnownLog returns the boot log for Expected.KnownLog of the next quotes.
func (v *Verified) KnownLog() *KnownLog { return v.log }

// BootLogDigest returns the SHA-256 of the boot log, which the quote names.
func (v *Verified) BootLogDigest() [32]byte { return v.raw.BootLogDigest }

// IMA returns the newly verified entries of the IMA list. Its End is
// Expected.IMA of the next quote.
func (v *Verified) IMA() *ima.Segment { return v.ima }

// Node returns the id of the node that the evidence is about.
func (v *Verified) Node() string { return v.want.Node }
