package seal

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"fmt"
	"math"
	"time"
)

const (
	requestVersion = "quorate/grant-request/v1"
	grantVersion   = "quorate/grant/v1"
)

// MaxGrant bounds how long a grant can be valid.
const MaxGrant = time.Hour

// Request asks the grantor to let one start of one signer release its key. The
// nonce is the TPM's own for this start: the answer serves for no other.
type Request struct {
	Version   string `json:"grantRequest"`
	Ledger    string `json:"ledger"`
	Genesis   string `json:"genesis"`
	Node      string `json:"node"`
	PublicKey string `json:"publicKey"`
	Nonce     []byte `json:"nonce"`
}

// request makes the request of a start.
func (t Terms) request(nonce []byte) Request {
	return Request{
		Version: requestVersion, Ledger: t.Ledger, Genesis: t.Genesis, Node: t.Node, PublicKey: t.PublicKey,
		Nonce: bytes.Clone(nonce),
	}
}

// Marshal returns the request's file.
func (r Request) Marshal() []byte { return marshal(r) }

// ParseRequest reads a request's file. A request without a nonce of at least 16
// bytes is refused: a grant for it could be used again.
func ParseRequest(data []byte) (Request, error) {
	var r Request
	if err := parse(data, "grant request", &r); err != nil {
		return Request{}, err
	}
	if r.Version != requestVersion || r.Ledger == "" || r.Genesis == "" || r.Node == "" || r.PublicKey == "" {
		return Request{}, malformed("grant request "+r.Version, requestVersion+" with every field")
	}
	if len(r.Nonce) < 16 || len(r.Nonce) > 64 {
		return Request{}, malformed(fmt.Sprintf("a nonce of %d bytes", len(r.Nonce)), "16 to 64 bytes")
	}
	return r, nil
}

// Grant is the grantor's answer. The TPM counts its seconds from when it made
// the nonce.
type Grant struct {
	Version   string `json:"grant"`
	Nonce     []byte `json:"nonce"`
	Seconds   int32  `json:"seconds"`
	Signature []byte `json:"signature"` // ASN.1 ECDSA
}

// Sign grants a request for the given time, counted from the request.
func (r Request) Sign(grantor *ecdsa.PrivateKey, valid time.Duration) (Grant, error) {
	if valid < time.Second || valid > MaxGrant {
		return Grant{}, &Refusal{Check: GrantDenied, Got: valid.String(), Want: "from 1s to " + MaxGrant.String()}
	}
	g := Grant{Version: grantVersion, Nonce: r.Nonce, Seconds: int32(min(valid/time.Second, math.MaxInt32))}
	ref := ref(grantLabel, r.Ledger, r.Genesis, r.Node, r.PublicKey)
	digest := grantDigest(g.Nonce, g.Seconds, ref)
	var err error
	g.Signature, err = ecdsa.SignASN1(rand.Reader, grantor, digest[:])
	return g, err
}

// Marshal returns the grant's file.
func (g Grant) Marshal() []byte { return marshal(g) }

// ParseGrant reads a grant's file. It checks no signature; the TPM does.
func ParseGrant(data []byte) (Grant, error) {
	var g Grant
	if err := parse(data, "grant", &g); err != nil {
		return Grant{}, err
	}
	if g.Version != grantVersion || g.Seconds < 1 || len(g.Nonce) < 16 || len(g.Nonce) > 64 {
		return Grant{}, malformed("grant "+g.Version, grantVersion+" with a nonce and seconds")
	}
	_, err := tpmSignature(g.Signature)
	return g, err
}
