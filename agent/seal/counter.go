package seal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/quorate/quorate/agent/device"
)

// counterIndex is the NV index of the counter, in the range for owners.
const counterIndex = tpm2.TPMHandle(0x01805150)

// Count raises the TPM's counter of starts by one and returns its new value.
// Nobody can lower it: a counter that was deleted and made again goes on from
// the highest value that any counter of this TPM ever had. It is raised once a
// start and not once a signature, because NV memory wears out.
func Count(ctx context.Context, dev *device.Device) (uint64, error) {
	tpm := dev.With(ctx)
	index, err := counter(tpm)
	if err != nil {
		return 0, err
	}
	if _, err := (tpm2.NVIncrement{AuthHandle: index, NVIndex: named(index)}).Execute(tpm); err != nil {
		return 0, fmt.Errorf("seal: raise counter: %w", err)
	}
	return readCounter(tpm)
}

// Counted returns the counter's value, 0 before the first start.
func Counted(ctx context.Context, dev *device.Device) (uint64, error) {
	tpm := dev.With(ctx)
	_, err := counterPublic(tpm)
	if errors.Is(err, tpm2.TPMRCHandle) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return readCounter(tpm)
}

// counter finds the counter, or makes it.
func counter(tpm transport.TPM) (tpm2.AuthHandle, error) {
	h, err := counterPublic(tpm)
	if !errors.Is(err, tpm2.TPMRCHandle) {
		return h, err
	}
	_, err = tpm2.NVDefineSpace{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
			NVIndex: counterIndex, NameAlg: tpm2.TPMAlgSHA256, DataSize: 8,
			Attributes: tpm2.TPMANV{NT: tpm2.TPMNTCounter, AuthRead: true, AuthWrite: true, OwnerRead: true, NoDA: true},
		}),
	}.Execute(tpm)
	if errors.Is(err, tpm2.TPMRCBadAuth) || errors.Is(err, tpm2.TPMRCAuthFail) {
		return h, &Refusal{Check: OwnerAuth, Got: "an owner password", Want: "none", Cause: err,
			Remedy: "clear the TPM's owner password (tpm2_changeauth -c owner) for the first start of the signer"}
	}
	if err != nil {
		return h, fmt.Errorf("seal: define counter: %w", err)
	}
	return counterPublic(tpm)
}

func counterPublic(tpm transport.TPM) (tpm2.AuthHandle, error) {
	rsp, err := tpm2.NVReadPublic{NVIndex: counterIndex}.Execute(tpm)
	if err != nil {
		return tpm2.AuthHandle{}, fmt.Errorf("seal: counter: %w", err)
	}
	public, err := rsp.NVPublic.Contents()
	if err != nil || public.Attributes.NT != tpm2.TPMNTCounter || public.DataSize != 8 {
		return tpm2.AuthHandle{}, &Refusal{Check: Rollback, Got: fmt.Sprintf("NV index %#x is no counter", uint32(counterIndex)), Want: "the signer's counter",
			Remedy: "free the index (tpm2_nvundefine) and start the signer again"}
	}
	return tpm2.AuthHandle{Handle: counterIndex, Name: rsp.NVName, Auth: tpm2.PasswordAuth(nil)}, nil
}

func named(h tpm2.AuthHandle) tpm2.NamedHandle {
	return tpm2.NamedHandle{Handle: h.Handle, Name: h.Name}
}

// readCounter reads the counter. Its name changed with the first increment, so
// it is looked up again. One that was never raised cannot be read and counts 0.
func readCounter(tpm transport.TPM) (uint64, error) {
	h, err := counterPublic(tpm)
	if err != nil {
		return 0, err
	}
	rsp, err := tpm2.NVRead{AuthHandle: h, NVIndex: named(h), Size: 8}.Execute(tpm)
	if errors.Is(err, tpm2.TPMRCNVUninitialized) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("seal: read counter: %w", err)
	}
	if len(rsp.Data.Buffer) != 8 {
		return 0, fmt.Errorf("seal: counter of %d bytes", len(rsp.Data.Buffer))
	}
	return binary.BigEndian.Uint64(rsp.Data.Buffer), nil
}
