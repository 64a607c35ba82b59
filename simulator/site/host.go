package site

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/swtpm"
	"github.com/quorate/quorate/simulator/vendorca"
)

// Host is one simulated machine with a real agent process.
type Host struct {
	*bootlog.Host
	ID, Dir string
	agent   *Process
}

// Programs are what every host runs after its boot.
var Programs = []string{"/usr/lib/systemd/systemd", "/usr/bin/cometbft", "/usr/bin/quorate-agent"}

// NewHost builds a machine with a TPM of the vendor and writes the agent's
// configuration into its folder. It has not booted.
func NewHost(ctx context.Context, id, dir, consortium string, vendor *vendorca.CA) (*Host, error) {
	h := &Host{ID: id, Dir: dir}
	var err error
	if h.Host, err = bootlog.NewHost(ctx, dir, swtpm.Options{Vendor: vendor}); err != nil {
		return nil, err
	}
	config := fmt.Sprintf("node: %s\nconsortium: %s\nstateDir: state\ndevice: %s\nbootLog: %s\nimaList: %s\nbootId: %s\n",
		id, consortium, h.Device(), h.BootLogPath(), h.IMAPath(), h.BootIDPath())
	return h, os.WriteFile(h.Config(), []byte(config), 0o600)
}

// Boot boots the machine, again if it runs, and starts its programs.
func (h *Host) Boot(b bootlog.Boot) error {
	if err := h.Host.Boot(b); err != nil {
		return err
	}
	for _, program := range Programs {
		if err := h.Exec(program, sha256.Sum256([]byte(program))); err != nil {
			return err
		}
	}
	return nil
}

// Config returns the path of the agent's configuration.
func (h *Host) Config() string { return filepath.Join(h.Dir, "agent.yaml") }

// Bundle returns the path of the bundle that the agent writes.
func (h *Host) Bundle() string { return filepath.Join(h.Dir, "state", "admission.bundle") }

// Join enrols the host's TPM with the sites' verifiers, by a token of each. With
// signer, the running signer proves that the host holds a consensus key.
func (h *Host) Join(ctx context.Context, signer bool, sites ...*Site) error {
	file := filepath.Join(h.Dir, "token")
	tokens, err := h.invite(ctx, sites)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte(tokens), 0o600); err != nil {
		return err
	}
	args := []string{"join", "--config", h.Config(), "--token-file", file}
	if signer {
		args = append(args, "--signer")
	}
	return sites[0].Run(ctx, "quorate-agent", args...)
}

// invite has the operator of the host's own member get a token at each verifier.
func (h *Host) invite(ctx context.Context, sites []*Site) (string, error) {
	own := slices.IndexFunc(sites, func(s *Site) bool { return s.Member == admission.NodeMember(h.ID) })
	if own < 0 {
		return "", fmt.Errorf("no operator may invite %s", h.ID)
	}
	var tokens strings.Builder
	for _, s := range sites {
		var invitation struct {
			Token string `json:"joinToken"`
		}
		if _, err := sites[own].Quorate(ctx, &invitation, "node", "invite", h.ID, "--pre-approve", "--verifier", s.Verifier); err != nil {
			return "", err
		}
		fmt.Fprintf(&tokens, "%s=%s\n", s.Verifier, invitation.Token)
	}
	return tokens.String(), nil
}

// RunAgent starts the agent's process, for the first time or again.
func (h *Host) RunAgent(ctx context.Context, program string) error {
	log, err := os.OpenFile(filepath.Join(h.Dir, "agent.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	h.agent, err = Start(ctx, log, program, "run", "--config", h.Config())
	return err
}

// Agent returns the agent's process.
func (h *Host) Agent() *Process { return h.agent }

// Close ends the agent and cuts the machine's power.
func (h *Host) Close() {
	if h.agent != nil {
		h.agent.Interrupt(2 * time.Second)
	}
	_ = h.Host.Close() // its state is thrown away
}
