package seal

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// parent is the storage key that consensus keys are sealed under: a primary of
// the endorsement hierarchy, like the agent's keys, so that it needs no storage
// and survives TPM2_Clear.
type parent struct {
	handle tpm2.TPMHandle
	name   tpm2.TPM2BName
	public tpm2.TPMTPublic
}

func parentTemplate() tpm2.TPMTPublic {
	t := tpm2.ECCSRKTemplate
	unique := sha256.Sum256([]byte(parentLabel))
	t.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: unique[:]}, Y: tpm2.TPM2BECCParameter{Buffer: make([]byte, 32)},
	})
	return t
}

func newParent(tpm transport.TPM) (*parent, error) {
	rsp, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHEndorsement, InPublic: tpm2.New2B(parentTemplate())}.Execute(tpm)
	if err != nil {
		return nil, fmt.Errorf("seal: storage key: %w", err)
	}
	p := &parent{handle: rsp.ObjectHandle, name: rsp.Name}
	public, err := rsp.OutPublic.Contents()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("seal: storage key: %w", err), p.flush(tpm))
	}
	p.public = *public
	return p, nil
}

func (p *parent) auth() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: p.handle, Name: p.name, Auth: tpm2.PasswordAuth(nil)}
}

func (p *parent) flush(tpm transport.TPM) error { return flush(tpm, p.handle) }

func flush(tpm transport.TPM, handle tpm2.TPMHandle) error {
	if _, err := (tpm2.FlushContext{FlushHandle: handle}).Execute(tpm); err != nil {
		return fmt.Errorf("seal: flush %#x: %w", uint32(handle), err)
	}
	return nil
}

// withExternal runs fn while a public key is loaded. It is loaded under the
// endorsement hierarchy: tickets of the null hierarchy prove nothing.
func withExternal(tpm transport.TPM, public PublicKey, fn func(handle tpm2.TPMHandle, name tpm2.TPM2BName) error) error {
	template, err := public.template()
	if err != nil {
		return err
	}
	rsp, err := tpm2.LoadExternal{InPublic: tpm2.New2B(template), Hierarchy: tpm2.TPMRHEndorsement}.Execute(tpm)
	if err != nil {
		return fmt.Errorf("seal: load public key: %w", err)
	}
	return errors.Join(fn(rsp.ObjectHandle, rsp.Name), flush(tpm, rsp.ObjectHandle))
}

// policyRestart is TPM2_PolicyRestart: the session forgets what it has shown and
// keeps its nonce.
func policyRestart(tpm transport.TPM, session tpm2.TPMHandle) error {
	command := []byte{0x80, 0x01, 0, 0, 0, 14}
	command = binary.BigEndian.AppendUint32(command, uint32(tpm2.TPMCCPolicyRestart))
	command = binary.BigEndian.AppendUint32(command, uint32(session))
	response, err := tpm.Send(command)
	if err != nil {
		return err
	}
	if len(response) < 10 {
		return fmt.Errorf("seal: response of %d bytes", len(response))
	}
	if rc := tpm2.TPMRC(binary.BigEndian.Uint32(response[6:])); rc != tpm2.TPMRCSuccess {
		return fmt.Errorf("seal: restart policy: %w", rc)
	}
	return nil
}

// extendCap moves the cap PCR in every bank: until the next boot the first
// branch of no key's policy can be met.
func extendCap(tpm transport.TPM) error {
	_, err := tpm2.PCREvent{
		PCRHandle: tpm2.AuthHandle{Handle: CapPCR, Auth: tpm2.PasswordAuth(nil)},
		EventData: tpm2.TPM2BEvent{Buffer: []byte("quorate/cap/v1")},
	}.Execute(tpm)
	if err != nil {
		return fmt.Errorf("seal: cap PCR %d: %w", CapPCR, err)
	}
	return nil
}
