package seal

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/quorate/quorate/proto/binding"
)

// approvalLabel is part of what the authority signs, so that no signature serves
// for anything else. Grants have their own: see binding.Grant.
const approvalLabel = "quorate/seal/approval/v1"

// The arithmetic of policies: TPM 2.0 Part 3, "Enhanced Authorization". Each
// function extends a policy digest by one command.

func extend(old [32]byte, cc tpm2.TPMCC, parts ...[]byte) [32]byte {
	h := sha256.New()
	h.Write(old[:])
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(cc)))
	for _, p := range parts {
		h.Write(p)
	}
	return [32]byte(h.Sum(nil))
}

func policyPCR(old [32]byte, selection tpm2.TPMLPCRSelection, digest [32]byte) [32]byte {
	return extend(old, tpm2.TPMCCPolicyPCR, tpm2.Marshal(selection), digest[:])
}

// policyNamed is PolicyAuthorize and PolicySigned: a key's name, then a reference.
func policyNamed(old [32]byte, cc tpm2.TPMCC, name, ref []byte) [32]byte {
	first := extend(old, cc, name)
	return sha256.Sum256(append(first[:], ref...))
}

func policyOr(branches [][32]byte) [32]byte {
	var list [][]byte
	for _, b := range branches {
		list = append(list, b[:])
	}
	return extend([32]byte{}, tpm2.TPMCCPolicyOR, list...)
}

// plan lists the ways to release a key under its terms. All need an approved
// state.
//
//   - the cap PCR still has its first value, so nobody released the key since the
//     boot; not when every start needs a grant;
//   - for each grantor: it signed for this very session.
func (t Terms) plan() ([][32]byte, error) {
	authority, err := keyName(t.Authority)
	if err != nil {
		return nil, err
	}
	approved := policyNamed([32]byte{}, tpm2.TPMCCPolicyAuthorize, authority, t.approvalRef())
	selection, digest, err := t.capState()
	if err != nil {
		return nil, err
	}
	var branches [][32]byte
	if !t.Strict {
		branches = append(branches, policyPCR(approved, selection, digest))
	}
	for _, g := range t.Grantors() {
		name, err := keyName(g)
		if err != nil {
			return nil, err
		}
		branches = append(branches, policyNamed(approved, tpm2.TPMCCPolicySigned, name, t.grantRef()))
	}
	return branches, nil
}

// digest is the policy that the TPM checks: the only way if there is one, else
// any of them. TPM2_PolicyOR takes two to eight.
func (t Terms) digest() ([32]byte, error) {
	branches, err := t.plan()
	switch {
	case err != nil:
		return [32]byte{}, err
	case len(branches) == 1:
		return branches[0], nil
	}
	return policyOr(branches), nil
}

// approvalRef names the ledger: approvals serve for all its hosts.
func (t Terms) approvalRef() []byte { return ref(approvalLabel, t.Ledger, t.Genesis) }

// grantRef names the node and its key too: a grant serves for one.
func (t Terms) grantRef() []byte {
	ref := t.grant().PolicyRef()
	return ref[:]
}

func (t Terms) grant() binding.Grant {
	return binding.Grant{ChainID: t.Ledger, Genesis: t.Genesis, Node: t.Node, ConsensusKey: t.PublicKey}
}

// ref hashes length-prefixed fields.
func ref(fields ...string) []byte {
	h := sha256.New()
	for _, f := range fields {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(f))))
		h.Write([]byte(f))
	}
	return h.Sum(nil)
}

// approvalDigest is what the authority signs: TPM2_PolicyAuthorize's aHash.
func approvalDigest(policy [32]byte, ref []byte) [32]byte {
	return sha256.Sum256(append(policy[:], ref...))
}

// selection names PCRs of a bank as the TPM writes them.
func selection(bank tpm2.TPMAlgID, pcrs []uint32) tpm2.TPMLPCRSelection {
	list := make([]uint, len(pcrs))
	for i, p := range pcrs {
		list[i] = uint(p)
	}
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{
		Hash: bank, PCRSelect: tpm2.PCClientCompatible.PCRs(list...),
	}}}
}

// keyName returns the TPM's name for a P-256 public key.
func keyName(key PublicKey) ([]byte, error) {
	public, err := key.template()
	if err != nil {
		return nil, err
	}
	name, err := tpm2.ObjectName(&public)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return name.Buffer, nil
}
