package evidence

import (
	"bytes"
	"crypto/subtle"
	"encoding/hex"
	"fmt"

	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/verifier/verdict"
)

const where = "quote"

// checkSizes bounds everything that is looked at before the signature is known to
// be right. Boot log and IMA list have limits of their own.
func checkSizes(raw *Raw) error {
	for _, part := range []struct {
		name      string
		size, max int
	}{
		{"quote", len(raw.Quote), maxQuote},
		{"signature", len(raw.Signature), maxSignature},
		{"boot id", len(raw.BootID), maxBootID},
		{"PCR values", len(raw.PCRValues), maxPCR + 1},
		{"challenges", len(raw.Challenges), binding.MaxChallenges},
	} {
		if part.size > part.max {
			return verdict.Refuse(verdict.QuoteSize, part.name, fmt.Sprint(part.size), fmt.Sprintf("at most %d", part.max))
		}
	}
	for _, c := range []byte(raw.BootID) {
		if c < 0x20 || c > 0x7e {
			return verdict.Refuse(verdict.QuoteFormat, "boot id", raw.BootID, "printable ASCII")
		}
	}
	return nil
}

// checkSigner compares the qualified name, which follows from the key's name and
// its place in the TPM, with that of a primary key of the endorsement hierarchy.
func (v *Verified) checkSigner(quoted *attest) error {
	if !bytes.Equal(quoted.signer, v.want.AK.qualified) {
		return refuse(verdict.QuoteSigner, hex.EncodeToString(quoted.signer), hex.EncodeToString(v.want.AK.qualified))
	}
	return nil
}

func refuse(check verdict.CheckID, got, want string) error {
	return verdict.Refuse(check, where, got, want)
}

// checkChallenge finds this verifier's challenge among those answered, and
// recomputes the qualifying data that all of them and the node's identity give.
func (v *Verified) checkChallenge(quoted *attest) error {
	if err := v.ownChallenge(); err != nil {
		return err
	}
	expected, err := binding.Quote{
		Ledger: v.want.Ledger, Node: v.want.Node, AKName: v.want.AK.name, NodeKey: v.want.NodeKey,
		ConsensusKey: v.want.ConsensusKey, BootLog: v.raw.BootLogDigest, Challenges: v.raw.Challenges,
	}.QualifyingData()
	if err != nil {
		return refuse(verdict.QuoteNonce, err.Error(), "a sorted list with one challenge for each verifier")
	}
	if subtle.ConstantTimeCompare(quoted.extra, expected[:]) != 1 {
		return refuse(verdict.QuoteBinding, hex.EncodeToString(quoted.extra), hex.EncodeToString(expected[:]))
	}
	return nil
}

// ownChallenge demands exactly this verifier's nonce, block and exporter. Other
// verifiers' challenges are theirs to judge.
func (v *Verified) ownChallenge() error {
	own := v.want.Challenge
	for _, c := range v.raw.Challenges {
		if c.Verifier != own.Verifier {
			continue
		}
		switch {
		case subtle.ConstantTimeCompare(c.Nonce[:], own.Nonce[:]) != 1:
			return refuse(verdict.QuoteNonce, "another nonce", "the nonce of the open challenge")
		case c.Beacon != own.Beacon:
			return refuse(verdict.QuoteNonce, fmt.Sprintf("block %d", c.Beacon.Height), fmt.Sprintf("block %d and its hash", own.Beacon.Height))
		case subtle.ConstantTimeCompare(c.Exporter[:], own.Exporter[:]) != 1:
			return refuse(verdict.QuoteChannel, hex.EncodeToString(c.Exporter[:]), hex.EncodeToString(own.Exporter[:]))
		}
		return nil
	}
	return refuse(verdict.QuoteNonce, "no challenge of this verifier", own.Verifier)
}

// checkSelection compares the selection inside the signed bytes with the one
// asked for. A TPM empties a selection of a bank that is not active, and signs it.
func (v *Verified) checkSelection(quoted *attest) error {
	var asked [3]byte
	for _, pcr := range v.want.PCRs {
		asked[pcr/8] |= 1 << (pcr % 8)
	}
	if quoted.bank != uint16(v.want.Bank) || !bytes.Equal(quoted.bitmap, asked[:]) {
		return refuse(verdict.QuoteSelection, fmt.Sprintf("bank 0x%04x, bitmap %x", quoted.bank, quoted.bitmap),
			fmt.Sprintf("bank 0x%04x, bitmap %x", uint16(v.want.Bank), asked))
	}
	return nil
}

// checkValues demands one value of the right size for each PCR, and recomputes the
// quoted digest from them in the TPM's order.
func (v *Verified) checkValues(quoted *attest) error {
	if len(v.raw.PCRValues) != len(v.want.PCRs) {
		return refuse(verdict.QuotePCRValues, fmt.Sprintf("%d values", len(v.raw.PCRValues)), fmt.Sprintf("%d values", len(v.want.PCRs)))
	}
	size := v.want.Bank.Size()
	all := make([]byte, 0, (maxPCR+1)*size)
	for i, value := range v.raw.PCRValues {
		if len(value) != size {
			return refuse(verdict.QuotePCRValues, fmt.Sprintf("%d bytes for PCR %d", len(value), v.want.PCRs[i]), fmt.Sprintf("%d bytes", size))
		}
		copy(v.values[v.want.PCRs[i]][:], value)
		all = append(all, value...)
	}
	if digest := v.want.AK.sum(all); !bytes.Equal(digest, quoted.digest) {
		return refuse(verdict.QuotePCRDigest, hex.EncodeToString(digest), hex.EncodeToString(quoted.digest))
	}
	return nil
}

// checkClock takes the clock out of the quote and compares it with the last one.
func (v *Verified) checkClock(quoted *attest) (err error) {
	v.clock = Clock{
		Epoch:        verdict.Epoch{Reset: quoted.reset, Restart: quoted.restart},
		Milliseconds: quoted.clock, Safe: quoted.safe, Firmware: quoted.firmware, BootID: v.raw.BootID,
	}
	v.transition, err = v.clock.follow(v.want.Previous)
	return err
}
