package key

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"sync"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/quorate/quorate/agent/device"
)

// ErrOtherTPM reports that the TPM behind the device is not the one the keys
// came from: its seed, and so its keys, differ.
var ErrOtherTPM = errors.New("key: this is another TPM, or its endorsement seed was changed")

// Keys holds the attestation key and the node key of one TPM, loaded while in
// use. It reloads them when the TPM has restarted, and is safe for concurrent
// use. Close flushes what is loaded.
type Keys struct {
	dev        *device.Device
	generation uint32 // of the node key

	mu       sync.Mutex // held for the length of one use
	loadedAt uint64     // device generation the handles belong to
	ak, node *primary   // nil when not loaded
	dirty    bool       // something of ours may be left in the TPM's slots
	cleaned  uint64     // counts cleanings, each of which voids every handle
	identity identity
}

// identity is what stays the same however often the keys are loaded.
type identity struct {
	akPublic, nodePublic []byte // TPMT_PUBLIC
	akName               []byte
	akKey, nodeKey       *ecdsa.PublicKey
	nodeDigest           [32]byte
}

// primary is a primary key in a transient slot.
type primary struct {
	handle tpm2.TPMHandle
	name   tpm2.TPM2BName
	public tpm2.TPMTPublic
	key    *ecdsa.PublicKey

	creationData   []byte
	creationHash   tpm2.TPM2BDigest
	creationTicket tpm2.TPMTTKCreation
}

func (p *primary) auth() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: p.handle, Name: p.name, Auth: tpm2.PasswordAuth(nil)}
}

// Open loads the attestation key and the given generation of the node key.
func Open(ctx context.Context, dev *device.Device, generation uint32) (*Keys, error) {
	k := &Keys{dev: dev, generation: generation}
	if err := k.Check(ctx); err != nil {
		return nil, err
	}
	return k, nil
}

// AKPublic returns the attestation key's TPMT_PUBLIC.
func (k *Keys) AKPublic() []byte { return k.identity.akPublic }

// AKName returns the attestation key's TPM name, recomputed from its public
// area.
func (k *Keys) AKName() []byte { return k.identity.akName }

// NodeKeyPublic returns the node key's TPMT_PUBLIC.
func (k *Keys) NodeKeyPublic() []byte { return k.identity.nodePublic }

// NodeKeyDigest returns the SHA-256 of the node key's SubjectPublicKeyInfo.
func (k *Keys) NodeKeyDigest() [32]byte { return k.identity.nodeDigest }

// Check loads the keys if they are not loaded. ErrOtherTPM when the TPM makes
// other keys than before.
func (k *Keys) Check(ctx context.Context) error {
	return k.use(ctx, func(transport.TPM) error { return nil })
}

// Close flushes the loaded keys. The device stays open.
func (k *Keys) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.unload(k.dev); err == nil && !k.dirty {
		return nil
	}
	return k.clean(k.dev)
}

// use runs fn with the keys loaded. When the TPM has meanwhile forgotten them,
// it loads them again and runs fn once more; fn must be repeatable.
func (k *Keys) use(ctx context.Context, fn func(transport.TPM) error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	tpm := k.dev.With(ctx)
	err := k.tryUse(tpm, fn)
	if !forgotten(err) || ctx.Err() != nil {
		return err
	}
	k.dirty = true
	return k.tryUse(tpm, fn)
}

func (k *Keys) tryUse(tpm transport.TPM, fn func(transport.TPM) error) error {
	if err := k.load(tpm); err != nil {
		return err
	}
	return fn(tpm)
}

// forgotten reports errors that say the TPM restarted, or that its slots were
// flushed, since the keys were loaded.
func forgotten(err error) bool {
	if errors.Is(err, device.ErrBroken) {
		return true
	}
	for _, rc := range []tpm2.TPMRC{tpm2.TPMRCReferenceH0, tpm2.TPMRCReferenceH1, tpm2.TPMRCHandle} {
		if errors.Is(err, rc) {
			return true
		}
	}
	return false
}

// load makes both keys unless they are loaded already.
func (k *Keys) load(tpm transport.TPM) error {
	if k.loadedAt != 0 && k.loadedAt != k.dev.Generation() {
		k.dirty = true // the connection they were loaded over is gone
	}
	if err := k.clean(tpm); err != nil {
		return err
	}
	k.loadedAt = k.dev.Generation()
	err := k.create(tpm)
	if errors.Is(err, tpm2.TPMRCObjectMemory) && !k.dev.Shared() {
		// A process that was killed left its keys in the slots.
		k.dirty = true
		if err := k.clean(tpm); err != nil {
			return err
		}
		err = k.create(tpm)
	}
	if err != nil {
		_ = k.unload(tpm) // the first error says more
		k.dirty = true
	}
	return err
}

// clean frees whatever an interrupted command may have left in the slots. A
// resource manager does it by connection; without one we are the only user, and
// nothing but ours is there.
func (k *Keys) clean(tpm transport.TPM) error {
	if !k.dirty {
		return nil
	}
	k.ak, k.node = nil, nil
	if k.dev.Shared() {
		_ = k.dev.Reconnect() // an error of closing a broken connection
	} else if err := flushAll(tpm); err != nil {
		return err
	}
	k.dirty = false
	k.cleaned++
	return nil
}

func (k *Keys) create(tpm transport.TPM) (err error) {
	if k.ak == nil {
		if k.ak, err = createSigning(tpm, akTemplate()); err != nil {
			return fmt.Errorf("key: create attestation key: %w", err)
		}
	}
	if k.node == nil {
		if k.node, err = createSigning(tpm, nodeTemplate(k.generation)); err != nil {
			return fmt.Errorf("key: create node key: %w", err)
		}
	}
	return k.remember()
}

// remember fixes the identity at the first load and compares with it later.
func (k *Keys) remember() error {
	digest, err := spkiDigest(k.node.key)
	if err != nil {
		return err
	}
	now := identity{
		akPublic: tpm2.Marshal(k.ak.public), nodePublic: tpm2.Marshal(k.node.public),
		akName: k.ak.name.Buffer, akKey: k.ak.key, nodeKey: k.node.key, nodeDigest: digest,
	}
	if k.identity.akName == nil {
		k.identity = now
		return nil
	}
	if string(now.akName) != string(k.identity.akName) || now.nodeDigest != k.identity.nodeDigest {
		return ErrOtherTPM
	}
	return nil
}

// unload flushes the keys. What cannot be flushed is left to clean.
func (k *Keys) unload(tpm transport.TPM) error {
	var errs []error
	for _, p := range []*primary{k.ak, k.node} {
		if p != nil {
			errs = append(errs, flush(tpm, p.handle))
		}
	}
	k.ak, k.node = nil, nil
	err := errors.Join(errs...)
	if err != nil {
		k.dirty = true
	}
	return err
}

// createSigning makes a P-256 primary and checks that the TPM made what the
// template says, under the name that its public area has.
func createSigning(tpm transport.TPM, template tpm2.TPMTPublic) (*primary, error) {
	p, err := createPrimary(tpm, template)
	if err != nil {
		return nil, err
	}
	if p.key, err = checkAgainst(p.public, template); err != nil {
		return nil, errors.Join(err, flush(tpm, p.handle))
	}
	return p, nil
}

func createPrimary(tpm transport.TPM, template tpm2.TPMTPublic) (*primary, error) {
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHEndorsement,
		InPublic:      tpm2.New2B(template),
	}.Execute(tpm)
	if err != nil {
		return nil, err
	}
	p, err := parsePrimary(rsp)
	if err != nil {
		return nil, errors.Join(err, flush(tpm, rsp.ObjectHandle))
	}
	return p, nil
}

func parsePrimary(rsp *tpm2.CreatePrimaryResponse) (*primary, error) {
	public, err := rsp.OutPublic.Contents()
	if err != nil {
		return nil, err
	}
	name, err := tpm2.ObjectName(public)
	if err != nil {
		return nil, err
	}
	if string(name.Buffer) != string(rsp.Name.Buffer) {
		return nil, fmt.Errorf("%w: name does not match the public area", ErrAttributes)
	}
	return &primary{
		handle: rsp.ObjectHandle, name: *name, public: *public,
		creationData: rsp.CreationData.Bytes(), creationHash: rsp.CreationHash,
		creationTicket: rsp.CreationTicket,
	}, nil
}

func flush(tpm transport.TPM, handle tpm2.TPMHandle) error {
	if _, err := (tpm2.FlushContext{FlushHandle: handle}).Execute(tpm); err != nil {
		return fmt.Errorf("key: flush %#x: %w", uint32(handle), err)
	}
	return nil
}

// First handles of what FlushContext can free.
const (
	firstTransient     = 0x80000000
	firstLoadedSession = 0x02000000 // HMAC and policy sessions alike
)

// flushAll frees every transient slot and loaded session.
func flushAll(tpm transport.TPM) error {
	for _, first := range []uint32{firstTransient, firstLoadedSession} {
		handles, err := listHandles(tpm, first)
		if err != nil {
			return err
		}
		for _, h := range handles {
			if err := flush(tpm, h); err != nil {
				return err
			}
		}
	}
	return nil
}

// listHandles returns the handles of one kind from first on.
func listHandles(tpm transport.TPM, first uint32) ([]tpm2.TPMHandle, error) {
	rsp, err := tpm2.GetCapability{
		Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 254,
	}.Execute(tpm)
	if err != nil {
		return nil, fmt.Errorf("key: list handles: %w", err)
	}
	list, err := rsp.CapabilityData.Data.Handles()
	if err != nil {
		return nil, fmt.Errorf("key: list handles: %w", err)
	}
	return list.Handle, nil
}
