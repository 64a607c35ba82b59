package seal

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/agent/device"
)

// fixed is a key that is the same in every run.
func fixed(t testing.TB, scalar string) *ecdsa.PrivateKey {
	t.Helper()
	d := sha256.Sum256([]byte(scalar))
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d[:])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func someTerms(t testing.TB) Terms {
	seed := sha256.Sum256([]byte("consensus"))
	return Terms{
		Ledger: "example-1", Genesis: "sha256:00", Node: "org-a/validator-1",
		PublicKey: admission.FormatConsensusKey(ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)),
		Authority: public(t, fixed(t, "authority")), Grantor: public(t, fixed(t, "grantor")), Bank: "sha256", Cap: strings.Repeat("0", 64),
	}
}

// TestPolicyVectors pins what keys on hosts are sealed with: another digest for
// the same terms would leave every one of them closed.
func TestPolicyVectors(t *testing.T) {
	both := someTerms(t)
	once, strict, wide := both, both, both
	once.Grantor = ""
	strict.Strict = true
	wide.Bank, wide.Cap = "sha384", strings.Repeat("0", 96)
	for want, terms := range map[string]Terms{
		"OR": both, "ONCE": once, "STRICT": strict, "WIDE": wide,
	} {
		d, err := terms.digest()
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(d[:]); got != vectors[want] {
			t.Errorf("%s: %s, want %s", want, got, vectors[want])
		}
	}
	if got := hex.EncodeToString(both.approvalRef()); got != vectors["APPROVAL"] {
		t.Errorf("approvals: %s", got)
	}
	if got := hex.EncodeToString(both.grantRef()); got != vectors["GRANT"] {
		t.Errorf("grants: %s", got)
	}
	// Fields do not run into each other.
	if bytes.Equal(ref("a", "bc"), ref("ab", "c")) {
		t.Error("two lists with one reference")
	}
}

func TestTermsAreComplete(t *testing.T) {
	good := someTerms(t)
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Terms){
		"ledger": func(x *Terms) { x.Ledger = "" }, "genesis": func(x *Terms) { x.Genesis = "" }, "node": func(x *Terms) { x.Node = "" },
		"public key": func(x *Terms) { x.PublicKey = "" }, "authority": func(x *Terms) { x.Authority = "" },
		"strict alone": func(x *Terms) { x.Strict, x.Grantor = true, "" }, "bank": func(x *Terms) { x.Bank = "sha1" },
		"cap of another bank": func(x *Terms) { x.Bank = "sha384" }, "long cap": func(x *Terms) { x.Cap += "00" }, "short cap": func(x *Terms) { x.Cap = x.Cap[2:] },
		"cap in capitals": func(x *Terms) { x.Cap = strings.Repeat("A", 64) }, "no cap": func(x *Terms) { x.Cap = "" }, "odd cap": func(x *Terms) { x.Cap = x.Cap[1:] },
	} {
		bad := good
		spoil(&bad)
		refusedNamed(t, name, bad.check(), BadTerms)
	}
	for name, key := range map[string]PublicKey{
		"noise": "x", "not base64": "!!!!", "not a key": PublicKey(base64.StdEncoding.EncodeToString([]byte("x"))), "line break": good.Authority[:8] + "\n" + good.Authority[8:],
		"ed25519": spki(t, ed25519.NewKeyFromSeed(make([]byte, 32)).Public()), "p384": p384(t),
	} {
		bad := good
		bad.Authority = key
		refusedNamed(t, "authority: "+name, bad.check(), Malformed)
		bad = good
		bad.Grantor = key
		refusedNamed(t, "grantor: "+name, bad.check(), Malformed)
	}
	k, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, err = NewPublicKey(&k.PublicKey)
	refusedNamed(t, "a P-384 key", err, BadTerms)
}

func spki(t *testing.T, key any) PublicKey {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return PublicKey(base64.StdEncoding.EncodeToString(der))
}

func p384(t *testing.T) PublicKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return spki(t, &k.PublicKey)
}

func refusedNamed(t *testing.T, name string, err error, want CheckID) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Helper()
		refused(t, err, want)
	})
}

func TestParsersWantEveryField(t *testing.T) {
	key := fixed(t, "authority")
	state := State{"sha256", []PCR{{0, strings.Repeat("0", 64)}}}
	a, err := Approve(key, "l", "g", state)
	if err != nil {
		t.Fatal(err)
	}
	try := func(name string, data []byte, parse func([]byte) error, want string) {
		t.Helper()
		err := parse(data)
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			return
		}
		refusedNamed(t, name, err, CheckID(want))
	}
	approval := func(d []byte) error { _, err := ParseApproval(d); return err }
	try("approval", a.Marshal(), approval, "")
	for name, spoil := range map[string]func(*Approval){
		"ledger": func(x *Approval) { x.Ledger = "" }, "genesis": func(x *Approval) { x.Genesis = "" }, "version": func(x *Approval) { x.Version = grantVersion },
		"state": func(x *Approval) { x.State.PCRs = []PCR{} }, "no signature": func(x *Approval) { x.Signature = []byte{} },
		"zero R": func(x *Approval) { x.Signature = signature(t, 0, 1) }, "zero S": func(x *Approval) { x.Signature = signature(t, 1, 0) },
		"long R": func(x *Approval) { x.Signature = wideSignature(t, 257, 1) }, "long S": func(x *Approval) { x.Signature = wideSignature(t, 1, 257) },
		"trailing": func(x *Approval) { x.Signature = append(bytes.Clone(x.Signature), 0) },
	} {
		bad := a
		spoil(&bad)
		try("approval: "+name, bad.Marshal(), approval, string(Malformed))
	}
	r := Request{requestVersion, "l", "g", "org-a/n", "ed25519:x", bytes.Repeat([]byte{1}, 16), nil}
	request := func(d []byte) error { _, err := ParseRequest(d); return err }
	try("request", r.Marshal(), request, "")
	long := r
	long.Nonce = make([]byte, 64)
	try("request: long nonce", long.Marshal(), request, "")
	for name, spoil := range map[string]func(*Request){
		"ledger": func(x *Request) { x.Ledger = "" }, "genesis": func(x *Request) { x.Genesis = "" }, "node": func(x *Request) { x.Node = "" },
		"key": func(x *Request) { x.PublicKey = "" }, "version": func(x *Request) { x.Version = "" },
		"short nonce": func(x *Request) { x.Nonce = make([]byte, 15) }, "longer nonce": func(x *Request) { x.Nonce = make([]byte, 65) },
	} {
		bad := r
		spoil(&bad)
		try("request: "+name, bad.Marshal(), request, string(Malformed))
	}
	g, err := r.Sign(key, MaxGrant)
	if err != nil {
		t.Fatal(err)
	}
	grant := func(d []byte) error { _, err := ParseGrant(d); return err }
	try("grant", g.Marshal(), grant, "")
	for name, spoil := range map[string]func(*Grant){
		"version": func(x *Grant) { x.Version = "" }, "seconds": func(x *Grant) { x.Seconds = 0 }, "short nonce": func(x *Grant) { x.Nonce = make([]byte, 15) },
		"long nonce": func(x *Grant) { x.Nonce = make([]byte, 65) }, "signature": func(x *Grant) { x.Signature = []byte{1} },
	} {
		bad := g
		spoil(&bad)
		try("grant: "+name, bad.Marshal(), grant, string(Malformed))
	}
	for _, valid := range []time.Duration{0, time.Second - 1, MaxGrant + 1, -time.Hour} {
		_, err := r.Sign(key, valid)
		refusedNamed(t, "valid for "+valid.String(), err, GrantDenied)
	}
	k := Key{keyVersion, someTerms(t), "00", []byte{1}, []byte{2}}
	sealed := func(d []byte) error { _, err := ParseKey(d); return err }
	try("key", k.Marshal(), sealed, "")
	for name, spoil := range map[string]func(*Key){
		"version": func(x *Key) { x.Version = "" }, "public": func(x *Key) { x.Public = []byte{} }, "private": func(x *Key) { x.Private = []byte{} },
		"parent": func(x *Key) { x.Parent = "" }, "consensus key": func(x *Key) { x.Terms.PublicKey = "ed25519:x" },
	} {
		bad := k
		spoil(&bad)
		try("key: "+name, bad.Marshal(), sealed, string(Malformed))
	}
	e, err := someTerms(t).escrow(make([]byte, 32), public(t, key))
	if err != nil {
		t.Fatal(err)
	}
	recovery := func(d []byte) error { _, err := ParseRecovery(d); return err }
	try("recovery", e.Marshal(), recovery, "")
	for name, spoil := range map[string]func(*Recovery){
		"version": func(x *Recovery) { x.Version = "" }, "ledger": func(x *Recovery) { x.Ledger = "" }, "genesis": func(x *Recovery) { x.Genesis = "" },
		"node": func(x *Recovery) { x.Node = "" }, "key": func(x *Recovery) { x.PublicKey = "" }, "ciphertext": func(x *Recovery) { x.Ciphertext = []byte{} },
		"recipient": func(x *Recovery) { x.Recipient = "x" },
	} {
		bad := *e
		spoil(&bad)
		try("recovery: "+name, bad.Marshal(), recovery, string(Malformed))
	}
	short, err := someTerms(t).escrow(make([]byte, 31), public(t, key))
	if err != nil {
		t.Fatal(err)
	}
	_, err = short.open(key)
	refusedNamed(t, "a seed of 31 bytes", err, BadRecovery)
}

func signature(t *testing.T, r, s int64) []byte {
	t.Helper()
	return encoded(t, big.NewInt(r), big.NewInt(s))
}

func wideSignature(t *testing.T, r, s uint) []byte {
	t.Helper()
	one := big.NewInt(1)
	return encoded(t, new(big.Int).Lsh(one, r-1), new(big.Int).Lsh(one, s-1))
}

func encoded(t *testing.T, r, s *big.Int) []byte {
	t.Helper()
	der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestAnotherKeyInTheBlob: the file names one key, the TPM gives out another.
func TestAnotherKeyInTheBlob(t *testing.T) {
	h := newHost(t)
	k, other, a := h.create(h.terms()), h.create(h.terms()), h.approve()
	renamed := *k
	renamed.Terms.PublicKey = other.Terms.PublicKey // no part of a policy without a grantor
	_, err := renamed.release(t.Context(), h.tpm, a, nil)
	refused(t, err, WrongKey)
	for name, spoil := range map[string]func(*Key){"public": func(x *Key) { x.Public = []byte{1} }, "private": func(x *Key) { x.Private = []byte{1} }} {
		bad := *k
		spoil(&bad)
		_, err := bad.release(t.Context(), h.tpm, a, nil)
		refusedNamed(t, name, err, Malformed)
	}
	_, err = k.secret(make([]byte, 31))
	refused(t, err, WrongKey)
	h.empty()
	h.opens(k, []Approval{a}, nil)
}

// TestSecretMemory reads from the kernel how the key's page is kept.
func TestSecretMemory(t *testing.T) {
	seed := bytes.Repeat([]byte{7}, 32)
	s, err := newSecret(seed)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(seed, make([]byte, 32)) {
		t.Error("the seed is left where it was")
	}
	page := uintptr(unsafe.Pointer(&s.page[0]))
	flags := " " + vmFlags(t, page) + " "
	for flag, what := range map[string]string{"lo": "locked", "dd": "left out of core dumps", "wf": "empty in a child"} {
		if !strings.Contains(flags, " "+flag+" ") {
			t.Errorf("the page is not %s: %s", what, flags)
		}
	}
	if err := s.Wipe(); err != nil {
		t.Fatal(err)
	}
	if s.Public() != nil || s.Wipe() != nil {
		t.Error("a wiped key shows something")
	}
}

// vmFlags returns the kernel's flags of the mapping that begins at or before the address.
func vmFlags(t *testing.T, address uintptr) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	within := false
	for line := range strings.Lines(string(data)) {
		from, rest, _ := strings.Cut(line, "-")
		to, _, _ := strings.Cut(rest, " ")
		low, err1 := strconv.ParseUint(from, 16, 64)
		high, err2 := strconv.ParseUint(to, 16, 64)
		if err1 == nil && err2 == nil {
			within = uint64(address) >= low && uint64(address) < high
		}
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && within {
			return strings.TrimSpace(flags)
		}
	}
	t.Fatal("the kernel shows no flags of the mapping")
	return ""
}

// TestClosestApproval: of several approvals the refusal speaks of the nearest.
func TestClosestApproval(t *testing.T) {
	h := newHost(t)
	k := h.create(h.terms())
	far := h.approve()
	h.extend(4)
	h.extend(7)
	near := h.approve()
	h.extend(9)
	for _, order := range [][]Approval{{far, near}, {near, far}} {
		_, err := k.Unseal(t.Context(), h.dev, order, nil)
		refused(t, err, Unapproved)
		if strings.Contains(err.Error(), "PCR 4 is") || !strings.Contains(err.Error(), "PCR 9 is") {
			t.Errorf("speaks of another: %v", err)
		}
	}
	if same, err := near.Same(h.tpm); same || err != nil {
		t.Error(same, err)
	}
	if same, err := h.approve().Same(h.tpm); !same || err != nil {
		t.Error(same, err)
	}
	h.tpm.PowerOff()
	if same, err := near.Same(h.tpm); same || err == nil {
		t.Error("a TPM that is off has the state")
	}
	if _, err := Counted(t.Context(), device.Wrap(h.tpm)); err == nil {
		t.Error("a TPM that is off counts")
	}
}

var vectors = map[string]string{
	"OR":       "caff8084a9d1984872dff34e9e5d3a15af83f9b6f6006a5fb408998853406f7e",
	"ONCE":     "4561777ba4ce9637b9b76873db20d45a3656f6ffe8613270fbbb278f6c85760f",
	"STRICT":   "19aafc2a0be92e52eeb277d4c566f54b4e6db7bb3ec27618603ced5a195562eb",
	"WIDE":     "f6db096197d2a784929df02a40550b665190f316b6f566e512b28fda8e911ebf",
	"APPROVAL": "f411e200f02f42f46a5bd255aafdd657bd96a31b15918eb5e5c2a242d186d4a0",
	"GRANT":    "5f30bda52cd4fd8b95f50a046186199139fd526d3935c427de38b9c6e51193f6",
}
