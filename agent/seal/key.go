package seal

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/agent/device"
	"github.com/quorate/quorate/agent/key"
)

const (
	keyVersion  = "quorate/sealed-key/v1"
	seedLabel   = "quorate/consensus-seed/v1"
	parentLabel = "quorate/seal-parent/v1"
)

// Key is a sealed consensus key: what lies on disk.
type Key struct {
	Version string `json:"sealedKey"`
	Terms   Terms  `json:"terms"`
	Parent  string `json:"parent"`  // hex name of the TPM's storage key that it is sealed under
	Public  []byte `json:"public"`  // TPM2B_PUBLIC
	Private []byte `json:"private"` // TPM2B_PRIVATE: encrypted by the TPM
}

// Create makes a new key from the TPM's randomness and ours and seals it. The
// terms come without public key; a cap that is empty becomes the present value of
// the cap PCR. With a recipient there is a recovery file too, else it is nil.
func Create(ctx context.Context, dev *device.Device, t Terms, recipient PublicKey) (*Key, *Recovery, error) {
	tpm := dev.With(ctx)
	rsp, err := tpm2.GetRandom{BytesRequested: 32}.Execute(tpm)
	if err != nil {
		return nil, nil, fmt.Errorf("seal: random bytes of the TPM: %w", err)
	}
	if len(rsp.RandomBytes.Buffer) != 32 {
		return nil, nil, fmt.Errorf("seal: the TPM gave %d random bytes", len(rsp.RandomBytes.Buffer))
	}
	own := make([]byte, 32)
	rand.Read(own)
	mixed := append(append([]byte(seedLabel), rsp.RandomBytes.Buffer...), own...)
	seed := sha256.Sum256(mixed)
	defer wipe(seed[:], mixed, own, rsp.RandomBytes.Buffer)
	return sealSeed(tpm, t, seed[:], recipient)
}

// Import seals a key that exists. Whoever made it may still have it: that the
// key is in one place only is then the operator's word, not the TPM's.
func Import(ctx context.Context, dev *device.Device, t Terms, private ed25519.PrivateKey, recipient PublicKey) (*Key, *Recovery, error) {
	if len(private) != ed25519.PrivateKeySize || !private.Equal(ed25519.NewKeyFromSeed(private.Seed())) {
		return nil, nil, &Refusal{Check: WrongKey, Got: "public and private half differ", Want: "an Ed25519 private key"}
	}
	return sealSeed(dev.With(ctx), t, private.Seed(), recipient)
}

func sealSeed(tpm transport.TPM, t Terms, seed []byte, recipient PublicKey) (k *Key, r *Recovery, err error) {
	t.PublicKey = admission.FormatConsensusKey(ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
	if t.Cap == "" {
		if t.Cap, err = readCap(tpm, t.Bank); err != nil {
			return nil, nil, err
		}
	}
	if err := t.check(); err != nil {
		return nil, nil, err
	}
	if recipient != "" {
		if r, err = t.escrow(seed, recipient); err != nil {
			return nil, nil, err
		}
	}
	k, err = t.seal(tpm, seed)
	return k, r, err
}

// seal has the TPM encrypt the seed under the terms.
func (t Terms) seal(tpm transport.TPM, seed []byte) (_ *Key, err error) {
	policy, err := t.digest()
	if err != nil {
		return nil, err
	}
	parent, err := newParent(tpm)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, parent.flush(tpm)) }()
	created, err := createSealed(tpm, parent, policy, seed)
	if err != nil {
		return nil, err
	}
	return &Key{
		Version: keyVersion, Terms: t, Parent: hex.EncodeToString(parent.name.Buffer),
		Public: tpm2.Marshal(created.OutPublic), Private: tpm2.Marshal(created.OutPrivate),
	}, nil
}

// createSealed seals the seed. The seed crosses the bus encrypted for the parent.
func createSealed(tpm transport.TPM, parent *parent, policy [32]byte, seed []byte) (*tpm2.CreateResponse, error) {
	rsp, err := tpm2.Create{
		ParentHandle: parent.auth(),
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: seed}),
		}},
		InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
			ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, AdminWithPolicy: true, NoDA: true},
			AuthPolicy:       tpm2.TPM2BDigest{Buffer: policy[:]},
		}),
	}.Execute(tpm, tpm2.HMAC(tpm2.TPMAlgSHA256, 16, tpm2.AESEncryption(128, tpm2.EncryptIn), tpm2.Salted(parent.handle, parent.public)))
	if err != nil {
		return nil, fmt.Errorf("seal: create sealed key: %w", err)
	}
	return rsp, nil
}

// readCap returns the value of the cap PCR in hex.
func readCap(tpm transport.TPM, bank string) (string, error) {
	alg, err := key.ParseBank(bank)
	if err != nil {
		return "", &Refusal{Check: BadTerms, Got: bank, Want: "sha256 or sha384"}
	}
	values, err := key.ReadPCRs(tpm, alg, []uint32{CapPCR})
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(values[0]), nil
}

// Marshal returns the key's file.
func (k *Key) Marshal() []byte { return marshal(k) }

// ParseKey reads a key's file. The blobs in it are the TPM's to judge.
func ParseKey(data []byte) (*Key, error) {
	var k Key
	if err := parse(data, "sealed key", &k); err != nil {
		return nil, err
	}
	if k.Version != keyVersion {
		return nil, malformed("sealed key "+k.Version, keyVersion)
	}
	if err := k.Terms.check(); err != nil {
		return nil, err
	}
	if _, err := admission.ParseConsensusKey(k.Terms.PublicKey); err != nil {
		return nil, malformed("public key "+k.Terms.PublicKey, "ed25519:<base64>")
	}
	if len(k.Public) == 0 || len(k.Private) == 0 || len(k.Parent) == 0 {
		return nil, malformed("a sealed key without blobs", "public, private and parent")
	}
	return &k, nil
}

// PublicKey returns the consensus key's public half.
func (k *Key) PublicKey() ed25519.PublicKey {
	public, err := admission.ParseConsensusKey(k.Terms.PublicKey)
	if err != nil {
		return nil
	}
	return public
}

func wipe(secrets ...[]byte) {
	for _, s := range secrets {
		clear(s)
	}
}
