package seal

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"fmt"
	"math"
	"time"

	"github.com/quorate/quorate/proto/binding"
)

const (
	requestVersion = "quorate/grant-request/v1"
	grantVersion   = "quorate/grant/v1"
)

// Names of a request, and of the answer that is put beside it, in the signer's
// directory.
const (
	RequestFile = "grant-request.json"
	GrantFile   = "grant.json"
	RefusalFile = "grant-refusal.json" // why nobody answered: an Unanswered
)

// Unanswered tells the waiting signer what the grantors' services said instead of
// granting its request.
type Unanswered struct {
	Nonce    []byte   `json:"nonce"`
	Problems []string `json:"problems"`
}

// Marshal returns the file.
func (u Unanswered) Marshal() []byte { return marshal(u) }

// ParseUnanswered reads the file.
func ParseUnanswered(data []byte) (u Unanswered, err error) {
	return u, parse(data, "answer of the grantors", &u)
}

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
	// Grantors are the keys of which any one can answer.
	Grantors []PublicKey `json:"grantors,omitempty"`
}

// request makes the request of a start.
func (t Terms) request(nonce []byte) Request {
	return Request{
		Version: requestVersion, Ledger: t.Ledger, Genesis: t.Genesis, Node: t.Node, PublicKey: t.PublicKey,
		Nonce: bytes.Clone(nonce), Grantors: t.Grantors(),
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
	if len(r.Grantors) > MaxGrantors {
		return Request{}, malformed(fmt.Sprintf("%d grantors", len(r.Grantors)), fmt.Sprintf("at most %d", MaxGrantors))
	}
	if len(r.Nonce) < binding.MinGrantNonce || len(r.Nonce) > binding.MaxGrantNonce {
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
	digest := r.key().Digest(g.Nonce, g.Seconds)
	var err error
	g.Signature, err = ecdsa.SignASN1(rand.Reader, grantor, digest[:])
	return g, err
}

func (r Request) key() binding.Grant {
	return binding.Grant{ChainID: r.Ledger, Genesis: r.Genesis, Node: r.Node, ConsensusKey: r.PublicKey}
}

// Granted puts together the grant that a grantor's service answered a request
// with, if it is by that grantor. So the request stays open when it is not.
func (r Request) Granted(grantor PublicKey, seconds uint32, signature []byte) (Grant, error) {
	if seconds == 0 || seconds > uint32(MaxGrant/time.Second) {
		return Grant{}, &Refusal{Check: GrantDenied, Got: fmt.Sprintf("%d seconds", seconds), Want: "from 1s to " + MaxGrant.String()}
	}
	key, err := grantor.parse()
	if err != nil {
		return Grant{}, err
	}
	if digest := r.key().Digest(r.Nonce, int32(seconds)); !ecdsa.VerifyASN1(key, digest[:], signature) {
		return Grant{}, &Refusal{Check: GrantDenied, Got: "a signature by another key, or over another request", Want: "the grantor's"}
	}
	return Grant{Version: grantVersion, Nonce: r.Nonce, Seconds: int32(seconds), Signature: signature}, nil
}

// by returns the grantor of the terms that signed, or the first.
func (g Grant) by(t Terms) PublicKey {
	digest := t.grant().Digest(g.Nonce, g.Seconds)
	for _, k := range t.Grantors() {
		if public, err := k.parse(); err == nil && ecdsa.VerifyASN1(public, digest[:], g.Signature) {
			return k
		}
	}
	return t.Grantor
}

// Marshal returns the grant's file.
func (g Grant) Marshal() []byte { return marshal(g) }

// ParseGrant reads a grant's file. It checks no signature; the TPM does.
func ParseGrant(data []byte) (Grant, error) {
	var g Grant
	if err := parse(data, "grant", &g); err != nil {
		return Grant{}, err
	}
	if g.Version != grantVersion || g.Seconds < 1 || len(g.Nonce) < binding.MinGrantNonce || len(g.Nonce) > binding.MaxGrantNonce {
		return Grant{}, malformed("grant "+g.Version, grantVersion+" with a nonce and seconds")
	}
	_, err := tpmSignature(g.Signature)
	return g, err
}
