package key

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// ErrBank reports a PCR bank that is not allocated.
var ErrBank = errors.New("key: PCR bank is not allocated")

// banks that the agent quotes. SHA-1 is none of them.
var banks = []struct {
	name string
	alg  tpm2.TPMAlgID
}{{"sha256", tpm2.TPMAlgSHA256}, {"sha384", tpm2.TPMAlgSHA384}}

// BankName returns "sha256", "sha384", or the algorithm's number.
func BankName(alg tpm2.TPMAlgID) string {
	for _, b := range banks {
		if b.alg == alg {
			return b.name
		}
	}
	return fmt.Sprintf("%#x", uint16(alg))
}

// ParseBank is the reverse of BankName for the banks that the agent quotes.
func ParseBank(name string) (tpm2.TPMAlgID, error) {
	for _, b := range banks {
		if b.name == name {
			return b.alg, nil
		}
	}
	return 0, fmt.Errorf("%w: %q is none the agent quotes", ErrBank, name)
}

// Banks lists the allocated banks that the agent quotes, by name.
func Banks(tpm transport.TPM) ([]string, error) {
	rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapPCRs, PropertyCount: 1}.Execute(tpm)
	if err != nil {
		return nil, fmt.Errorf("key: list PCR banks: %w", err)
	}
	assigned, err := rsp.CapabilityData.Data.AssignedPCR()
	if err != nil {
		return nil, fmt.Errorf("key: list PCR banks: %w", err)
	}
	var names []string
	for _, b := range banks {
		for _, s := range assigned.PCRSelections {
			if s.Hash == b.alg && len(bytes.Trim(s.PCRSelect, "\x00")) > 0 {
				names = append(names, b.name)
			}
		}
	}
	return names, nil
}

// Maker is what the TPM says about itself. It proves nothing.
type Maker struct {
	Manufacturer string // "IFX", "STM", "IBM"
	Firmware     uint64
}

// ReadMaker asks the TPM for its manufacturer and firmware version.
func ReadMaker(tpm transport.TPM) (Maker, error) {
	rsp, err := tpm2.GetCapability{
		Capability: tpm2.TPMCapTPMProperties, Property: uint32(tpm2.TPMPTManufacturer), PropertyCount: 16,
	}.Execute(tpm)
	if err != nil {
		return Maker{}, fmt.Errorf("key: read TPM properties: %w", err)
	}
	list, err := rsp.CapabilityData.Data.TPMProperties()
	if err != nil {
		return Maker{}, fmt.Errorf("key: read TPM properties: %w", err)
	}
	var m Maker
	for _, p := range list.TPMProperty {
		switch p.Property {
		case tpm2.TPMPTManufacturer:
			text := binary.BigEndian.AppendUint32(nil, p.Value)
			m.Manufacturer = strings.TrimRight(string(text), " \x00")
		case tpm2.TPMPTFirmwareVersion1:
			m.Firmware |= uint64(p.Value) << 32
		case tpm2.TPMPTFirmwareVersion2:
			m.Firmware |= uint64(p.Value)
		}
	}
	return m, nil
}

// Class guesses the kind of TPM from its maker: "virtual", "firmware" or
// "discrete". Verifiers decide by the vendor's root instead.
func (m Maker) Class() string {
	switch m.Manufacturer {
	case "IBM", "MSFT", "GOOG", "AMZN", "XEN", "VMW", "SECE":
		return "virtual"
	case "AMD", "INTC", "QCOM", "SMSN":
		return "firmware"
	}
	return "discrete"
}

// ReadEpoch returns the boot epoch as text, "resetCount/restartCount".
func ReadEpoch(tpm transport.TPM) (string, error) {
	rsp, err := tpm2.ReadClock{}.Execute(tpm)
	if err != nil {
		return "", fmt.Errorf("key: read clock: %w", err)
	}
	info := rsp.CurrentTime.ClockInfo
	return fmt.Sprintf("%d/%d", info.ResetCount, info.RestartCount), nil
}
