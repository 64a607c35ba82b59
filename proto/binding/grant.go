package binding

import (
	"crypto/sha256"
	"encoding/binary"
)

const grantLabel = "quorate/seal/grant/v1"

// Bounds of a grant's nonce, in bytes: what a TPM makes for a policy session.
const (
	MinGrantNonce = 16
	MaxGrantNonce = 64
)

// Grant names the one sealed consensus key that a grant releases.
type Grant struct {
	ChainID      string // ledger id
	Genesis      string // "sha256:…", of the genesis document
	Node         string // node id
	ConsensusKey string // "ed25519:<base64>"
}

// PolicyRef is the policyRef of TPM2_PolicySigned: it is part of the sealed key's
// policy, so a grant for another node, ledger or key satisfies it in no TPM.
func (g Grant) PolicyRef() [32]byte {
	h := sha256.New()
	for _, field := range []string{grantLabel, g.ChainID, g.Genesis, g.Node, g.ConsensusKey} {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(field))))
		h.Write([]byte(field))
	}
	return [32]byte(h.Sum(nil))
}

// Digest is what a grantor signs: aHash of TPM2_PolicySigned (TPM 2.0 Part 3,
// section 23.3), without command parameters. The nonce is the TPM's for one
// session, from whose making it counts the seconds.
func (g Grant) Digest(nonce []byte, seconds int32) [32]byte {
	signed := binary.BigEndian.AppendUint32(append([]byte(nil), nonce...), uint32(seconds))
	ref := g.PolicyRef()
	return sha256.Sum256(append(signed, ref[:]...))
}
