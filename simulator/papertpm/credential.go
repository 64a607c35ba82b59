package papertpm

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"
)

// Activate does what TPM2_ActivateCredential does with the node's EK and AK: it
// returns the secret if the credential was made for exactly these two. blob is
// a TPMS_ID_OBJECT, secret what TPM2B_ENCRYPTED_SECRET holds.
func (n *Node) Activate(blob, secret []byte) ([]byte, error) {
	seed, err := n.openSeed(secret)
	if err != nil {
		return nil, err
	}
	if len(blob) < 2+sha256.Size || binary.BigEndian.Uint16(blob) != sha256.Size {
		return nil, errors.New("papertpm: credential blob is too short")
	}
	mac, sealed := blob[2:2+sha256.Size], blob[2+sha256.Size:]
	h := hmac.New(sha256.New, tpm2.KDFa(crypto.SHA256, seed, "INTEGRITY", nil, nil, 256))
	h.Write(sealed)
	h.Write(n.AK.Name())
	if !hmac.Equal(mac, h.Sum(nil)) {
		return nil, errors.New("papertpm: credential is not for this EK and AK")
	}
	block, err := aes.NewCipher(tpm2.KDFa(crypto.SHA256, seed, "STORAGE", n.AK.Name(), nil, 128))
	if err != nil {
		return nil, fmt.Errorf("papertpm: %w", err)
	}
	open := make([]byte, len(sealed))
	//lint:ignore SA1019 the TPM specification demands CFB; the HMAC above authenticates
	cipher.NewCFBDecrypter(block, make([]byte, aes.BlockSize)).XORKeyStream(open, sealed)
	value, err := tpm2.Unmarshal[tpm2.TPM2BDigest](open)
	if err != nil {
		return nil, fmt.Errorf("papertpm: credential: %w", err)
	}
	return value.Buffer, nil
}

// openSeed recovers the seed of the credential with the EK's private part.
func (n *Node) openSeed(secret []byte) ([]byte, error) {
	if key, ok := n.EK.Signer.(*rsa.PrivateKey); ok {
		seed, err := rsa.DecryptOAEP(sha256.New(), nil, key, secret, []byte("IDENTITY\x00"))
		if err != nil {
			return nil, fmt.Errorf("papertpm: %w", err)
		}
		return seed, nil
	}
	ephemeral, err := tpm2.Unmarshal[tpm2.TPMSECCPoint](secret)
	if err != nil {
		return nil, fmt.Errorf("papertpm: ephemeral key: %w", err)
	}
	x, y := ephemeral.X.Buffer, ephemeral.Y.Buffer
	public, err := ecdh.P256().NewPublicKey(slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, fmt.Errorf("papertpm: ephemeral key: %w", err)
	}
	private := n.EK.ecdhKey()
	z, err := private.ECDH(public)
	if err != nil {
		return nil, fmt.Errorf("papertpm: %w", err)
	}
	own := private.PublicKey().Bytes()
	return tpm2.KDFe(crypto.SHA256, z, "IDENTITY", x, own[1:33], 256), nil
}
