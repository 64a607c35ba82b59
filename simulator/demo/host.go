package demo

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/site"
	"github.com/quorate/quorate/simulator/swtpm"
)

// host is one simulated machine with a real agent process.
type host struct {
	*bootlog.Host
	id, dir string
	agent   *site.Process
}

// programs are what every host of the demo runs after its boot.
var programs = []string{"/usr/lib/systemd/systemd", "/usr/bin/cometbft", "/usr/bin/quorate-agent"}

// newHost builds a machine with a TPM of the simulated vendor, boots it, and
// writes the agent's configuration.
func (d *demo) newHost(ctx context.Context, name string, boot bootlog.Boot) (*host, error) {
	h := &host{id: member + "/" + name, dir: filepath.Join(d.dir, name)}
	var err error
	if h.Host, err = bootlog.NewHost(ctx, h.dir, swtpm.Options{Vendor: d.site.Vendor}); err != nil {
		return nil, err
	}
	d.hosts = append(d.hosts, h)
	if err := h.Boot(boot); err != nil {
		return nil, err
	}
	for _, program := range programs {
		if err := h.Exec(program, sha256.Sum256([]byte(program))); err != nil {
			return nil, err
		}
	}
	config := fmt.Sprintf("node: %s\nconsortium: %s\nstateDir: state\ndevice: %s\nbootLog: %s\nimaList: %s\nbootId: %s\n",
		h.id, d.site.ConsortiumFile(), h.Device(), h.BootLogPath(), h.IMAPath(), h.BootIDPath())
	return h, os.WriteFile(h.config(), []byte(config), 0o600)
}

func (h *host) config() string { return filepath.Join(h.dir, "agent.yaml") }

// run starts the agent's process.
func (h *host) run(ctx context.Context, program string) error {
	log, err := os.Create(filepath.Join(h.dir, "agent.log"))
	if err != nil {
		return err
	}
	h.agent, err = site.Start(ctx, log, program, "run", "--config", h.config())
	return err
}

func (h *host) close() {
	if h.agent != nil {
		h.agent.Interrupt(2 * time.Second)
	}
	if h.Host != nil {
		_ = h.Host.Close() // its state is thrown away
	}
}
