package seal

import (
	"context"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/quorate/quorate/agent/device"
	"github.com/quorate/quorate/agent/key"
)

// maxTries bounds how often a policy is evaluated anew because a PCR moved in
// between, as PCR 10 does while programs start.
const maxTries = 16

// Ask has the grantor answer a request. It may take as long as it likes; a grant
// that comes too late is refused by the TPM.
type Ask func(ctx context.Context, r Request) (Grant, error)

// Unseal has the TPM release the key, and caps it. In this order:
//
//   - the TPM is the one that sealed the key;
//   - one of the approvals covers the state that the TPM measured, and is by the
//     policy authority;
//   - nobody released a key in this boot before; or else the grantor answers for
//     this start, which ask obtains;
//   - the TPM finds the same, and gives out the key that the file names;
//   - the cap PCR moves, so that nothing later can do it again without a grant.
//
// All but the last are the TPM's own decisions; we only look first, to say why.
func (k *Key) Unseal(ctx context.Context, dev *device.Device, approvals []Approval, ask Ask) (*Secret, error) {
	tpm := dev.With(ctx)
	approval, err := k.Approved(tpm, approvals)
	if err != nil {
		return nil, err
	}
	fresh, err := k.fresh(tpm)
	if err != nil {
		return nil, err
	}
	if !fresh && k.Terms.Grantor == "" {
		return nil, &Refusal{Check: Capped, Got: "a key was released before in this boot", Want: "the first release of this boot",
			Remedy: "reboot the host; or seal the next key with a grantor, who can allow a second start"}
	}
	if k.Terms.Strict {
		fresh = false
	}
	if fresh {
		ask = nil
	}
	secret, err := k.release(ctx, tpm, approval, ask)
	if err != nil {
		return nil, err
	}
	if err := extendCap(tpm); err != nil {
		return nil, errors.Join(err, secret.Wipe())
	}
	return secret, nil
}

// fresh reports whether the cap PCR is as the boot leaves it.
func (k *Key) fresh(tpm transport.TPM) (bool, error) {
	now, err := readCap(tpm, k.Terms.Bank)
	return now == k.Terms.Cap, err
}

// Approved returns the first approval by the authority that covers what the TPM
// measured. Those by others, left from an earlier key, are passed over. The refusal
// says for the closest approval which PCRs differ.
func (k *Key) Approved(tpm transport.TPM, approvals []Approval) (Approval, error) {
	var closest []string
	var foreign error
	for _, a := range approvals {
		if err := a.Check(k.Terms); err != nil {
			foreign = err
			continue
		}
		differ, err := a.State.differ(tpm)
		if err != nil {
			return Approval{}, err
		}
		if len(differ) == 0 {
			return a, nil
		}
		if closest == nil || len(differ) < len(closest) {
			closest = differ
		}
	}
	if closest == nil && foreign != nil {
		return Approval{}, foreign
	}
	got := "no approvals"
	if closest != nil {
		got = strings.Join(closest, ", ")
	}
	return Approval{}, &Refusal{Check: Unapproved, Got: got, Want: "a state that the policy authority approved",
		Remedy: "boot the approved system; or print this state with `quorate-agent signer predict` and have it approved"}
}

// differ lists the PCRs that are not as the state says.
func (s State) differ(tpm transport.TPM) ([]string, error) {
	now, err := ReadState(tpm, s.Bank, s.indexes())
	if err != nil {
		return nil, err
	}
	var list []string
	for i, p := range s.PCRs {
		if now.PCRs[i].Value != p.Value {
			list = append(list, fmt.Sprintf("PCR %d is %s, approved is %s", p.Index, now.PCRs[i].Value, p.Value))
		}
	}
	return list, nil
}

// Same reports whether the TPM's PCRs are as the approval says.
func (a Approval) Same(tpm transport.TPM) (bool, error) {
	differ, err := a.State.differ(tpm)
	return err == nil && len(differ) == 0, err
}

// ReadState reads the present values of PCRs.
func ReadState(tpm transport.TPM, bank string, pcrs []uint32) (State, error) {
	alg, err := key.ParseBank(bank)
	if err != nil {
		return State{}, malformed("bank "+bank, "sha256 or sha384")
	}
	var values [][]byte
	for range maxTries {
		if values, err = key.ReadPCRs(tpm, alg, pcrs); !errors.Is(err, key.ErrMoved) {
			break
		}
	}
	if err != nil {
		return State{}, err
	}
	s := State{Bank: bank}
	for i, v := range values {
		s.PCRs = append(s.PCRs, PCR{Index: pcrs[i], Value: hex.EncodeToString(v)})
	}
	return s, s.check()
}

// release meets the policy and takes the key out. Without ask it goes the first
// way, with ask the second.
func (k *Key) release(ctx context.Context, tpm transport.TPM, approval Approval, ask Ask) (_ *Secret, err error) {
	parent, err := newParent(tpm)
	if err != nil {
		return nil, err
	}
	if name := hex.EncodeToString(parent.name.Buffer); name != k.Parent {
		err := &Refusal{Check: OtherTPM, Got: "storage key " + name, Want: k.Parent,
			Remedy: "run the signer on the host that sealed the key; to move it, see `quorate-agent signer recover --help`"}
		return nil, errors.Join(err, parent.flush(tpm))
	}
	session, end, err := tpm2.PolicySession(tpm, tpm2.TPMAlgSHA256, 16,
		tpm2.AESEncryption(128, tpm2.EncryptOut), tpm2.Salted(parent.handle, parent.public))
	err = errors.Join(err, parent.flush(tpm))
	if err != nil {
		return nil, fmt.Errorf("seal: policy session: %w", err)
	}
	defer func() { _ = end() }() // the TPM ends it with the connection, too
	r := releasing{key: k, tpm: tpm, session: session, approval: approval}
	if ask != nil {
		grant, err := ask(ctx, k.Terms.request(session.NonceTPM().Buffer))
		if err != nil {
			return nil, err
		}
		r.grant = &grant
	}
	return r.run()
}

// releasing is one policy session.
type releasing struct {
	key      *Key
	tpm      transport.TPM
	session  tpm2.Session
	approval Approval
	grant    *Grant // nil on the first way
}

func (r releasing) run() (*Secret, error) {
	var err error
	for range maxTries {
		if err = policyRestart(r.tpm, r.session.Handle()); err != nil {
			return nil, err
		}
		if err = r.satisfy(); err == nil {
			var secret *Secret
			if secret, err = r.unseal(); err == nil {
				return secret, nil
			}
		}
		if !errors.Is(err, tpm2.TPMRCPCRChanged) {
			return nil, explain(err)
		}
	}
	return nil, &Refusal{Check: Moved, Got: "PCRs moved at every try", Want: "a moment without", Remedy: "start the signer again", Cause: err}
}

// satisfy runs the policy's commands in its order.
func (r releasing) satisfy() error {
	if err := r.approved(); err != nil {
		return err
	}
	if r.grant == nil {
		if err := r.uncapped(); err != nil {
			return err
		}
	} else if err := r.granted(); err != nil {
		return err
	}
	branches, err := r.key.Terms.plan()
	if err != nil || len(branches) == 1 {
		return err
	}
	var list tpm2.TPMLDigest
	for _, b := range branches {
		list.Digests = append(list.Digests, tpm2.TPM2BDigest{Buffer: b[:]})
	}
	_, err = tpm2.PolicyOr{PolicySession: r.session.Handle(), PHashList: list}.Execute(r.tpm)
	return err
}

// approved is PolicyPCR and PolicyAuthorize.
func (r releasing) approved() error {
	sel, digest, policy, err := r.approval.State.policy()
	if err != nil {
		return err
	}
	_, err = tpm2.PolicyPCR{PolicySession: r.session.Handle(), PcrDigest: tpm2.TPM2BDigest{Buffer: digest[:]}, Pcrs: sel}.Execute(r.tpm)
	if err != nil {
		return err
	}
	ref := r.key.Terms.approvalRef()
	signed := approvalDigest(policy, ref)
	sig, err := tpmSignature(r.approval.Signature)
	if err != nil {
		return err
	}
	return withExternal(r.tpm, r.key.Terms.Authority, func(handle tpm2.TPMHandle, name tpm2.TPM2BName) error {
		verified, err := tpm2.VerifySignature{
			KeyHandle: tpm2.NamedHandle{Handle: handle, Name: name}, Digest: tpm2.TPM2BDigest{Buffer: signed[:]}, Signature: sig,
		}.Execute(r.tpm)
		if err != nil {
			return err
		}
		_, err = tpm2.PolicyAuthorize{
			PolicySession: r.session.Handle(), ApprovedPolicy: tpm2.TPM2BDigest{Buffer: policy[:]},
			PolicyRef: tpm2.TPM2BDigest{Buffer: ref}, KeySign: name, CheckTicket: verified.Validation,
		}.Execute(r.tpm)
		return err
	})
}

// uncapped is PolicyPCR over the cap PCR's first value.
func (r releasing) uncapped() error {
	sel, digest, err := r.key.Terms.capState()
	if err != nil {
		return err
	}
	_, err = tpm2.PolicyPCR{PolicySession: r.session.Handle(), PcrDigest: tpm2.TPM2BDigest{Buffer: digest[:]}, Pcrs: sel}.Execute(r.tpm)
	return err
}

// granted is PolicySigned by the grantor that signed. A grant by nobody of them
// goes to the TPM all the same, which refuses it.
func (r releasing) granted() error {
	sig, err := tpmSignature(r.grant.Signature)
	if err != nil {
		return err
	}
	return withExternal(r.tpm, r.grant.by(r.key.Terms), func(handle tpm2.TPMHandle, name tpm2.TPM2BName) error {
		_, err = tpm2.PolicySigned{
			AuthObject: tpm2.NamedHandle{Handle: handle, Name: name}, PolicySession: r.session.Handle(),
			NonceTPM: r.session.NonceTPM(), PolicyRef: tpm2.TPM2BNonce{Buffer: r.key.Terms.grantRef()},
			Expiration: r.grant.Seconds, Auth: sig,
		}.Execute(r.tpm)
		if errors.Is(err, tpm2.TPMRCSignature) {
			return &Refusal{Check: GrantDenied, Got: "a grant that is not for this start, or by another key", Want: "a grant for the present request",
				Remedy: "have the grantor sign the present request; it is new at every start", Cause: err}
		}
		return err
	})
}

func (r releasing) unseal() (_ *Secret, err error) {
	parent, err := newParent(r.tpm)
	if err != nil {
		return nil, err
	}
	loaded, err := r.load(parent)
	if err = errors.Join(err, parent.flush(r.tpm)); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, flush(r.tpm, loaded.ObjectHandle)) }()
	rsp, err := tpm2.Unseal{
		ItemHandle: tpm2.AuthHandle{Handle: loaded.ObjectHandle, Name: loaded.Name, Auth: r.session},
	}.Execute(r.tpm)
	if err != nil {
		return nil, err
	}
	return r.key.secret(rsp.OutData.Buffer)
}

func (r releasing) load(parent *parent) (*tpm2.LoadResponse, error) {
	public, err := tpm2.Unmarshal[tpm2.TPM2BPublic](r.key.Public)
	if err != nil {
		return nil, malformed("sealed key", "a TPM2B_PUBLIC")
	}
	private, err := tpm2.Unmarshal[tpm2.TPM2BPrivate](r.key.Private)
	if err != nil {
		return nil, malformed("sealed key", "a TPM2B_PRIVATE")
	}
	rsp, err := tpm2.Load{ParentHandle: parent.auth(), InPrivate: *private, InPublic: *public}.Execute(r.tpm)
	if errors.Is(err, tpm2.TPMRCIntegrity) {
		return nil, &Refusal{Check: OtherTPM, Got: "a blob that this TPM did not make", Want: "its own", Cause: err,
			Remedy: "restore the sealed key's file, or run the signer on the host that sealed it"}
	}
	if errors.Is(err, tpm2.TPMRCSize) {
		return nil, malformed("sealed key", "the blobs of a TPM")
	}
	return rsp, err
}

// secret takes over an unsealed seed, if it is the recorded key's.
func (k *Key) secret(seed []byte) (*Secret, error) {
	defer wipe(seed)
	if len(seed) != 32 {
		return nil, &Refusal{Check: WrongKey, Got: fmt.Sprintf("%d bytes", len(seed)), Want: "a seed of 32 bytes"}
	}
	s, err := newSecret(seed)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(s.Public(), k.PublicKey()) != 1 {
		return nil, errors.Join(&Refusal{Check: WrongKey, Got: "another key", Want: k.Terms.PublicKey}, s.Wipe())
	}
	return s, nil
}

// explain names what the TPM's answer to a policy means.
func explain(err error) error {
	switch said := (*Refusal)(nil); {
	case errors.As(err, &said):
		return err
	case errors.Is(err, tpm2.TPMRCExpired):
		return &Refusal{Check: GrantLate, Got: "a grant that has ended", Want: "a grant used in its time", Cause: err,
			Remedy: "have the grantor sign the present request, and sooner or for longer"}
	case errors.Is(err, tpm2.TPMRCPolicyFail), errors.Is(err, tpm2.TPMRCValue), errors.Is(err, tpm2.TPMRCSignature), errors.Is(err, tpm2.TPMRCTicket):
		return &Refusal{Check: Policy, Got: err.Error(), Want: "the sealed key's policy", Cause: err,
			Remedy: "see that the host booted an approved system and that nothing released the key before"}
	}
	return err
}
