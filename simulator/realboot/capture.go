package realboot

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/quorate/quorate/simulator/vendorca"
)

// Where a kernel shows what was measured.
const (
	BootLogPath = "/sys/kernel/security/tpm0/binary_bios_measurements"
	IMAPath     = "/sys/kernel/security/ima/binary_runtime_measurements"
)

// ReadFile returns the content of one of the guest's files.
func (g *Guest) ReadFile(ctx context.Context, path string) ([]byte, error) {
	text, err := g.Exec(ctx, "base64 "+path)
	if err != nil {
		return nil, err
	}
	content, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(text, "\n", ""))
	if err != nil {
		return nil, fmt.Errorf("read %s in the guest: %w", path, err)
	}
	return content, nil
}

// PCRs returns the SHA-256 values of PCRs 0 to 23, as the guest's kernel reads
// them from the TPM.
func (g *Guest) PCRs(ctx context.Context) ([][]byte, error) {
	text, err := g.Exec(ctx, "cd /sys/class/tpm/tpm0/pcr-sha256 && i=0; while test $i -lt 24; do cat $i; i=$((i+1)); done")
	if err != nil {
		return nil, err
	}
	var values [][]byte
	for _, line := range strings.Fields(text) {
		value, err := hex.DecodeString(line)
		if err != nil {
			return nil, fmt.Errorf("PCR %d: %w", len(values), err)
		}
		values = append(values, value)
	}
	if len(values) != 24 {
		return nil, fmt.Errorf("%d PCR values, want 24", len(values))
	}
	return values, nil
}

// probe runs in every captured boot, so that the IMA list ends with a program.
var probe = File{"/usr/local/bin/probe", 0o755, []byte("#!/bin/sh\necho probe\n")}

// Capture boots each chain once and writes to dir what it left: the boot log as
// <chain>.log, the IMA list as <chain>.ima, and the PCRs as <chain>.pcrs, a line
// with number and value for each. Tests of parsers keep such files as testdata.
// Secure Boot is on where Debian's signatures allow it.
func Capture(ctx context.Context, dir string) error {
	host, err := FindHost()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, chain := range []Chain{ShimGrub, EFIStub, UKI} {
		if err := capture(ctx, host, chain, filepath.Join(dir, string(chain))); err != nil {
			return fmt.Errorf("capture %s: %w", chain, err)
		}
	}
	return nil
}

func capture(ctx context.Context, host *Host, chain Chain, to string) error {
	work, err := os.MkdirTemp("", "capture-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	vendor, err := vendorca.New(vendorca.Options{Now: time.Now()})
	if err != nil {
		return err
	}
	tpm := filepath.Join(work, "tpm")
	if err := ManufactureTPM(ctx, tpm, vendor); err != nil {
		return err
	}
	image, err := BuildImage(ctx, host, work, ImageSpec{Chain: chain, CommandLine: CommandLine, Files: []File{probe}})
	if err != nil {
		return err
	}
	machine, err := NewMachine(host, work, tpm)
	if err != nil {
		return err
	}
	defer machine.Close()
	guest, err := machine.Boot(ctx, image, BootOptions{SecureBoot: chain == ShimGrub})
	if err != nil {
		return err
	}
	defer guest.Kill()
	return guest.save(ctx, to)
}

// save runs the probe and writes the three files. The PCRs come last: nothing
// runs that is not in the list by then.
func (g *Guest) save(ctx context.Context, to string) error {
	if _, err := g.Exec(ctx, probe.Path); err != nil {
		return err
	}
	for suffix, path := range map[string]string{".log": BootLogPath, ".ima": IMAPath} {
		content, err := g.ReadFile(ctx, path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(to+suffix, content, 0o644); err != nil {
			return err
		}
	}
	values, err := g.PCRs(ctx)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	for i, value := range values {
		fmt.Fprintf(&text, "%d %x\n", i, value)
	}
	return os.WriteFile(to+".pcrs", text.Bytes(), 0o644)
}
