package realboot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/quorate/quorate/simulator/site"
)

// Machine is one computer: a TPM whose state survives every boot, and firmware.
// One guest runs at a time. A Machine is not for concurrent use.
type Machine struct {
	host  *Host
	dir   string // consoles and logs
	tpm   string // swtpm's state
	short string // sockets: their paths must stay below 108 bytes
	boots int
}

// GuestGateway is where a guest reaches the host: TCP connections to it on
// the port in BootOptions.Forward end at the same port of the host's loopback.
// Nothing else is reachable.
const GuestGateway = "10.0.2.100"

// BootOptions is what one boot differs in.
type BootOptions struct {
	SecureBoot bool  // on: Microsoft's keys enrolled; off: no keys
	Forward    []int // TCP ports, see GuestGateway
}

// BootTimeout bounds the time from power on to a guest that obeys: ten times
// what an idle machine needs, since processor time is all that a boot takes.
const BootTimeout = 3 * time.Minute

// NewMachine makes a machine out of a manufactured TPM's state folder. Logs
// go to dir. Close removes what it keeps elsewhere.
func NewMachine(host *Host, dir, tpmState string) (*Machine, error) {
	short, err := os.MkdirTemp("", "realboot-")
	if err != nil {
		return nil, fmt.Errorf("new machine: %w", err)
	}
	state, err := filepath.Abs(tpmState)
	if err != nil {
		return nil, fmt.Errorf("new machine: %w", err)
	}
	return &Machine{host: host, dir: dir, tpm: state, short: short}, nil
}

// Close removes the machine's sockets. The TPM's state stays.
func (m *Machine) Close() error { return os.RemoveAll(m.short) }

// Boot switches the machine on and returns when the guest obeys. The variable
// store is restored from Debian's template at each boot, so that the same image
// gives the same log. The guest ends with ctx at the latest.
func (m *Machine) Boot(ctx context.Context, image *Image, o BootOptions) (*Guest, error) {
	m.boots++
	began := time.Now()
	g := &Guest{Console: filepath.Join(m.dir, fmt.Sprintf("console-%d.log", m.boots))}
	if err := m.powerOn(ctx, g, image, o); err != nil {
		g.Kill()
		return nil, fmt.Errorf("boot %d: %w", m.boots, err)
	}
	g.BootTime = time.Since(began)
	return g, nil
}

func (m *Machine) powerOn(ctx context.Context, g *Guest, image *Image, o BootOptions) error {
	vars, err := m.restoreVars(o.SecureBoot)
	if err != nil {
		return err
	}
	if err := m.startTPM(ctx, g); err != nil {
		return err
	}
	control := filepath.Join(m.short, "control")
	os.Remove(control)
	listener, err := net.Listen("unix", control)
	if err != nil {
		return fmt.Errorf("control channel: %w", err)
	}
	defer listener.Close()
	args := m.arguments(image, o, vars, control, g.Console)
	if g.qemu, err = site.Start(ctx, nil, "qemu-system-x86_64", args...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, BootTimeout)
	defer cancel()
	return g.connect(ctx, listener)
}

func (m *Machine) restoreVars(secure bool) (string, error) {
	template := m.host.VarsPlain
	if secure {
		template = m.host.VarsSecure
	}
	raw, err := os.ReadFile(template)
	if err != nil {
		return "", err
	}
	path := filepath.Join(m.short, "vars.fd")
	return path, os.WriteFile(path, raw, 0o600)
}

// startTPM runs swtpm for one power cycle: it ends when QEMU lets go of it.
func (m *Machine) startTPM(ctx context.Context, g *Guest) (err error) {
	socket := m.tpmSocket()
	os.Remove(socket)
	g.tpm, err = site.Start(ctx, nil, "swtpm", "socket", "--tpm2", "--tpmstate", "dir="+m.tpm,
		"--ctrl", "type=unixio,path="+socket, "--terminate")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return site.Poll(ctx, func() bool { _, err := os.Stat(socket); return err == nil }, g.tpm)
}

func (m *Machine) tpmSocket() string { return filepath.Join(m.short, "tpm") }

// arguments is the computer. SMM guards the variable store, as Secure Boot
// needs; -nodefaults and no network boot keep firmware from looking for a boot
// elsewhere.
func (m *Machine) arguments(image *Image, o BootOptions, vars, control, console string) []string {
	args := []string{
		"-machine", "q35,smm=on", "-accel", "tcg", "-cpu", "max", "-m", "1024",
		"-nodefaults", "-display", "none", "-monitor", "none", "-no-reboot",
		"-global", "driver=cfi.pflash01,property=secure,value=on",
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + m.host.FirmwareCode,
		"-drive", "if=pflash,unit=1,format=raw,file=" + vars,
		"-chardev", "socket,id=tpm,path=" + m.tpmSocket(), "-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0",
		"-drive", "if=virtio,format=raw,file=" + image.Disk,
		"-chardev", "file,id=console,path=" + console, "-serial", "chardev:console",
		"-chardev", "socket,id=control,path=" + control, "-serial", "chardev:control",
	}
	network := "user,id=net,restrict=on"
	for _, port := range o.Forward {
		network += fmt.Sprintf(",guestfwd=tcp:%s:%d-cmd:%s nc 127.0.0.1 %d", GuestGateway, port, m.host.Busybox, port)
	}
	args = append(args, "-netdev", network, "-device", "virtio-net-pci,netdev=net,romfile=")
	return append(args, image.handedOver()...)
}

// errRefusedToEnd is why a shutdown became a kill.
var errRefusedToEnd = errors.New("guest did not shut down; it was killed")
