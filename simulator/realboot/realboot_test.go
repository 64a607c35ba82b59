package realboot_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/need"
	"github.com/quorate/quorate/simulator/realboot"
	"github.com/quorate/quorate/simulator/vendorca"
)

// lab is a machine with an image that has an unlisted program on it.
type lab struct {
	machine *realboot.Machine
	image   *realboot.Image
}

func newLab(t *testing.T, chain realboot.Chain) *lab {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a virtual machine for 15 seconds")
	}
	host, err := realboot.FindHost()
	if missing := (*realboot.MissingError)(nil); errors.As(err, &missing) {
		need.Missing(t, err.Error())
	} else if err != nil {
		t.Fatal(err)
	}
	vendor, err := vendorca.New(vendorca.Options{Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	tpm, dir := t.TempDir(), t.TempDir()
	if err := realboot.ManufactureTPM(t.Context(), tpm, vendor); err != nil {
		t.Fatal(err)
	}
	image, err := realboot.BuildImage(t.Context(), host, t.TempDir(), realboot.ImageSpec{Chain: chain, CommandLine: realboot.CommandLine,
		Files: []realboot.File{{Path: "/usr/local/bin/unlisted", Mode: 0o755, Content: []byte("#!/bin/sh\nprintf 'hello\\n'\n")}}})
	if err != nil {
		t.Fatal(err)
	}
	machine, err := realboot.NewMachine(host, dir, tpm)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { machine.Close() })
	return &lab{machine, image}
}

func (l *lab) boot(t *testing.T, o realboot.BootOptions) *realboot.Guest {
	t.Helper()
	guest, err := l.machine.Boot(t.Context(), l.image, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(guest.Kill)
	t.Logf("booted in %s", guest.BootTime.Round(time.Millisecond))
	return guest
}

func exec(t *testing.T, guest *realboot.Guest, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, err := guest.Exec(ctx, command)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func file(t *testing.T, guest *realboot.Guest, path string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	raw, err := guest.ReadFile(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func shutdown(t *testing.T, guest *realboot.Guest) {
	t.Helper()
	if err := guest.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// pcrs reads PCRs 0 to 14 as the kernel's driver reads them from the TPM.
func pcrs(t *testing.T, guest *realboot.Guest) [][]byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	values, err := guest.PCRs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return values[:15]
}
