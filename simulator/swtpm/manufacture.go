package swtpm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/quorate/quorate/simulator/vendorca"
)

// NV indices of the TCG EK Credential Profile.
const (
	NVCertificateRSA = 0x01c00002 // EK certificate, RSA-2048 (L-1)
	NVCertificateECC = 0x01c0000a // EK certificate, ECC P-256 (L-2)
	NVIntermediate   = 0x01c00100 // first certificate of the chain
)

// manufacture makes a TPM as it leaves its vendor: only the SHA-256 bank, EK
// certificates in NV. On failure nothing is left that New would take for one.
func (t *TPM) manufacture(o Options) (err error) {
	defer func() {
		if err != nil {
			t.PowerOff()
			err = errors.Join(err, os.RemoveAll(filepath.Join(t.dir, stateFile)))
		}
	}()
	if err := t.PowerOn(); err != nil {
		return err
	}
	if err := allocateSHA256(t); err != nil {
		return err
	}
	if o.Vendor != nil {
		if err := provision(t, o); err != nil {
			return err
		}
	}
	return t.Shutdown()
}

// allocateSHA256 leaves SHA-256 as the only bank from the next start on.
// go-tpm has no TPM2_PCR_Allocate, so the command is written out.
func allocateSHA256(tpm transport.TPM) error {
	command := []byte{0x80, 0x02, 0, 0, 0, 0} // TPM_ST_SESSIONS, size
	command = binary.BigEndian.AppendUint32(command, uint32(tpm2.TPMCCPCRAllocate))
	command = binary.BigEndian.AppendUint32(command, uint32(tpm2.TPMRHPlatform))
	command = append(command, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0) // empty password
	command = append(command, 0, 0, 0, 4,
		0x00, 0x04, 3, 0x00, 0x00, 0x00, // SHA-1
		0x00, 0x0b, 3, 0xff, 0xff, 0xff, // SHA-256
		0x00, 0x0c, 3, 0x00, 0x00, 0x00, // SHA-384
		0x00, 0x0d, 3, 0x00, 0x00, 0x00) // SHA-512
	binary.BigEndian.PutUint32(command[2:], uint32(len(command)))
	response, err := tpm.Send(command)
	if err != nil {
		return err
	}
	if code := binary.BigEndian.Uint32(response[6:]); code != 0 {
		return fmt.Errorf("PCR allocation: %w", tpm2.TPMRC(code))
	}
	return nil
}

func provision(tpm transport.TPM, o Options) error {
	if o.Device == (vendorca.Device{}) {
		o.Device = vendorca.DefaultDevice
	}
	if err := certify(tpm, o, tpm2.ECCEKTemplate, NVCertificateECC); err != nil {
		return fmt.Errorf("ECC EK: %w", err)
	}
	if o.RSA {
		if err := certify(tpm, o, tpm2.RSAEKTemplate, NVCertificateRSA); err != nil {
			return fmt.Errorf("RSA EK: %w", err)
		}
	}
	if err := writeNV(tpm, NVIntermediate, o.Vendor.Intermediate); err != nil {
		return fmt.Errorf("intermediate: %w", err)
	}
	return nil
}

// certify creates the EK, has the vendor certify it and writes the certificate
// into NV.
func certify(tpm transport.TPM, o Options, template tpm2.TPMTPublic, index uint32) error {
	created, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHEndorsement, InPublic: tpm2.New2B(template),
	}.Execute(tpm)
	if err != nil {
		return err
	}
	_, err = tpm2.FlushContext{FlushHandle: created.ObjectHandle}.Execute(tpm)
	if err != nil {
		return err
	}
	public, err := created.OutPublic.Contents()
	if err != nil {
		return err
	}
	key, err := tpm2.Pub(*public)
	if err != nil {
		return err
	}
	der, err := o.Vendor.Issue(key, o.Device, o.Shape)
	if err != nil {
		return err
	}
	return writeNV(tpm, index, der)
}

// writeNV defines an index with the attributes that vendors give to EK
// certificates, writes it, and locks it for good.
func writeNV(tpm transport.TPM, index uint32, data []byte) error {
	public := tpm2.TPMSNVPublic{
		NVIndex: tpm2.TPMHandle(index), NameAlg: tpm2.TPMAlgSHA256, DataSize: uint16(len(data)),
		Attributes: tpm2.TPMANV{
			PPWrite: true, WriteDefine: true, PPRead: true, OwnerRead: true,
			AuthRead: true, NoDA: true, PlatformCreate: true,
		},
	}
	platform := tpm2.AuthHandle{Handle: tpm2.TPMRHPlatform, Auth: tpm2.PasswordAuth(nil)}
	define := tpm2.NVDefineSpace{AuthHandle: platform, PublicInfo: tpm2.New2B(public)}
	if _, err := define.Execute(tpm); err != nil {
		return fmt.Errorf("define %#x: %w", index, err)
	}
	for offset := 0; offset < len(data); {
		name, err := nvName(tpm, index)
		if err != nil {
			return err
		}
		chunk := data[offset:min(offset+512, len(data))] // the smallest buffer a TPM may have
		write := tpm2.NVWrite{
			AuthHandle: platform, NVIndex: name, Data: tpm2.TPM2BMaxNVBuffer{Buffer: chunk}, Offset: uint16(offset),
		}
		if _, err := write.Execute(tpm); err != nil {
			return fmt.Errorf("write %#x: %w", index, err)
		}
		offset += len(chunk)
	}
	name, err := nvName(tpm, index)
	if err != nil {
		return err
	}
	_, err = tpm2.NVWriteLock{AuthHandle: platform, NVIndex: name}.Execute(tpm)
	return err
}

// nvName reads the index's name, which changes with the first write.
func nvName(tpm transport.TPM, index uint32) (tpm2.NamedHandle, error) {
	handle := tpm2.TPMHandle(index)
	public, err := tpm2.NVReadPublic{NVIndex: handle}.Execute(tpm)
	if err != nil {
		return tpm2.NamedHandle{}, fmt.Errorf("read public %#x: %w", index, err)
	}
	return tpm2.NamedHandle{Handle: handle, Name: public.NVName}, nil
}
