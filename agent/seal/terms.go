package seal

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/quorate/quorate/agent/key"
)

// CapPCR is extended after the key is released. It is outside of what quotes
// cover (0 to 14), and nothing but a reboot brings it back.
const CapPCR = 15

// PublicKey is a P-256 key as base64 of its SubjectPublicKeyInfo: TPMs check
// signatures of no other kind everywhere.
type PublicKey string

// NewPublicKey returns the text of a key.
func NewPublicKey(key *ecdsa.PublicKey) (PublicKey, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil || key.Curve != elliptic.P256() {
		return "", &Refusal{Check: BadTerms, Got: "another kind of key", Want: "a P-256 key"}
	}
	return PublicKey(base64.StdEncoding.EncodeToString(der)), nil
}

// parse returns the key, if the text is its one encoding.
func (k PublicKey) parse() (*ecdsa.PublicKey, error) {
	der, err := base64.StdEncoding.Strict().DecodeString(string(k))
	if err != nil {
		return nil, malformed("public key", "base64 of a SubjectPublicKeyInfo")
	}
	any, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, malformed("public key", "a P-256 SubjectPublicKeyInfo")
	}
	public, ok := any.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, malformed("public key", "a P-256 key")
	}
	if again, err := NewPublicKey(public); err != nil || again != k {
		return nil, malformed("public key", "its one encoding")
	}
	return public, nil
}

// template is the key as the TPM loads it.
func (k PublicKey) template() (tpm2.TPMTPublic, error) {
	public, err := k.parse()
	if err != nil {
		return tpm2.TPMTPublic{}, err
	}
	raw, err := public.Bytes()
	if err != nil {
		return tpm2.TPMTPublic{}, fmt.Errorf("seal: %w", err)
	}
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{UserWithAuth: true, SignEncrypt: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Scheme: tpm2.TPMTECCScheme{
				Scheme:  tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			CurveID: tpm2.TPMECCNistP256,
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: raw[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: raw[33:]},
		}),
	}, nil
}

// Terms are the conditions under which the TPM releases a key. The TPM enforces
// them; the file only tells which they are.
type Terms struct {
	Ledger    string    `json:"ledger"`  // chain id
	Genesis   string    `json:"genesis"` // "sha256:…"
	Node      string    `json:"node"`
	PublicKey string    `json:"publicKey"`         // "ed25519:…", the key itself
	Authority PublicKey `json:"authority"`         // signs approvals of measured states
	Grantor   PublicKey `json:"grantor,omitempty"` // signs grants; none: the key is released once a boot
	// OtherGrantors sign grants as well as Grantor: one of them is enough.
	OtherGrantors []PublicKey `json:"otherGrantors,omitempty"`
	Strict        bool        `json:"strict"` // every release needs a grant, also the first of a boot
	Bank          string      `json:"bank"`   // of the PCRs, "sha256" or "sha384"
	Cap           string      `json:"cap"`    // hex: PCR 15 as a boot leaves it
}

// MaxGrantors is how many keys may sign grants: a TPM's policy has eight ways, of
// which the first release of a boot takes one.
const MaxGrantors = 7

// Grantors are the keys of which any one can grant a start.
func (t Terms) Grantors() []PublicKey {
	if t.Grantor == "" {
		return nil
	}
	return append([]PublicKey{t.Grantor}, t.OtherGrantors...)
}

// checkGrantors refuses what has more than one spelling or no policy.
func (t Terms) checkGrantors() error {
	seen := map[PublicKey]bool{}
	for _, g := range t.Grantors() {
		if g == "" || seen[g] {
			return &Refusal{Check: BadTerms, Got: "a grantor twice", Want: "each once"}
		}
		seen[g] = true
	}
	switch {
	case len(seen) > MaxGrantors:
		return &Refusal{Check: BadTerms, Got: fmt.Sprintf("%d grantors", len(seen)), Want: fmt.Sprintf("at most %d", MaxGrantors)}
	case t.Grantor == "" && len(t.OtherGrantors) > 0, t.Strict && t.Grantor == "":
		return &Refusal{Check: BadTerms, Got: "strict, or other grantors, without a grantor", Want: "a key that signs grants"}
	}
	return nil
}

// check refuses terms that are incomplete or could never be met.
func (t Terms) check() error {
	for _, f := range []struct{ name, value string }{
		{"ledger", t.Ledger}, {"genesis", t.Genesis}, {"node", t.Node}, {"publicKey", t.PublicKey}, {"authority", string(t.Authority)},
	} {
		if f.value == "" {
			return &Refusal{Check: BadTerms, Got: "no " + f.name, Want: "terms with every field"}
		}
	}
	if err := t.checkGrantors(); err != nil {
		return err
	}
	_, err := t.digest()
	return err
}

// capState is the cap PCR as a policy names it: selection and digest.
func (t Terms) capState() (tpm2.TPMLPCRSelection, [32]byte, error) {
	bank, err := key.ParseBank(t.Bank)
	if err != nil {
		return tpm2.TPMLPCRSelection{}, [32]byte{}, &Refusal{Check: BadTerms, Got: t.Bank, Want: "sha256 or sha384"}
	}
	value, err := hex.DecodeString(t.Cap)
	if size := map[string]int{"sha256": 32, "sha384": 48}[t.Bank]; err != nil || len(value) != size || hex.EncodeToString(value) != t.Cap {
		return tpm2.TPMLPCRSelection{}, [32]byte{}, &Refusal{Check: BadTerms, Got: t.Cap, Want: "a value of PCR 15 in " + t.Bank}
	}
	return selection(bank, []uint32{CapPCR}), sha256.Sum256(value), nil
}
