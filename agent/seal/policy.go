package seal

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// Labels of what the authority and the grantor sign, so that no signature
// serves for anything else.
const (
	approvalLabel = "quorate/seal/approval/v1"
	grantLabel    = "quorate/seal/grant/v1"
)

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

func policyOr(branches [2][32]byte) [32]byte {
	return extend([32]byte{}, tpm2.TPMCCPolicyOR, branches[0][:], branches[1][:])
}

// branches are the two ways to release a key. Both need an approved state.
//
//   - first: the cap PCR still has its first value, so nobody released the key
//     since the boot;
//   - again: the grantor signed for this very session.
type branches struct{ first, again [32]byte }

// plan says how a key can be released under its terms.
func (t Terms) plan() (branches, error) {
	authority, err := keyName(t.Authority)
	if err != nil {
		return branches{}, err
	}
	approved := policyNamed([32]byte{}, tpm2.TPMCCPolicyAuthorize, authority, t.approvalRef())
	selection, digest, err := t.capState()
	if err != nil {
		return branches{}, err
	}
	b := branches{first: policyPCR(approved, selection, digest)}
	if t.Grantor == "" {
		return b, nil
	}
	grantor, err := keyName(t.Grantor)
	if err != nil {
		return branches{}, err
	}
	b.again = policyNamed(approved, tpm2.TPMCCPolicySigned, grantor, t.grantRef())
	return b, nil
}

// digest is the policy that the TPM checks: the first branch alone without a
// grantor, the second alone when every start needs a grant, otherwise either.
func (t Terms) digest() ([32]byte, error) {
	b, err := t.plan()
	switch {
	case err != nil:
		return [32]byte{}, err
	case t.Grantor == "":
		return b.first, nil
	case t.Strict:
		return b.again, nil
	}
	return policyOr([2][32]byte{b.first, b.again}), nil
}

// approvalRef names the ledger: approvals serve for all its hosts.
func (t Terms) approvalRef() []byte { return ref(approvalLabel, t.Ledger, t.Genesis) }

// grantRef names the node and its key too: a grant serves for one.
func (t Terms) grantRef() []byte { return ref(grantLabel, t.Ledger, t.Genesis, t.Node, t.PublicKey) }

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

// grantDigest is what the grantor signs: TPM2_PolicySigned's aHash, without
// command parameters.
func grantDigest(nonce []byte, expires int32, ref []byte) [32]byte {
	signed := binary.BigEndian.AppendUint32(append([]byte(nil), nonce...), uint32(expires))
	return sha256.Sum256(append(signed, ref...))
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
