package seal

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/agent/device"
	"github.com/quorate/quorate/simulator/reftpm"
	"github.com/quorate/quorate/simulator/swtpm"
)

func p256(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func public(t testing.TB, k *ecdsa.PrivateKey) PublicKey {
	t.Helper()
	p, err := NewPublicKey(&k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// host is a software TPM with the consortium's keys beside it.
type host struct {
	t                  *testing.T
	tpm                *swtpm.TPM
	dev                *device.Device
	authority, grantor *ecdsa.PrivateKey
}

func newHost(t *testing.T) *host {
	t.Helper()
	swtpm.Require(t)
	tpm, err := swtpm.New(context.Background(), t.TempDir(), swtpm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tpm.Close() })
	return &host{t, tpm, device.Wrap(tpm), p256(t), p256(t)}
}

func (h *host) terms() Terms {
	return Terms{Ledger: "example-1", Genesis: "sha256:00", Node: "org-a/validator-1", Authority: public(h.t, h.authority), Bank: "sha256"}
}

func (h *host) granted() Terms {
	t := h.terms()
	t.Grantor = public(h.t, h.grantor)
	return t
}

func (h *host) strict() Terms {
	t := h.granted()
	t.Strict = true
	return t
}

func (h *host) create(terms Terms) *Key {
	h.t.Helper()
	k, _, err := Create(h.t.Context(), h.dev, terms, "")
	if err != nil {
		h.t.Fatal(err)
	}
	return k
}

// approve approves the present state.
func (h *host) approve() Approval {
	h.t.Helper()
	s, err := ReadState(h.tpm, "sha256", DefaultPCRs)
	if err != nil {
		h.t.Fatal(err)
	}
	a, err := Approve(h.authority, "example-1", "sha256:00", s)
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

func (h *host) extend(pcr uint32) {
	h.t.Helper()
	_, err := tpm2.PCREvent{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)}, EventData: tpm2.TPM2BEvent{Buffer: []byte("x")},
	}.Execute(h.tpm)
	if err != nil {
		h.t.Fatal(err)
	}
}

// clock is the TPM's time in milliseconds.
func (h *host) clock() uint64 {
	h.t.Helper()
	rsp, err := tpm2.ReadClock{}.Execute(h.tpm)
	if err != nil {
		h.t.Fatal(err)
	}
	return rsp.CurrentTime.Time
}

func (h *host) reboot() {
	h.t.Helper()
	if err := h.tpm.Reset(); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) sign(valid time.Duration) Ask {
	return func(_ context.Context, r Request) (Grant, error) { return r.Sign(h.grantor, valid) }
}

// opens has the key released and its signature checked.
func (h *host) opens(k *Key, approvals []Approval, ask Ask) {
	h.t.Helper()
	s, err := k.Unseal(h.t.Context(), h.dev, approvals, ask)
	if err != nil {
		h.t.Fatal(err)
	}
	defer s.Wipe()
	sig, err := s.Sign([]byte("vote"))
	if err != nil || !ed25519.Verify(k.PublicKey(), []byte("vote"), sig) {
		h.t.Errorf("signature does not verify: %v", err)
	}
}

func refused(t *testing.T, err error, want CheckID) {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) || r.Check != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestUnsealOnceInABoot(t *testing.T) {
	h := newHost(t)
	k, a := h.create(h.terms()), []Approval{h.approve()}
	h.opens(k, a, nil)
	_, err := k.Unseal(t.Context(), h.dev, a, nil)
	refused(t, err, Capped)
	_, err = k.release(t.Context(), h.tpm, a[0], nil) // past our own look: the TPM refuses too
	refused(t, err, Policy)
	h.reboot()
	h.opens(k, a, nil)
	h.empty()
}

// empty fails if anything is left in the TPM's slots.
func (h *host) empty() {
	h.t.Helper()
	for _, first := range []uint32{0x80000000, 0x02000000} {
		rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 16}.Execute(h.tpm)
		if err != nil {
			h.t.Fatal(err)
		}
		if list, err := rsp.CapabilityData.Data.Handles(); err != nil || len(list.Handle) != 0 {
			h.t.Errorf("left in the TPM: %v %v", list, err)
		}
	}
}

func TestA162_NoKeyAfterAPCRMoved(t *testing.T) {
	h := newHost(t)
	k, a := h.create(h.terms()), []Approval{h.approve()}
	h.extend(7)
	_, err := k.Unseal(t.Context(), h.dev, a, nil)
	refused(t, err, Unapproved)
	if !strings.Contains(err.Error(), "PCR 7 is ") {
		t.Errorf("does not name the PCR: %v", err)
	}
	_, err = k.release(t.Context(), h.tpm, a[0], nil)
	refused(t, err, Policy)
	h.opens(k, append(a, h.approve()), nil) // an approval of the new state, the old one stays
	h.empty()
}

func TestApprovalByAnotherAuthority(t *testing.T) {
	h := newHost(t)
	k := h.create(h.terms())
	good := h.approve()
	other := *h
	other.authority = p256(t)
	bad := other.approve()
	_, err := k.Unseal(t.Context(), h.dev, []Approval{bad}, nil)
	refused(t, err, Authority)
	_, err = k.release(t.Context(), h.tpm, bad, nil)
	refused(t, err, Policy)
	foreign, err := Approve(h.authority, "example-2", "sha256:00", good.State)
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.Unseal(t.Context(), h.dev, []Approval{foreign}, nil)
	refused(t, err, Authority)
	_, err = k.release(t.Context(), h.tpm, foreign, nil)
	refused(t, err, Policy)
	_, err = k.Unseal(t.Context(), h.dev, nil, nil)
	refused(t, err, Unapproved)
	h.opens(k, []Approval{bad, foreign, good}, nil) // what others left does not stand in the way
}

func TestAnotherTPMIsRefused(t *testing.T) {
	h, other := newHost(t), newHost(t)
	other.authority = h.authority
	k := h.create(h.terms())
	_, err := k.Unseal(t.Context(), other.dev, []Approval{other.approve()}, nil)
	refused(t, err, OtherTPM)
	stolen := *k
	stolen.Parent = other.create(other.terms()).Parent // past our own look
	_, err = stolen.release(t.Context(), other.tpm, other.approve(), nil)
	refused(t, err, OtherTPM)
	other.empty()
	h.opens(k, []Approval{h.approve()}, nil)
}

func TestSecondStartNeedsAGrant(t *testing.T) {
	h := newHost(t)
	k, a := h.create(h.granted()), []Approval{h.approve()}
	h.opens(k, a, func(context.Context, Request) (Grant, error) { // the first is free
		t.Error("the grantor was asked at the first start of a boot")
		return Grant{}, context.Canceled
	})
	_, err := k.release(t.Context(), h.tpm, a[0], nil)
	refused(t, err, Policy)
	h.opens(k, a, h.sign(time.Minute))
	h.opens(k, a, h.sign(time.Minute)) // and a third, with its own grant
	h.extend(4)
	_, err = k.Unseal(t.Context(), h.dev, a, h.sign(time.Minute))
	refused(t, err, Unapproved)
	_, err = k.release(t.Context(), h.tpm, a[0], h.sign(time.Minute)) // a grant does not stand for an approval
	refused(t, err, Policy)
	h.empty()
}

func TestStrictNeedsAGrantAtEveryStart(t *testing.T) {
	h := newHost(t)
	k, a := h.create(h.strict()), []Approval{h.approve()}
	_, err := k.release(t.Context(), h.tpm, a[0], nil)
	refused(t, err, Policy)
	h.opens(k, a, h.sign(time.Minute))
	h.opens(k, a, h.sign(time.Minute))
	h.reboot()
	h.opens(k, a, h.sign(time.Minute))
}

func TestGrants(t *testing.T) {
	h := newHost(t)
	k, a := h.create(h.strict()), []Approval{h.approve()}
	var old Grant
	h.opens(k, a, func(_ context.Context, r Request) (g Grant, err error) {
		old, err = r.Sign(h.grantor, time.Minute)
		return old, err
	})
	try := func(ask Ask) error {
		s, err := k.Unseal(t.Context(), h.dev, a, ask)
		if err == nil {
			s.Wipe()
		}
		return err
	}
	refused(t, try(func(context.Context, Request) (Grant, error) { return old, nil }), GrantDenied)
	refused(t, try(func(_ context.Context, r Request) (Grant, error) { return r.Sign(p256(t), time.Minute) }), GrantDenied)
	refused(t, try(func(_ context.Context, r Request) (Grant, error) {
		r.Node = "org-b/validator-1"
		return r.Sign(h.grantor, time.Minute)
	}), GrantDenied)
	refused(t, try(func(_ context.Context, r Request) (Grant, error) {
		g, err := r.Sign(h.grantor, time.Minute)
		g.Seconds = 3000 // longer than it was signed for
		return g, err
	}), GrantDenied)
	refused(t, try(func(_ context.Context, r Request) (Grant, error) {
		g, err := r.Sign(h.grantor, time.Second)
		for begin := h.clock(); h.clock() < begin+1200; { // the TPM's clock is the one that counts
			time.Sleep(20 * time.Millisecond)
		}
		return g, err
	}), GrantLate)
	if err := try(func(context.Context, Request) (Grant, error) { return Grant{}, context.Canceled }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	h.opens(k, a, h.sign(time.Minute))
	h.empty()
}

func TestImport(t *testing.T) {
	h := newHost(t)
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, _, err := Import(t.Context(), h.dev, h.terms(), private, "")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(k.PublicKey(), private.Public().(ed25519.PublicKey)) {
		t.Error("another public key")
	}
	if bytes.Contains(k.Marshal(), private.Seed()) {
		t.Error("the seed is in the file")
	}
	h.opens(k, []Approval{h.approve()}, nil)
	mixed := append(append(ed25519.PrivateKey(nil), private[:32]...), h.create(h.terms()).PublicKey()...)
	_, _, err = Import(t.Context(), h.dev, h.terms(), mixed, "")
	refused(t, err, WrongKey)
}

func TestUnsealAlteredKeyFile(t *testing.T) {
	h := newHost(t)
	k, a := h.create(h.granted()), h.approve()
	eased := *k
	eased.Terms.Authority = public(t, h.grantor) // the file says another authority
	forged, err := Approve(h.grantor, "example-1", "sha256:00", a.State)
	if err != nil {
		t.Fatal(err)
	}
	_, err = eased.Unseal(t.Context(), h.dev, []Approval{forged}, nil)
	refused(t, err, Policy)
	renamed := *k
	renamed.Terms.PublicKey = h.create(h.terms()).Terms.PublicKey
	_, err = renamed.release(t.Context(), h.tpm, a, nil)
	if err == nil {
		t.Error("a file with another public key was taken")
	}
	h.opens(k, []Approval{a}, nil)
}

func TestRecoveryToAnotherTPM(t *testing.T) {
	h, other := newHost(t), newHost(t)
	other.authority = h.authority
	keeper := p256(t)
	k, r, err := Create(t.Context(), h.dev, h.terms(), public(t, keeper))
	if err != nil {
		t.Fatal(err)
	}
	target := other.terms()
	target.Node = "org-a/validator-2"
	restore := func(r Recovery, private *ecdsa.PrivateKey) (*Key, error) {
		moved, _, err := Restore(t.Context(), other.dev, target, r, private, "")
		return moved, err
	}
	_, err = restore(*r, p256(t))
	refused(t, err, BadRecovery)
	for name, spoil := range map[string]func(*Recovery){
		"node": func(r *Recovery) { r.Node = "org-b/x" }, "ledger": func(r *Recovery) { r.Ledger = "example-2" },
		"key": func(r *Recovery) { r.PublicKey = h.create(h.terms()).Terms.PublicKey }, "bytes": func(r *Recovery) { r.Ciphertext = bytes.Clone(r.Ciphertext); r.Ciphertext[40] ^= 1 },
	} {
		bad := *r
		spoil(&bad)
		if _, err := restore(bad, keeper); err == nil {
			t.Errorf("%s: restored", name)
		}
	}
	moved, err := restore(*r, keeper)
	if err != nil {
		t.Fatal(err)
	}
	if moved.Terms.PublicKey != k.Terms.PublicKey || moved.Terms.Node != target.Node {
		t.Errorf("%+v", moved.Terms)
	}
	other.opens(moved, []Approval{other.approve()}, nil)
}

// busy extends PCR 10 before a command, as long as it may, as a kernel with IMA
// does while programs start.
type busy struct {
	*host
	left int
}

func (b *busy) Send(command []byte) ([]byte, error) {
	if tpm2.TPMCC(binary.BigEndian.Uint32(command[6:])) == tpm2.TPMCCUnseal && b.left > 0 {
		b.left--
		b.extend(10)
	}
	return b.tpm.Send(command)
}

func TestUnsealWhileProgramsStart(t *testing.T) {
	h := newHost(t)
	k, a := h.create(h.strict()), h.approve()
	s, err := k.release(t.Context(), &busy{h, 3}, a, h.sign(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	s.Wipe()
	_, err = k.release(t.Context(), &busy{h, 1 << 30}, a, h.sign(time.Minute))
	refused(t, err, Moved)
	h.empty()
}

func FuzzFiles(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	state := State{"sha256", []PCR{{0, strings.Repeat("0", 64)}, {7, strings.Repeat("a", 64)}}}
	a, err := Approve(key, "l", "g", state)
	if err != nil {
		f.Fatal(err)
	}
	r := Request{requestVersion, "l", "g", "org-a/n", "ed25519:x", bytes.Repeat([]byte{1}, 32), []PublicKey{public(f, key)}}
	g, err := r.Sign(key, time.Minute)
	if err != nil {
		f.Fatal(err)
	}
	terms := Terms{"l", "g", "org-a/n", "ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", public(f, key), public(f, key), []PublicKey{public(f, fixed(f, "other"))}, true, "sha256", strings.Repeat("0", 64)}
	k := Key{keyVersion, terms, "00", []byte{1}, []byte{2}}
	recovery, err := terms.escrow(make([]byte, 32), public(f, key))
	if err != nil {
		f.Fatal(err)
	}
	seeds := [][]byte{recovery.Marshal(), a.Marshal(), r.Marshal(), g.Marshal(), k.Marshal(), state.Marshal(),
		Unanswered{[]byte{1}, []string{"node.suspended"}}.Marshal()}
	for i, seed := range seeds {
		if _, taken := parseAny(seed); taken != 1 {
			f.Fatalf("seed %d is taken as %d kinds of file", i, taken)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if again, taken := parseAny(data); taken > 0 && !bytes.Equal(again, data) {
			t.Errorf("printed otherwise:\n%s\n%s", data, again)
		}
	})
}

// parseAny tries each kind of file, and prints what it read.
func parseAny(data []byte) (again []byte, taken int) {
	if v, err := ParseApproval(data); err == nil {
		again, taken = v.Marshal(), taken+1
	}
	if v, err := ParseRequest(data); err == nil {
		again, taken = v.Marshal(), taken+1
	}
	if v, err := ParseState(data); err == nil {
		again, taken = v.Marshal(), taken+1
	}
	if v, err := ParseRecovery(data); err == nil {
		again, taken = v.Marshal(), taken+1
	}
	if v, err := ParseUnanswered(data); err == nil {
		again, taken = v.Marshal(), taken+1
	}
	if v, err := ParseGrant(data); err == nil {
		again, taken = v.Marshal(), taken+1
	}
	if v, err := ParseKey(data); err == nil {
		again, taken = v.Marshal(), taken+1
	}
	return again, taken
}

func TestFilesAreStrict(t *testing.T) {
	key := p256(t)
	state := State{"sha256", []PCR{{0, strings.Repeat("0", 64)}}}
	a, err := Approve(key, "l", "g", state)
	if err != nil {
		t.Fatal(err)
	}
	good := string(a.Marshal())
	for name, bad := range map[string]string{
		"trailing": good + " ", "unknown": strings.Replace(good, "{", "{\n  \"x\": 1,", 1), "no version": strings.Replace(good, approvalVersion, "", 1),
		"cut": good[:len(good)-3], "oversized": good + strings.Repeat(" ", maxFile), "spacing": strings.ReplaceAll(good, "  ", "\t"),
	} {
		_, err := ParseApproval([]byte(bad))
		if err == nil {
			t.Errorf("%s: taken", name)
			continue
		}
		refused(t, err, Malformed)
	}
	if _, err := ParseApproval([]byte(good)); err != nil {
		t.Error(err)
	}
	for name, s := range map[string]State{
		"empty": {"sha256", nil}, "cap": {"sha256", []PCR{{15, strings.Repeat("0", 64)}}}, "order": {"sha256", []PCR{state.PCRs[0], state.PCRs[0]}},
		"sha1": {"sha1", state.PCRs}, "short": {"sha256", []PCR{{0, "00"}}}, "upper": {"sha256", []PCR{{0, strings.Repeat("A", 64)}}},
	} {
		_, err := Approve(key, "l", "g", s)
		if err == nil {
			t.Errorf("%s: approved", name)
			continue
		}
		refused(t, err, Malformed)
	}
}

// TestReferenceSimulator has another implementation of TPM 2.0 agree.
func TestReferenceSimulator(t *testing.T) {
	tpm, err := reftpm.Open(7)
	if err != nil {
		t.Fatal(err)
	}
	defer tpm.Close()
	authority, grantor := p256(t), p256(t)
	dev := device.Wrap(transport.TPM(tpm))
	terms := Terms{Ledger: "l", Genesis: "g", Node: "org-a/n", Authority: public(t, authority), Grantor: public(t, grantor), Bank: "sha256"}
	k, _, err := Create(t.Context(), dev, terms, "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := ReadState(tpm, "sha256", DefaultPCRs)
	if err != nil {
		t.Fatal(err)
	}
	a, err := Approve(authority, "l", "g", s)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(_ context.Context, r Request) (Grant, error) { return r.Sign(grantor, time.Minute) }
	for range 2 {
		secret, err := k.Unseal(t.Context(), dev, []Approval{a}, ask)
		if err != nil {
			t.Fatal(err)
		}
		secret.Wipe()
		if _, err := secret.Sign(nil); !errors.Is(err, ErrWiped) {
			t.Error(err)
		}
	}
	_, err = k.release(t.Context(), tpm, a, nil)
	refused(t, err, Policy)
	if _, err := (tpm2.PCREvent{PCRHandle: tpm2.AuthHandle{Handle: 9, Auth: tpm2.PasswordAuth(nil)}, EventData: tpm2.TPM2BEvent{Buffer: []byte("x")}}).Execute(tpm); err != nil {
		t.Fatal(err)
	}
	_, err = k.release(t.Context(), tpm, a, ask)
	refused(t, err, Policy)
}

func TestEveryCheckIsDescribed(t *testing.T) {
	all := map[admission.CheckID]bool{}
	for _, c := range Checks() {
		if all[c.ID] || c.Title == "" || c.Protects == "" || c.Got == "" || c.Want == "" || c.Remedy == "" {
			t.Errorf("%s is doubled or not fully described", c.ID)
		}
		all[c.ID] = true
	}
	for _, id := range []CheckID{OtherTPM, Unapproved, Authority, Capped, GrantDenied, GrantLate, Rollback, Memory, Malformed, WrongKey,
		Policy, Moved, OwnerAuth, Exists, NoKey, BadTerms, BadRecovery, Unretired, Floor} {
		if !all[admission.CheckID(id)] {
			t.Errorf("%s is not described", id)
		}
		delete(all, admission.CheckID(id))
	}
	if len(all) > 0 {
		t.Errorf("no such checks: %v", all)
	}
}
