package papertpm

import (
	"bytes"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"

	// Hashes that SignWith may be asked for.
	_ "crypto/sha1"
	_ "crypto/sha512"

	"github.com/google/go-tpm/tpm2"
)

// PCRs are the values of one SHA-256 bank.
type PCRs [24][sha256.Size]byte

// ResetPCRs returns the bank as a power cycle leaves it: PCRs 17 to 22 all
// ones, the others zero.
func ResetPCRs() PCRs {
	var p PCRs
	for i := 17; i <= 22; i++ {
		p[i] = [32]byte(bytes.Repeat([]byte{0xff}, 32))
	}
	return p
}

// Extend extends one PCR with a digest.
func (p *PCRs) Extend(pcr int, digest [32]byte) {
	p[pcr] = sha256.Sum256(append(p[pcr][:], digest[:]...))
}

// Values returns the values of the PCRs asked for, in that order.
func (p *PCRs) Values(pcrs ...int) [][]byte {
	values := make([][]byte, len(pcrs))
	for i, n := range pcrs {
		values[i] = slices.Clone(p[n][:])
	}
	return values
}

// Node is one simulated host: its TPM's keys, PCRs and counters.
type Node struct {
	EK, AK, NodeKey *Key
	Consensus       ed25519.PrivateKey
	PCRs            PCRs
	Clock           uint64 // milliseconds; each structure made moves it on
	Reset, Restart  uint32
	Firmware        uint64
}

// NewNode makes a node with an ECC EK. The same seed gives the same node.
func NewNode(seed string) *Node {
	consensus := sha256.Sum256([]byte("quorate/simulator/" + seed + "/consensus"))
	return &Node{
		EK:        ECCEK(seed + "/ek"),
		AK:        ECCKey(elliptic.P256(), seed+"/ak", AKAttributes()),
		NodeKey:   ECCKey(elliptic.P256(), seed+"/node", NodeKeyAttributes()),
		Consensus: ed25519.NewKeyFromSeed(consensus[:]),
		PCRs:      ResetPCRs(),
		Clock:     1000, Reset: 1, Firmware: 0x20191023_00163636,
	}
}

// ConsensusKey returns the text form "ed25519:<base64>" of the consensus key.
func (n *Node) ConsensusKey() string {
	public := n.Consensus.Public().(ed25519.PublicKey)
	return "ed25519:" + base64.StdEncoding.EncodeToString(public)
}

// Reboot is a TPM Reset: PCRs start anew, resetCount grows by one.
func (n *Node) Reboot() {
	n.PCRs, n.Reset, n.Restart = ResetPCRs(), n.Reset+1, 0
}

// TPMRestart is a shutdown with saved state and a start without it: PCRs start
// anew and only restartCount grows.
func (n *Node) TPMRestart() { n.PCRs, n.Restart = ResetPCRs(), n.Restart+1 }

// Resume is a sleep and a wake: PCRs stay, restartCount grows.
func (n *Node) Resume() { n.Restart++ }

// Quote makes a quote of the SHA-256 bank, signed by nobody yet.
func (n *Node) Quote(extra []byte, pcrs ...int) Attest {
	sorted := slices.Clone(pcrs)
	slices.Sort(sorted)
	digest := sha256.Sum256(bytes.Join(n.PCRs.Values(sorted...), nil))
	return n.attest(TypeQuote, extra, QuoteBody(digest[:], Select(tpm2.TPMAlgSHA256, sorted...)))
}

// Certify makes the structure of TPM2_Certify for a key of this node.
func (n *Node) Certify(key *Key, extra []byte) Attest {
	return n.attest(TypeCertify, extra, CertifyBody(key.Name(), key.QualifiedName()))
}

// AKCreation returns the creation data of the node's AK, a primary key of the
// endorsement hierarchy.
func (n *Node) AKCreation() CreationData {
	endorsement, none := []byte{0x40, 0x00, 0x00, 0x0b}, sha256.Sum256(nil) // digest of no PCRs, as libtpms has it
	return CreationData{
		PCRDigest: none[:], Locality: 1, ParentNameAlg: 0x0010, // TPM_ALG_NULL
		ParentName: endorsement, ParentQualified: endorsement,
	}
}

// CertifyCreation makes the structure of TPM2_CertifyCreation for the AK.
func (n *Node) CertifyCreation(data CreationData, extra []byte) Attest {
	sum := sha256.Sum256(data.Bytes())
	return n.attest(TypeCreation, extra, CreationBody(n.AK.Name(), sum[:]))
}

// Time makes the structure of TPM2_GetTime.
func (n *Node) Time(extra []byte) Attest {
	a := n.attest(TypeTime, extra, nil)
	b := binary.BigEndian.AppendUint64(nil, a.Clock)
	b = binary.BigEndian.AppendUint64(b, a.Clock)
	b = binary.BigEndian.AppendUint32(b, a.Reset)
	b = binary.BigEndian.AppendUint32(b, a.Restart)
	b = append(b, a.Safe)
	a.Body = binary.BigEndian.AppendUint64(b, a.Firmware)
	return a
}

// Sign encodes and signs a structure with the node's AK. It returns the
// TPMS_ATTEST and the TPMT_SIGNATURE.
func (n *Node) Sign(a Attest) (attest, signature []byte, err error) {
	attest = a.Bytes()
	s, err := n.AK.Sign(attest)
	if err != nil {
		return nil, nil, err
	}
	return attest, s.Bytes(), nil
}

func (n *Node) attest(kind uint16, extra, body []byte) Attest {
	n.Clock += 10
	return Attest{
		Magic: Magic, Type: kind, Signer: n.AK.QualifiedName(), Extra: slices.Clone(extra),
		Clock: n.Clock, Reset: n.Reset, Restart: n.Restart, Safe: 1, Firmware: n.Firmware, Body: body,
	}
}
