package agent

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/quorate/quorate/agent/device"
	"github.com/quorate/quorate/agent/key"
)

// quotedPCRs is how many PCRs, from 0 on, verifiers ask for.
const quotedPCRs = 15

// Inspection is what this host would send to a verifier. The JSON names are
// stable.
type Inspection struct {
	Node      string    `json:"node,omitempty"`
	Device    string    `json:"device"`
	Maker     string    `json:"manufacturer"` // as the TPM says
	Firmware  string    `json:"firmware"`     // hex
	Class     string    `json:"classGuess"`   // discrete, firmware, virtual
	Epoch     string    `json:"epoch"`        // resetCount/restartCount
	EK        EKFacts   `json:"ek"`
	AKName    string    `json:"akName"`  // hex
	NodeKey   string    `json:"nodeKey"` // sha256:…
	Banks     []string  `json:"banks"`
	PCRs      []string  `json:"pcrs"` // hex, of the first bank, from PCR 0
	BootLog   LogFacts  `json:"bootLog"`
	IMA       LogFacts  `json:"ima"`
	BootID    string    `json:"bootId,omitempty"`
	Problems  []Problem `json:"problems"`
	Inspected time.Time `json:"inspected"`
}

// EKFacts describe the endorsement key and its certificate, unverified.
type EKFacts struct {
	Template      string     `json:"template,omitempty"`
	HostID        string     `json:"hostId,omitempty"`
	Subject       string     `json:"subject,omitempty"`
	Issuer        string     `json:"issuer,omitempty"`
	NotAfter      *time.Time `json:"notAfter,omitempty"`
	Intermediates int        `json:"intermediates"`
}

// LogFacts describe a measurement log.
type LogFacts struct {
	Path    string `json:"path"`
	Size    uint64 `json:"size"`              // bytes
	Digest  string `json:"digest,omitempty"`  // sha256:…, boot log only
	Entries int    `json:"entries,omitempty"` // IMA list only
}

// Problem is something missing, with what mends it.
type Problem struct {
	What   string `json:"what"`
	Remedy string `json:"remedy"`
	Blocks bool   `json:"blocks"` // no verifier can admit the host like this
}

// Inspect looks at everything that the agent would send, without a verifier and
// without changing anything. It needs no consortium file, but chooses the EK
// template by it. Error only when the TPM itself does not answer; everything
// else is a Problem.
func Inspect(ctx context.Context, cfg Config, dev *device.Device) (*Inspection, error) {
	in := &Inspection{
		Node: cfg.Node, Device: dev.Name(), Banks: []string{}, PCRs: []string{}, Problems: []Problem{},
		BootLog: LogFacts{Path: cfg.BootLog}, IMA: LogFacts{Path: cfg.IMAList},
		Inspected: time.Now().UTC().Truncate(time.Second),
	}
	if err := in.chip(ctx, dev); err != nil {
		return nil, err
	}
	if err := in.keys(ctx, cfg, dev); err != nil {
		return nil, err
	}
	in.logs(cfg)
	return in, nil
}

// Blocked reports whether a Problem keeps the host from being admitted.
func (in *Inspection) Blocked() bool {
	for _, p := range in.Problems {
		if p.Blocks {
			return true
		}
	}
	return false
}

func (in *Inspection) problem(blocks bool, what, remedy string) {
	in.Problems = append(in.Problems, Problem{what, remedy, blocks})
}

// chip reads maker, epoch, banks and PCRs.
func (in *Inspection) chip(ctx context.Context, dev *device.Device) error {
	tpm := dev.With(ctx)
	maker, err := key.ReadMaker(tpm)
	if err != nil {
		return err
	}
	in.Maker, in.Firmware, in.Class = maker.Manufacturer, fmt.Sprintf("%016x", maker.Firmware), maker.Class()
	if in.Epoch, err = key.ReadEpoch(tpm); err != nil {
		return err
	}
	names, err := key.Banks(tpm)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		in.problem(true, "the TPM has no SHA-256 or SHA-384 PCR bank allocated",
			"allocate one in firmware setup, or run `tpm2_pcrallocate sha256:all`, and reboot")
		return nil
	}
	in.Banks = names
	bank, err := key.ParseBank(names[0])
	if err != nil {
		return err
	}
	pcrs := make([]uint32, quotedPCRs)
	for i := range pcrs {
		pcrs[i] = uint32(i)
	}
	values, err := key.ReadPCRs(tpm, bank, pcrs)
	if errors.Is(err, key.ErrMoved) {
		values, err = key.ReadPCRs(tpm, bank, pcrs)
	}
	if err != nil {
		return err
	}
	for _, v := range values {
		in.PCRs = append(in.PCRs, hex.EncodeToString(v))
	}
	return nil
}

// keys makes the keys that would be used, and flushes them again.
func (in *Inspection) keys(ctx context.Context, cfg Config, dev *device.Device) (err error) {
	id := storedIdentity(cfg)
	keys, err := key.Open(ctx, dev, id.Generation)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, keys.Close()) }()
	in.AKName, in.NodeKey = hex.EncodeToString(keys.AKName()), nodeKeyText(keys)
	if id.AKName != "" && (id.AKName != in.AKName || id.NodeKey != in.NodeKey) {
		in.problem(true, fmt.Sprintf("this is not the TPM that joined as %s", id.Node),
			"if the TPM was replaced, this is another host: join it under a new node id")
	}
	t, err := chooseTemplate(ctx, dev, cfg.TPMClass, in.templates(cfg))
	if err != nil {
		return err
	}
	return in.endorsement(ctx, keys, t)
}

// storedIdentity is the identity of an earlier join, or the zero one.
func storedIdentity(cfg Config) identity {
	st, err := readState(cfg.StateDir)
	if err != nil {
		return identity{}
	}
	defer st.Close()
	id, err := st.identity()
	if err != nil {
		return identity{}
	}
	return id
}

// templates returns the consortium's EK templates, or both that exist.
func (in *Inspection) templates(cfg Config) map[string]string {
	c, err := loadConsortium(cfg.Consortium)
	if err == nil {
		return c.Endorsement.Templates
	}
	in.problem(false, "no consortium file: "+err.Error(), "copy it from a member of the consortium, and compare its digest with theirs")
	return map[string]string{
		"discrete": string(key.RSA2048), "firmware": string(key.ECCP256), "virtual": string(key.ECCP256),
	}
}

func (in *Inspection) endorsement(ctx context.Context, keys *key.Keys, t key.Template) error {
	in.EK.Template = string(t)
	ek, err := keys.OpenEK(ctx, t)
	if errors.Is(err, fs.ErrNotExist) {
		in.problem(true, fmt.Sprintf("the TPM carries no certificate for its %s endorsement key", t),
			"some vendors store it only after an update of their management engine or TPM firmware; a virtual TPM gets one from its host")
		return nil
	}
	if err != nil {
		return err
	}
	defer ek.Close()
	in.EK.HostID, in.EK.Intermediates = ek.HostID, len(ek.Intermediates)
	cert, err := x509.ParseCertificate(ek.Certificate)
	if err != nil {
		in.problem(true, "the EK certificate does not parse: "+err.Error(), "ask the vendor of the TPM")
		return nil
	}
	in.EK.Subject, in.EK.Issuer, in.EK.NotAfter = cert.Subject.String(), cert.Issuer.String(), &cert.NotAfter
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	if hex.EncodeToString(sum[:]) != ek.HostID {
		in.problem(true, "the EK certificate in the TPM is for another key than the TPM makes",
			"the endorsement seed was changed or the certificate is a leftover: this TPM can no longer prove its origin")
	}
	return nil
}

// logs looks at the boot log and the IMA list.
func (in *Inspection) logs(cfg Config) {
	src := source(cfg)
	in.BootID = src.ReadBootID()
	log, err := src.ReadBootLog()
	in.BootLog.Size = uint64(len(log))
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && len(log) == 0:
		in.problem(true, "there is no boot log at "+cfg.BootLog, noBootLog)
	case err != nil:
		in.problem(true, err.Error(), asRoot)
	default:
		sum := sha256.Sum256(log)
		in.BootLog.Digest = "sha256:" + hex.EncodeToString(sum[:])
	}
	if in.IMA.Size, err = src.IMASize(); err == nil {
		in.IMA.Entries, err = src.CountIMA()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		in.problem(false, "there is no IMA list at "+cfg.IMAList, noIMA)
	case err != nil:
		in.problem(false, err.Error(), asRoot)
	case in.IMA.Entries < 2:
		in.problem(false, "IMA measures no programs", noIMA)
	}
}

// Remedies for what is missing most often.
const (
	noBootLog = "mount securityfs; check that the kernel was started through its EFI stub (Debian's GRUB 2.06 " +
		"does not when Secure Boot is off): turn Secure Boot on or use systemd-boot, then reboot"
	noIMA  = "if the policy asks for runtime measurements, boot with `ima_policy=tcb ima_hash=sha256` on the kernel command line"
	asRoot = "run as root, or as the user that the service runs as"
)
