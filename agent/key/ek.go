package key

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// Bounds of what is read from NV.
const (
	maxCertificate   = 8 << 10  // bytes of an EK certificate
	maxChain         = 64 << 10 // bytes of all intermediates
	maxIntermediates = 16
)

// The NV indices that a vendor may put intermediates into, one stream of DER
// certificates over consecutive indices (TCG EK Credential Profile).
const (
	firstChainIndex = 0x01c00100
	lastChainIndex  = 0x01c001ff
)

// ErrPadding reports bytes behind a certificate in NV that are not padding.
var ErrPadding = errors.New("key: certificate in NV is followed by other data")

// Endorsement is what the TPM holds about its endorsement key under one
// template. The certificate is as read; nothing has verified it.
type Endorsement struct {
	Template      Template
	Certificate   []byte   // DER without padding
	Intermediates [][]byte // DER, as found in NV
	Public        []byte   // TPMT_PUBLIC of the key that the template makes
	HostID        string   // hex SHA-256 of its SubjectPublicKeyInfo
}

// CertificateOf reads the EK certificate for a template from NV. Error is
// fs.ErrNotExist when the TPM has none.
func CertificateOf(tpm transport.TPM, t Template) ([]byte, error) {
	_, index, err := t.ekTemplate()
	if err != nil {
		return nil, err
	}
	data, err := readNV(tpm, index, maxCertificate)
	if err != nil {
		return nil, fmt.Errorf("key: EK certificate (NV %#x): %w", uint32(index), err)
	}
	var der asn1.RawValue
	rest, err := asn1.Unmarshal(data, &der)
	if err != nil {
		return nil, fmt.Errorf("key: EK certificate (NV %#x): %w", uint32(index), err)
	}
	if !isPadding(rest) {
		return nil, ErrPadding
	}
	return der.FullBytes, nil
}

// isPadding accepts runs of 00 or of FF, with which vendors fill an index.
func isPadding(b []byte) bool {
	for _, c := range b {
		if c != b[0] || c != 0 && c != 0xff {
			return false
		}
	}
	return true
}

// Intermediates reads the vendor's chain from NV. A TPM without one has none,
// which is no error; data that is not a certificate ends the chain.
func Intermediates(tpm transport.TPM) ([][]byte, error) {
	handles, err := listHandles(tpm, firstChainIndex)
	if err != nil {
		return nil, err
	}
	var stream []byte
	for _, h := range handles {
		if h > lastChainIndex || len(stream) > maxChain {
			break
		}
		part, err := readNV(tpm, h, maxChain)
		if err != nil {
			return nil, fmt.Errorf("key: EK chain (NV %#x): %w", uint32(h), err)
		}
		stream = append(stream, part...)
	}
	return splitCertificates(stream), nil
}

func splitCertificates(stream []byte) [][]byte {
	var list [][]byte
	for len(stream) > 0 && len(list) < maxIntermediates {
		var der asn1.RawValue
		rest, err := asn1.Unmarshal(stream, &der)
		if err != nil {
			break
		}
		if _, err := x509.ParseCertificate(der.FullBytes); err != nil {
			break
		}
		list = append(list, der.FullBytes)
		stream = rest
	}
	return list
}

// readNV reads a whole index, with its own empty auth or as the owner.
func readNV(tpm transport.TPM, index tpm2.TPMHandle, limit int) ([]byte, error) {
	rsp, err := tpm2.NVReadPublic{NVIndex: index}.Execute(tpm)
	if errors.Is(err, tpm2.TPMRCHandle) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	public, err := rsp.NVPublic.Contents()
	if err != nil {
		return nil, err
	}
	if int(public.DataSize) > limit {
		return nil, fmt.Errorf("%d bytes, at most %d", public.DataSize, limit)
	}
	auth := tpm2.AuthHandle{Handle: index, Name: rsp.NVName, Auth: tpm2.PasswordAuth(nil)}
	if !public.Attributes.AuthRead {
		auth = tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}
	}
	return readParts(tpm, auth, tpm2.NamedHandle{Handle: index, Name: rsp.NVName}, int(public.DataSize))
}

// readParts reads in parts of 512 bytes, which every TPM's NV buffer holds.
func readParts(tpm transport.TPM, auth tpm2.AuthHandle, index tpm2.NamedHandle, size int) ([]byte, error) {
	data := make([]byte, 0, size)
	for len(data) < size {
		rsp, err := tpm2.NVRead{
			AuthHandle: auth, NVIndex: index,
			Size: uint16(min(512, size-len(data))), Offset: uint16(len(data)),
		}.Execute(tpm)
		if err != nil {
			return nil, err
		}
		if len(rsp.Data.Buffer) == 0 {
			return nil, errors.New("TPM returned no data")
		}
		data = append(data, rsp.Data.Buffer...)
	}
	return data, nil
}

// EK is a loaded endorsement key. It occupies the third and last slot of a
// small TPM beside the AK and the node key, so close it soon.
type EK struct {
	Endorsement

	keys   *Keys
	loaded *primary
	at     uint64 // keys.cleaned when it was loaded
}

// OpenEK loads the endorsement key of a template and reads its certificate.
// Generating an RSA key takes a chip up to tens of seconds.
func (k *Keys) OpenEK(ctx context.Context, t Template) (*EK, error) {
	template, _, err := t.ekTemplate()
	if err != nil {
		return nil, err
	}
	ek := &EK{keys: k, Endorsement: Endorsement{Template: t}}
	err = k.use(ctx, func(tpm transport.TPM) (err error) {
		if ek.Certificate, err = CertificateOf(tpm, t); err != nil {
			return err
		}
		if ek.Intermediates, err = Intermediates(tpm); err != nil {
			return err
		}
		ek.at = k.cleaned
		if ek.loaded, err = createPrimary(tpm, template); err != nil {
			k.dirty = true
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := ek.describe(); err != nil {
		return nil, errors.Join(err, ek.Close())
	}
	return ek, nil
}

func (e *EK) describe() error {
	pub, err := tpm2.Pub(e.loaded.public)
	if err != nil {
		return fmt.Errorf("key: endorsement key: %w", err)
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return fmt.Errorf("key: endorsement key: %w", err)
	}
	sum := sha256.Sum256(der)
	e.Public, e.HostID = tpm2.Marshal(e.loaded.public), hex.EncodeToString(sum[:])
	return nil
}

// Close flushes the key.
func (e *EK) Close() error {
	k := e.keys
	k.mu.Lock()
	defer k.mu.Unlock()
	if e.loaded == nil || e.at != k.cleaned {
		return nil
	}
	err := flush(k.dev, e.loaded.handle)
	if err != nil {
		k.dirty = true
	}
	e.loaded = nil
	return err
}

// Activate recovers the secret of a credential that was made for this EK and
// the attestation key's name. It fails for any other pair.
func (e *EK) Activate(ctx context.Context, blob, secret []byte) (recovered []byte, err error) {
	k := e.keys
	k.mu.Lock()
	defer k.mu.Unlock()
	if e.loaded == nil || e.at != k.cleaned || k.ak == nil || k.loadedAt != k.dev.Generation() {
		return nil, errors.New("key: the TPM restarted during enrolment; start again")
	}
	tpm := k.dev.With(ctx)
	rsp, err := tpm2.ActivateCredential{
		ActivateHandle: k.ak.auth(),
		KeyHandle: tpm2.AuthHandle{
			Handle: e.loaded.handle, Name: e.loaded.name,
			Auth: tpm2.Policy(tpm2.TPMAlgSHA256, 16, endorsementPolicy),
		},
		CredentialBlob: tpm2.TPM2BIDObject{Buffer: blob},
		Secret:         tpm2.TPM2BEncryptedSecret{Buffer: secret},
	}.Execute(tpm)
	if err != nil {
		k.dirty = true // the policy session may have been left behind
		return nil, errors.Join(fmt.Errorf("key: activate credential: %w", err), k.clean(k.dev))
	}
	return rsp.CertInfo.Buffer, nil
}

// endorsementPolicy is the EK templates' policy: knowledge of the endorsement
// hierarchy's (empty) auth.
func endorsementPolicy(tpm transport.TPM, session tpm2.TPMISHPolicy, nonce tpm2.TPM2BNonce) error {
	_, err := tpm2.PolicySecret{
		AuthHandle:    tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		PolicySession: session, NonceTPM: nonce,
	}.Execute(tpm)
	return err
}
