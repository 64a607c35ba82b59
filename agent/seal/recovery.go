package seal

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hpke"

	"github.com/quorate/quorate/agent/device"
)

const (
	recoveryVersion = "quorate/recovery/v1"
	recoveryLabel   = "quorate/seal/recovery/v1"
)

// Recovery is the only copy of a key outside its TPM, encrypted for a key that
// the operators keep offline (RFC 9180: DHKEM(P-256), HKDF-SHA256, AES-256-GCM).
// It serves to move the key to another host after its own is lost.
type Recovery struct {
	Version    string    `json:"recovery"`
	Ledger     string    `json:"ledger"`
	Genesis    string    `json:"genesis"`
	Node       string    `json:"node"` // the host that had the key
	PublicKey  string    `json:"publicKey"`
	Recipient  PublicKey `json:"recipient"`
	Ciphertext []byte    `json:"ciphertext"`
}

// info binds the ciphertext to whose key it holds.
func (r Recovery) info() []byte {
	return ref(recoveryLabel, r.Ledger, r.Genesis, r.Node, r.PublicKey)
}

// escrow encrypts a seed for the recipient.
func (t Terms) escrow(seed []byte, recipient PublicKey) (*Recovery, error) {
	key, err := recipient.parse()
	if err != nil {
		return nil, err
	}
	exchange, err := key.ECDH()
	if err != nil {
		return nil, err
	}
	public, err := hpke.NewDHKEMPublicKey(exchange)
	if err != nil {
		return nil, err
	}
	r := &Recovery{Version: recoveryVersion, Ledger: t.Ledger, Genesis: t.Genesis, Node: t.Node, PublicKey: t.PublicKey, Recipient: recipient}
	r.Ciphertext, err = hpke.Seal(public, hpke.HKDFSHA256(), hpke.AES256GCM(), r.info(), seed)
	return r, err
}

// open decrypts the seed, if it is that of the public key.
func (r Recovery) open(private *ecdsa.PrivateKey) ([]byte, error) {
	exchange, err := private.ECDH()
	if err != nil {
		return nil, err
	}
	key, err := hpke.NewDHKEMPrivateKey(exchange)
	if err != nil {
		return nil, err
	}
	seed, err := hpke.Open(key, hpke.HKDFSHA256(), hpke.AES256GCM(), r.info(), r.Ciphertext)
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, &Refusal{Check: BadRecovery, Got: "a recovery file for another key, or altered", Want: "one for this private key", Cause: err,
			Remedy: "use the key whose public half was given when the consensus key was made"}
	}
	return seed, nil
}

// Restore seals a recovered key to this host's TPM. Whether the host that had it
// can still sign is for the caller to know.
func Restore(ctx context.Context, dev *device.Device, t Terms, r Recovery, private *ecdsa.PrivateKey, recipient PublicKey) (*Key, *Recovery, error) {
	seed, err := r.open(private)
	if err != nil {
		return nil, nil, err
	}
	defer wipe(seed)
	k, again, err := sealSeed(dev.With(ctx), t, seed, recipient)
	if err == nil && k.Terms.PublicKey != r.PublicKey {
		return nil, nil, &Refusal{Check: BadRecovery, Got: "key " + k.Terms.PublicKey, Want: r.PublicKey}
	}
	return k, again, err
}

// Marshal returns the recovery's file.
func (r Recovery) Marshal() []byte { return marshal(r) }

// ParseRecovery reads a recovery's file.
func ParseRecovery(data []byte) (Recovery, error) {
	var r Recovery
	if err := parse(data, "recovery", &r); err != nil {
		return Recovery{}, err
	}
	if r.Version != recoveryVersion || r.Ledger == "" || r.Genesis == "" || r.Node == "" || r.PublicKey == "" || len(r.Ciphertext) == 0 {
		return Recovery{}, malformed("recovery "+r.Version, recoveryVersion+" with every field")
	}
	_, err := r.Recipient.parse()
	return r, err
}
