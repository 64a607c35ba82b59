package seal

import (
	"context"
	"crypto/ecdsa"
	"testing"
	"time"
)

// Any one of several grantors opens the key, and nobody else: of a key that needs a
// grant at every start, and of one that needs it from the second on.
func TestAnyGrantorOpens(t *testing.T) {
	h := newHost(t)
	second, third := p256(t), p256(t)
	by := func(k *ecdsa.PrivateKey) Ask {
		return func(_ context.Context, r Request) (Grant, error) { return r.Sign(k, time.Minute) }
	}
	for name, terms := range map[string]Terms{"strict": h.strict(), "once a boot": h.granted()} {
		t.Run(name, func(t *testing.T) {
			terms.OtherGrantors = []PublicKey{public(t, second), public(t, third)}
			k, a := h.create(terms), []Approval{h.approve()}
			for _, g := range []*ecdsa.PrivateKey{h.grantor, second, third} {
				h.opens(k, a, by(g))
			}
			_, err := k.Unseal(t.Context(), h.dev, a, by(p256(t)))
			refused(t, err, GrantDenied)
			lone := *k // the file says less than the TPM: the policy is another
			lone.Terms.OtherGrantors = nil
			_, err = lone.Unseal(t.Context(), h.dev, a, by(h.grantor))
			refused(t, err, Policy)
			h.reboot()
		})
	}
	h.empty()
}

// The grants of one host's key open no other's on the same TPM.
func TestGrantIsForOneKey(t *testing.T) {
	h := newHost(t)
	a := []Approval{h.approve()}
	mine, other := h.create(h.strict()), h.strict()
	other.Node = "org-b/validator-1"
	theirs := h.create(other)
	stolen := func(_ context.Context, r Request) (Grant, error) {
		r.Node, r.PublicKey = theirs.Terms.Node, theirs.Terms.PublicKey // what a verifier that holds them admitted signs
		return r.Sign(h.grantor, time.Minute)
	}
	_, err := mine.Unseal(t.Context(), h.dev, a, stolen)
	refused(t, err, GrantDenied)
	h.opens(theirs, a, stolen)
	h.opens(mine, a, h.sign(time.Minute))
}

func TestGrantorsAreDistinctAndFew(t *testing.T) {
	good := someTerms(t)
	for i := range MaxGrantors - 1 {
		good.OtherGrantors = append(good.OtherGrantors, public(t, fixed(t, string(rune('a'+i)))))
	}
	if err := good.check(); err != nil || len(good.Grantors()) != MaxGrantors {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Terms){
		"one more":    func(x *Terms) { x.OtherGrantors = append(x.OtherGrantors[:6:6], public(t, fixed(t, "z"))) },
		"twice":       func(x *Terms) { x.OtherGrantors = []PublicKey{x.Grantor} },
		"none":        func(x *Terms) { x.OtherGrantors = []PublicKey{""} },
		"others only": func(x *Terms) { x.Grantor = "" },
	} {
		bad := good
		spoil(&bad)
		refusedNamed(t, name, bad.check(), BadTerms)
	}
}

// An answer is taken from the grantor that was asked, for the request that was made.
func TestGranted(t *testing.T) {
	r := Request{Version: requestVersion, Ledger: "l", Genesis: "g", Node: "org-a/n", PublicKey: "ed25519:x", Nonce: make([]byte, 32)}
	key, stranger := fixed(t, "grantor"), fixed(t, "stranger")
	g, err := r.Sign(key, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Granted(public(t, key), 60, g.Signature)
	if err != nil || string(got.Marshal()) != string(g.Marshal()) {
		t.Errorf("%+v, %v", got, err)
	}
	next := r
	next.Nonce = append(make([]byte, 31), 1)
	for name, try := range map[string]func() (Grant, error){
		"by another":    func() (Grant, error) { return r.Granted(public(t, stranger), 60, g.Signature) },
		"longer":        func() (Grant, error) { return r.Granted(public(t, key), 61, g.Signature) },
		"no time":       func() (Grant, error) { return r.Granted(public(t, key), 0, g.Signature) },
		"for ever":      func() (Grant, error) { return r.Granted(public(t, key), 1<<31, g.Signature) },
		"another start": func() (Grant, error) { return next.Granted(public(t, key), 60, g.Signature) },
	} {
		_, err := try()
		refusedNamed(t, name, err, GrantDenied)
	}
}
