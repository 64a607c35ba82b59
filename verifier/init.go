package verifier

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"embed"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/verifier/trust"
)

// Setup is what `quorate-verifier init` needs to know.
type Setup struct {
	Dir        string // folder to write into
	Name       string // the verifier's name
	Member     string // the member who runs it
	Operator   string // the first operator's name
	Consortium string // the consortium's name
	LedgerID   string
	Genesis    admission.Digest
	Attest     string // host:port
	Enroll     string // host:port
	Trust      string // folder with vendor roots to copy, or empty
	Test       bool   // allow test roots
}

// Created are the files that Init wrote.
type Created struct {
	Config, Consortium, OperatorKey, Policy, Trust string
	Roots                                          int // vendor roots in the trust bundle
}

// Init writes a verifier's first configuration: keys (0600), configuration,
// consortium file, trust bundle and an example policy. It never overwrites.
func Init(s Setup) (*Created, error) {
	c := &Created{
		Config: filepath.Join(s.Dir, "verifier.yaml"), Consortium: filepath.Join(s.Dir, "consortium.yaml"),
		OperatorKey: filepath.Join(s.Dir, "keys", "operator.key"), Policy: filepath.Join(s.Dir, "policy"),
		Trust: filepath.Join(s.Dir, "trust"),
	}
	for _, dir := range []string{s.Dir, filepath.Join(s.Dir, "keys"), filepath.Join(s.Dir, "data"), c.Policy, c.Trust} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	if err := notYet(c.Config, c.Consortium); err != nil {
		return nil, err
	}
	if s.Trust != "" {
		if err := os.CopyFS(c.Trust, os.DirFS(s.Trust)); err != nil {
			return nil, fmt.Errorf("copy the trust bundle: %w", err)
		}
	}
	bundle, err := trust.ReadFS(os.DirFS(c.Trust))
	if err != nil {
		return nil, err
	}
	c.Roots = len(bundle.Roots)
	consortium, err := s.consortium(c, bundle)
	if err != nil {
		return nil, err
	}
	return c, errors.Join(
		writeNew(c.Consortium, consortium), writeNew(c.Config, []byte(fmt.Sprintf(configTemplate, s.Name, s.Attest, s.Enroll))),
		writeExample(c.Policy),
		writeNew(filepath.Join(c.Trust, "README"), []byte(trustReadme)),
	)
}

// example is a policy that loads, with comments.
//
//go:embed example
var example embed.FS

func writeExample(dir string) error {
	files, err := fs.Sub(example, "example")
	if err != nil {
		return err
	}
	return os.CopyFS(dir, files)
}

// consortium makes the keys and the consortium file that names them.
func (s Setup) consortium(c *Created, bundle *trust.Bundle) ([]byte, error) {
	keys := filepath.Join(s.Dir, "keys")
	admissionKey, err := newNoteKey(filepath.Join(keys, "admission.key"), s.Name)
	if err != nil {
		return nil, err
	}
	logKey, err := newNoteKey(filepath.Join(keys, "log.key"), s.Name+"/journal")
	if err != nil {
		return nil, err
	}
	operatorKey, err := newNoteKey(c.OperatorKey, s.Member+"/"+s.Operator)
	if err != nil {
		return nil, err
	}
	tlsKey, err := newTLSKey(filepath.Join(keys, "tls.key"))
	if err != nil {
		return nil, err
	}
	grantKey, err := newGrantKey(filepath.Join(keys, "grant.key"))
	if err != nil {
		return nil, err
	}
	file := admission.Consortium{
		Name: s.Consortium, Test: s.Test, Ledger: admission.Ledger{ID: s.LedgerID, Genesis: s.Genesis}, Threshold: 1,
		Verifiers: []admission.Verifier{{
			Name: s.Name, Member: s.Member, AdmissionKey: admissionKey, LogKey: logKey, TLSKey: tlsKey,
			GrantKey: grantKey, Attest: s.Attest, Enroll: s.Enroll,
		}},
		Members: []admission.Member{{Name: s.Member, Operators: []admission.Operator{
			{Member: s.Member, Key: operatorKey, Role: admission.RoleAdmin},
		}}},
		Approvals: admission.Approvals{Policy: 1},
		Endorsement: admission.Endorsement{
			Templates: map[string]string{"discrete": "rsa-2048", "firmware": "ecc-p256", "virtual": "ecc-p256"},
			Roots:     bundle.Digest(),
		},
	}
	text, err := file.Marshal()
	if err != nil {
		return nil, err
	}
	if _, err := admission.ParseConsortium(text); err != nil {
		return nil, err
	}
	return append([]byte(consortiumHeader), text...), nil
}

// newNoteKey writes a new note signer key and returns the verifier key.
func newNoteKey(path, name string) (string, error) {
	private, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return "", fmt.Errorf("make the key of %s: %w", name, err)
	}
	return public, writeSecret(path, []byte(private+"\n"))
}

func newTLSKey(path string) (admission.Digest, error) {
	public, err := newECKey(path)
	if err != nil {
		return admission.Digest{}, err
	}
	return KeyDigest(public)
}

// newGrantKey writes a new grant key and returns its text in the consortium file.
// It is ECDSA P-256, since a TPM checks its signatures.
func newGrantKey(path string) (string, error) {
	public, err := newECKey(path)
	if err != nil {
		return "", err
	}
	return grantKeyText(public)
}

func newECKey(path string) (crypto.PublicKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key.Public(), writeSecret(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func notYet(paths ...string) error {
	for _, path := range paths {
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%s exists already; init never overwrites", path)
		}
	}
	return nil
}

func writeNew(path string, data []byte) error {
	if _, err := os.Lstat(path); err == nil {
		return nil // copied with the trust bundle
	}
	return os.WriteFile(path, data, 0o644)
}

const consortiumHeader = `# The consortium file: what every relying party pins. All members hold the same
# copy; agents, verifiers and ledger nodes read it. It holds no secrets.
# Changing it changes its digest, which every journal's first entry states.
`

const configTemplate = `# Configuration of quorate-verifier. Paths are relative to this file.
# Unknown keys are refused, so a misspelt one cannot be overlooked.

# Name of this verifier in the consortium file.
name: %s

# The consortium file: ledger, verifiers, members, keys.
consortium: consortium.yaml

# Database, journal and evidence archive. Back up journal and archive; the
# database can be made again from them: quorate-verifier rebuild.
data: data

# TPM vendor roots, <class>/*.pem; the consortium file pins their digest.
trust: trust

# Private keys, mode 0600. The admission key and the log key are different keys
# on purpose: one says "I checked this evidence", the other "this is the log".
keys:
  admission: keys/admission.key
  log: keys/log.key
  tls: keys/tls.key
  # Grants, by which the TPMs of admitted hosts release sealed consensus keys. The
  # consortium file names its public half, grantKey. Without it none are given.
  grant: keys/grant.key

listen:
  # Agents, operators and gates; mutual TLS.
  attest: %s
  # New hosts, with a single-use join token.
  enroll: %s

# A CometBFT node that you run, by its RPC address. Challenges then name its latest
# block, so that the ledger can judge the age of evidence by its own height.
# beacon: http://127.0.0.1:26657

# What a peer can make this verifier do. Every limit refuses with a clear status.
limits:
  messageBytes: 4194304     # one gRPC message
  imaBytes: 67108864        # IMA list of one round
  connections: 20000        # open connections per listener
  perSource: 256            # open connections per source address
  enrollPerHour: 120        # enrolment attempts per source address
  handshake: 10s            # TLS and HTTP/2 handshake
  idle: 5m                  # connection without a session
  answerWithin: 1m          # life of a challenge, at most 1m
  requestTimeout: 1m        # one enrolment, one unary call
`

const trustReadme = `Roots of TPM vendors, as PEM files in one folder per TPM class:

  discrete/   chips of their own           (Infineon, STMicroelectronics, Nuvoton, ...)
  firmware/   TPMs inside a CPU or chipset (Intel PTT, AMD fTPM, ...)
  virtual/    TPMs of a hypervisor

Folders named test-discrete, test-firmware and test-virtual hold roots that only
a consortium with "test: true" accepts. The consortium file pins the digest of
all of them, so every verifier trusts the same vendors. Certificates get here with
"quorate trust import", which checks them and prints the line for that file.
`
