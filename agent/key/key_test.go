package key_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io/fs"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/quorate/quorate/agent/device"
	"github.com/quorate/quorate/agent/key"
	"github.com/quorate/quorate/simulator/swtpm"
	"github.com/quorate/quorate/simulator/vendorca"
)

// newTPM starts a software TPM with EK certificates for both templates.
func newTPM(t *testing.T, o swtpm.Options) *swtpm.TPM {
	t.Helper()
	swtpm.Require(t)
	tpm, err := swtpm.New(context.Background(), t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tpm.Close() })
	return tpm
}

func vendor(t *testing.T) *vendorca.CA {
	t.Helper()
	ca, err := vendorca.New(vendorca.Options{Seed: t.Name(), Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func open(t *testing.T, dev *device.Device) *key.Keys {
	t.Helper()
	keys, err := key.Open(t.Context(), dev, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keys.Close() })
	return keys
}

var pcrs = []uint32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}

// leftovers returns the handles that are loaded in the TPM.
func leftovers(t *testing.T, tpm transport.TPM) []tpm2.TPMHandle {
	t.Helper()
	var all []tpm2.TPMHandle
	for _, first := range []uint32{0x80000000, 0x02000000, 0x03000000} {
		rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 16}.Execute(tpm)
		if err != nil {
			t.Fatal(err)
		}
		list, err := rsp.CapabilityData.Data.Handles()
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range list.Handle {
			if uint32(h)>>24 == first>>24 {
				all = append(all, h)
			}
		}
	}
	return all
}

func TestKeysHaveTheRequiredAttributes(t *testing.T) {
	keys := open(t, device.Wrap(newTPM(t, swtpm.Options{})))
	for name, c := range map[string]struct {
		public     []byte
		restricted bool
	}{"AK": {keys.AKPublic(), true}, "node key": {keys.NodeKeyPublic(), false}} {
		public, err := tpm2.Unmarshal[tpm2.TPMTPublic](c.public)
		if err != nil {
			t.Fatal(err)
		}
		want := tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true,
			NoDA: true, SignEncrypt: true, Restricted: c.restricted,
		}
		if public.ObjectAttributes != want {
			t.Errorf("%s: %+v", name, public.ObjectAttributes)
		}
		params, err := public.Parameters.ECCDetail()
		if err != nil || params.CurveID != tpm2.TPMECCNistP256 || params.Scheme.Scheme != tpm2.TPMAlgECDSA {
			t.Errorf("%s: %+v %v", name, params, err)
		}
	}
}

func TestKeysSurviveARestart(t *testing.T) {
	tpm := newTPM(t, swtpm.Options{})
	dev := device.Wrap(tpm)
	keys := open(t, dev)
	name := bytes.Clone(keys.AKName())
	if err := tpm.Reset(); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Quote(t.Context(), tpm2.TPMAlgSHA256, pcrs, sha256.Sum256(nil)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(name, keys.AKName()) {
		t.Error("the attestation key changed with a restart")
	}
	if other, err := key.Open(t.Context(), dev, 1); err != nil {
		t.Error(err)
	} else {
		if other.NodeKeyDigest() == keys.NodeKeyDigest() {
			t.Error("two generations of the node key are one key")
		}
		other.Close()
	}
}

func TestAnotherTPM(t *testing.T) {
	first, second := newTPM(t, swtpm.Options{}), newTPM(t, swtpm.Options{})
	swap := &swappable{tpm: first}
	keys := open(t, device.Wrap(swap))
	swap.set(second)
	if err := keys.Check(t.Context()); err != nil {
		t.Fatal("keys in use are not checked again before the TPM forgets them:", err)
	}
	_, err := keys.Quote(t.Context(), tpm2.TPMAlgSHA256, pcrs, sha256.Sum256(nil))
	if !errors.Is(err, key.ErrOtherTPM) {
		t.Fatal(err)
	}
}

type swappable struct {
	mu  sync.Mutex
	tpm transport.TPM
}

func (s *swappable) set(tpm transport.TPM) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tpm = tpm
}

func (s *swappable) Send(c []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tpm.Send(c)
}

func TestLeftoversOfAKilledAgent(t *testing.T) {
	tpm := newTPM(t, swtpm.Options{})
	if _, err := key.Open(t.Context(), device.Wrap(tpm), 0); err != nil { // never closed
		t.Fatal(err)
	}
	keys, err := key.Open(t.Context(), device.Wrap(tpm), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.Close(); err != nil {
		t.Fatal(err)
	}
	if left := leftovers(t, tpm); len(left) != 0 {
		t.Errorf("left: %x", left)
	}
}

func TestSignerServesTLS(t *testing.T) {
	keys := open(t, device.Wrap(newTPM(t, swtpm.Options{})))
	cert, err := keys.Certificate("org-a/one")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if sha256.Sum256(parsed.RawSubjectPublicKeyInfo) != keys.NodeKeyDigest() {
		t.Error("certificate is for another key")
	}
	digest := sha256.Sum256([]byte("hello"))
	sig, err := cert.PrivateKey.(crypto.Signer).Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil || !ecdsa.VerifyASN1(parsed.PublicKey.(*ecdsa.PublicKey), digest[:], sig) {
		t.Error("signature does not verify:", err)
	}
	if _, err := keys.Signer().Sign(rand.Reader, digest[:20], crypto.SHA1); err == nil {
		t.Error("signed a SHA-1 digest")
	}
	var _ tls.Certificate = cert
}

func TestEndorsementKeys(t *testing.T) {
	ca := vendor(t)
	keys := open(t, device.Wrap(newTPM(t, swtpm.Options{Vendor: ca, RSA: true})))
	for _, template := range []key.Template{key.ECCP256, key.RSA2048} {
		ek, err := keys.OpenEK(t.Context(), template)
		if err != nil {
			t.Fatalf("%s: %v", template, err)
		}
		if len(ek.Intermediates) != 1 || !bytes.Equal(ek.Intermediates[0], ca.Intermediate) {
			t.Errorf("%s: %d intermediates", template, len(ek.Intermediates))
		}
		cert, err := x509.ParseCertificate(ek.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		secret := sha256.Sum256([]byte(template))
		blob, encrypted := credential(t, ek.Public, keys.AKName(), secret[:])
		got, err := ek.Activate(t.Context(), blob, encrypted)
		if err != nil || !bytes.Equal(got, secret[:]) {
			t.Errorf("%s: activate: %x, %v", template, got, err)
		}
		if err := ek.Close(); err != nil {
			t.Error(err)
		}
		t.Log(template, cert.Issuer, ek.HostID)
	}
	if _, err := keys.OpenEK(t.Context(), "rsa-1024"); !errors.Is(err, key.ErrTemplate) {
		t.Error(err)
	}
}

func credential(t *testing.T, ekPublic, akName, secret []byte) (blob, encrypted []byte) {
	t.Helper()
	public, err := tpm2.Unmarshal[tpm2.TPMTPublic](ekPublic)
	if err != nil {
		t.Fatal(err)
	}
	ek, err := tpm2.ImportEncapsulationKey(public)
	if err != nil {
		t.Fatal(err)
	}
	if blob, encrypted, err = tpm2.CreateCredential(rand.Reader, ek, akName, secret); err != nil {
		t.Fatal(err)
	}
	return blob, encrypted
}

func TestActivateForAnotherKeyFails(t *testing.T) {
	tpm := newTPM(t, swtpm.Options{Vendor: vendor(t)})
	keys := open(t, device.Wrap(tpm))
	ek, err := keys.OpenEK(t.Context(), key.ECCP256)
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.Clone(keys.AKName())
	other[5] ^= 1
	blob, encrypted := credential(t, ek.Public, other, make([]byte, 32))
	if _, err := ek.Activate(t.Context(), blob, encrypted); err == nil {
		t.Error("activated a credential for another key")
	}
	if err := errors.Join(ek.Close(), keys.Close()); err != nil {
		t.Error(err)
	}
	if left := leftovers(t, tpm); len(left) != 0 {
		t.Errorf("left: %x", left)
	}
}

func TestNoCertificate(t *testing.T) {
	keys := open(t, device.Wrap(newTPM(t, swtpm.Options{})))
	if _, err := keys.OpenEK(t.Context(), key.ECCP256); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

func TestA020_BankNotAllocated(t *testing.T) {
	tpm := newTPM(t, swtpm.Options{}) // manufactured with SHA-256 only
	keys := open(t, device.Wrap(tpm))
	if _, err := keys.Quote(t.Context(), tpm2.TPMAlgSHA384, pcrs, sha256.Sum256(nil)); !errors.Is(err, key.ErrBank) {
		t.Error("SHA-384:", err)
	}
	if _, err := keys.Quote(t.Context(), tpm2.TPMAlgSHA256, pcrs, sha256.Sum256(nil)); err != nil {
		t.Error("twin:", err)
	}
	names, err := key.Banks(tpm)
	if err != nil || len(names) != 1 || names[0] != "sha256" {
		t.Error(names, err)
	}
}

// interposer alters responses to one command, as somebody on the TPM's bus can.
type interposer struct {
	transport.TPM
	command tpm2.TPMCC
	alter   func([]byte)
}

func (i interposer) Send(c []byte) ([]byte, error) {
	r, err := i.TPM.Send(c)
	if err == nil && tpm2.TPMCC(binary.BigEndian.Uint32(c[6:])) == i.command && binary.BigEndian.Uint32(r[6:]) == 0 {
		i.alter(r)
	}
	return r, err
}

func TestA062_AlteredAnswersFailClosed(t *testing.T) {
	tpm := newTPM(t, swtpm.Options{Vendor: vendor(t)})
	flip := func(at int) func([]byte) { return func(r []byte) { r[at] ^= 1 } }
	last := func(r []byte) { r[len(r)-12] ^= 1 } // inside the last parameter, before the empty session
	for _, c := range []struct {
		name    string
		command tpm2.TPMCC
		alter   func([]byte)
	}{
		{"key made with other attributes", tpm2.TPMCCCreatePrimary, flip(24)},
		{"another public key", tpm2.TPMCCCreatePrimary, flip(60)},
		{"PCR value", tpm2.TPMCCPCRRead, func(r []byte) { r[len(r)-1] ^= 1 }},
		{"quoted structure", tpm2.TPMCCQuote, flip(40)},
		{"signature of the quote", tpm2.TPMCCQuote, last},
		{"creation certificate", tpm2.TPMCCCertifyCreation, flip(40)},
		{"node key certificate", tpm2.TPMCCCertify, flip(40)},
	} {
		if err := proveAll(t, interposer{tpm, c.command, c.alter}); err == nil {
			t.Errorf("%s: altered, and not noticed", c.name)
		}
	}
	if err := proveAll(t, interposer{tpm, 0, nil}); err != nil {
		t.Error("twin:", err)
	}
}

// proveAll does once everything that a verifier asks of the keys.
func proveAll(t *testing.T, tpm transport.TPM) error {
	keys, err := key.Open(t.Context(), device.Wrap(tpm), 0)
	if err != nil {
		return err
	}
	defer keys.Close()
	qualifying := sha256.Sum256([]byte("q"))
	if _, err := keys.CertifyCreation(t.Context(), qualifying); err != nil {
		return err
	}
	if _, err := keys.CertifyNodeKey(t.Context(), qualifying); err != nil {
		return err
	}
	_, err = keys.Quote(t.Context(), tpm2.TPMAlgSHA256, pcrs, qualifying)
	return err
}

// faulty fails every n-th command, in turn by an error of the TPM, by a lost
// connection before and after the TPM has run it, and by garbage.
type faulty struct {
	transport.TPM
	every, sent int
}

func (f *faulty) Send(c []byte) ([]byte, error) {
	f.sent++
	if f.every == 0 || f.sent%f.every != 0 {
		return f.TPM.Send(c)
	}
	kind := f.sent / f.every % 4
	if kind == 1 {
		return nil, errors.New("connection lost before the command")
	}
	if kind == 2 {
		return []byte{0x80, 1, 0, 0, 0, 10, 0, 0, 1, 1}, nil // TPM_RC_FAILURE
	}
	r, err := f.TPM.Send(c)
	if kind == 3 {
		return nil, errors.New("connection lost after the command")
	}
	return r[:len(r)-1], err
}

func TestA071_NothingIsLeftBehind(t *testing.T) {
	tpm := newTPM(t, swtpm.Options{Vendor: vendor(t)})
	f := &faulty{TPM: tpm}
	dev := device.Wrap(f)
	keys := open(t, dev)
	done, failed := 0, 0
	for i := range 1000 {
		f.every = 3 + i%17
		err := attest(t, keys, i%25 == 0)
		if err == nil {
			done++
		} else {
			failed++
		}
	}
	f.every = 0
	if err := attest(t, keys, true); err != nil {
		t.Error("twin: after all errors the keys no longer work:", err)
	}
	if err := keys.Close(); err != nil {
		t.Error(err)
	}
	if left := leftovers(t, tpm); len(left) != 0 {
		t.Errorf("left in the TPM: %x", left)
	}
	if done == 0 || failed == 0 {
		t.Errorf("%d attestations, %d failures: the test tests nothing", done, failed)
	}
}

// attest quotes, signs, and now and then activates.
func attest(t *testing.T, keys *key.Keys, enrol bool) error {
	digest := sha256.Sum256([]byte("x"))
	if enrol {
		ek, err := keys.OpenEK(t.Context(), key.ECCP256)
		if err != nil {
			return err
		}
		defer ek.Close()
		blob, encrypted := credential(t, ek.Public, keys.AKName(), digest[:])
		if _, err := ek.Activate(t.Context(), blob, encrypted); err != nil {
			return err
		}
	}
	if _, err := keys.Quote(t.Context(), tpm2.TPMAlgSHA256, pcrs, digest); err != nil {
		return err
	}
	_, err := keys.Signer().Sign(rand.Reader, digest[:], crypto.SHA256)
	return err
}
