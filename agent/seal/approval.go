package seal

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"math/big"

	"github.com/google/go-tpm/tpm2"

	"github.com/quorate/quorate/agent/key"
)

// DefaultPCRs are what an approval names unless told otherwise: firmware (0),
// option ROMs (2), boot loader or unified kernel (4), Secure Boot (7), the boot
// loader's commands and files (8, 9). None of them moves after the boot.
var DefaultPCRs = []uint32{0, 2, 4, 7, 8, 9}

const approvalVersion = "quorate/approval/v1"

// PCR is one register and its value in hex.
type PCR struct {
	Index uint32 `json:"pcr"`
	Value string `json:"value"`
}

// State is a measured state: PCRs of one bank, in ascending order.
type State struct {
	Bank string `json:"bank"`
	PCRs []PCR  `json:"pcrs"`
}

// Marshal returns the state's file.
func (s State) Marshal() []byte { return marshal(s) }

// ParseState reads a state's file.
func ParseState(data []byte) (State, error) {
	var s State
	if err := parse(data, "state", &s); err != nil {
		return State{}, err
	}
	return s, s.check()
}

// check refuses a state that says nothing, or names registers that an approval
// cannot speak of: beyond 14 nothing is attested.
func (s State) check() error {
	if _, err := key.ParseBank(s.Bank); err != nil {
		return malformed("bank "+s.Bank, "sha256 or sha384")
	}
	if len(s.PCRs) == 0 {
		return malformed("no PCRs", "at least one")
	}
	for i, p := range s.PCRs {
		value, err := hex.DecodeString(p.Value)
		if err != nil || hex.EncodeToString(value) != p.Value || len(value) != map[string]int{"sha256": 32, "sha384": 48}[s.Bank] {
			return malformed(fmt.Sprintf("PCR %d", p.Index), "a value in hex")
		}
		if p.Index >= CapPCR || i > 0 && p.Index <= s.PCRs[i-1].Index {
			return malformed(fmt.Sprintf("PCR %d", p.Index), "PCRs from 0 to 14, ascending")
		}
	}
	return nil
}

// indexes returns which PCRs the state names.
func (s State) indexes() []uint32 {
	list := make([]uint32, len(s.PCRs))
	for i, p := range s.PCRs {
		list[i] = p.Index
	}
	return list
}

// policy is PolicyPCR over the state.
func (s State) policy() (sel tpm2.TPMLPCRSelection, digest, policy [32]byte, err error) {
	bank, err := key.ParseBank(s.Bank)
	if err != nil {
		return sel, digest, policy, malformed("bank "+s.Bank, "sha256 or sha384")
	}
	h := sha256.New()
	for _, p := range s.PCRs {
		value, err := hex.DecodeString(p.Value)
		if err != nil {
			return sel, digest, policy, malformed(fmt.Sprintf("PCR %d", p.Index), "a value in hex")
		}
		h.Write(value)
	}
	digest = [32]byte(h.Sum(nil))
	sel = selection(bank, s.indexes())
	return sel, digest, policyPCR([32]byte{}, sel, digest), nil
}

// Approval is the policy authority's signed word that hosts of a ledger may
// release their keys in a measured state. An operator signs one for a coming
// update beforehand, so that no host has to seal anew.
type Approval struct {
	Version   string `json:"approval"`
	Ledger    string `json:"ledger"`
	Genesis   string `json:"genesis"`
	State     State  `json:"state"`
	Signature []byte `json:"signature"` // ASN.1 ECDSA
}

// Approve signs a state for every host of the ledger.
func Approve(authority *ecdsa.PrivateKey, ledger, genesis string, s State) (Approval, error) {
	a := Approval{Version: approvalVersion, Ledger: ledger, Genesis: genesis, State: s}
	if err := s.check(); err != nil {
		return Approval{}, err
	}
	digest, err := a.digest()
	if err != nil {
		return Approval{}, err
	}
	a.Signature, err = ecdsa.SignASN1(rand.Reader, authority, digest[:])
	return a, err
}

func (a Approval) digest() ([32]byte, error) {
	_, _, policy, err := a.State.policy()
	return approvalDigest(policy, ref(approvalLabel, a.Ledger, a.Genesis)), err
}

// Marshal returns the approval's file.
func (a Approval) Marshal() []byte { return marshal(a) }

// ParseApproval reads an approval's file. It checks no signature.
func ParseApproval(data []byte) (Approval, error) {
	var a Approval
	if err := parse(data, "approval", &a); err != nil {
		return Approval{}, err
	}
	if a.Version != approvalVersion || a.Ledger == "" || a.Genesis == "" {
		return Approval{}, malformed("approval "+a.Version, approvalVersion+" for a ledger")
	}
	if err := a.State.check(); err != nil {
		return Approval{}, err
	}
	_, err := tpmSignature(a.Signature)
	return a, err
}

// Check checks that the authority of the terms approved the state for their
// ledger.
func (a Approval) Check(t Terms) error {
	if a.Ledger != t.Ledger || a.Genesis != t.Genesis {
		return &Refusal{Check: Authority, Got: "an approval for " + a.Ledger + " " + a.Genesis, Want: "one for " + t.Ledger + " " + t.Genesis,
			Remedy: "take the approval that was made for this ledger"}
	}
	digest, err := a.digest()
	if err != nil {
		return err
	}
	public, err := t.Authority.parse()
	if err != nil {
		return err
	}
	if !ecdsa.VerifyASN1(public, digest[:], a.Signature) {
		return &Refusal{Check: Authority, Got: "a signature by another key", Want: "one by the policy authority",
			Remedy: "have the policy authority sign the state: quorate-agent signer approve"}
	}
	return nil
}

// tpmSignature converts an ASN.1 ECDSA signature to the TPM's form.
func tpmSignature(der []byte) (tpm2.TPMTSignature, error) {
	var sig struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &sig)
	if err != nil || len(rest) > 0 || sig.R.Sign() <= 0 || sig.S.Sign() <= 0 || sig.R.BitLen() > 256 || sig.S.BitLen() > 256 {
		return tpm2.TPMTSignature{}, malformed("signature", "an ASN.1 ECDSA signature on P-256")
	}
	return tpm2.TPMTSignature{
		SigAlg: tpm2.TPMAlgECDSA,
		Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgECDSA, &tpm2.TPMSSignatureECC{
			Hash:       tpm2.TPMAlgSHA256,
			SignatureR: tpm2.TPM2BECCParameter{Buffer: sig.R.FillBytes(make([]byte, 32))},
			SignatureS: tpm2.TPM2BECCParameter{Buffer: sig.S.FillBytes(make([]byte, 32))},
		}),
	}, nil
}
