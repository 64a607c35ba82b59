package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/chain"
	"github.com/quorate/quorate/simulator/site"
)

// Machine is one validator's host: a software TPM with a measured boot, an
// agent, a signer that holds the consensus key for this TPM only, and the
// ledger's three programs.
type Machine struct {
	*site.Host
	Node          *chain.Node
	Agent, Signer *site.Service
	Courier       *site.Service // carries its bundles to the ledger; nobody starts the joiner's
	l             *Ledger
}

// newMachine builds the machine and boots it. Nothing runs on it yet.
func (l *Ledger) newMachine(ctx context.Context, id string, node *chain.Node) (*Machine, error) {
	m := &Machine{Node: node, l: l}
	var err error
	if m.Host, err = site.NewHost(ctx, id, l.path("hosts", node.Name), l.Members.ConsortiumFile(), l.Members.Vendor); err != nil {
		return nil, err
	}
	if err := m.writeSigner(); err != nil {
		return nil, errors.Join(err, m.Host.Host.Close())
	}
	m.Agent = m.service("agent", "quorate-agent", "run")
	m.Signer = m.service("signer", "quorate-signer")
	m.Courier = l.courier(filepath.Join(m.Dir, "courier.log"), node, "--bundle", m.Bundle())
	return m, nil
}

// courier carries to the ledger by any of its nodes, the given one first.
func (l *Ledger) courier(log string, first *chain.Node, what ...string) *site.Service {
	args := append([]string{"carry", "--node", first.RPC}, what...)
	for _, node := range l.Chain.Nodes {
		if node != first {
			args = append(args, "--node", node.RPC)
		}
	}
	return &site.Service{Program: filepath.Join(l.Bin, "quorate-gate"), Args: args, Log: log}
}

// writeSigner tells node and signer of each other, and the signer where to see
// that the ledger needs it.
func (m *Machine) writeSigner() error {
	address, err := m.Node.UseSigner()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(m.Config(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "signer: {address: '%s', ledger: '%s'}\n", address, m.Node.RPC)
	return errors.Join(err, f.Close())
}

func (m *Machine) service(name, program string, args ...string) *site.Service {
	return &site.Service{Program: filepath.Join(m.Node.Bin, program), Args: append(args, "--config", m.Config()), Log: filepath.Join(m.Dir, name+".log")}
}

// signer runs a command about the consensus key.
func (m *Machine) signer(ctx context.Context, args ...string) ([]byte, error) {
	return m.l.Members.Sites[0].Output(ctx, "quorate-signer", append(args, "--config", m.Config())...)
}

// seal gives the consensus key to the TPM and destroys the file.
func (m *Machine) seal(ctx context.Context) error {
	_, err := m.signer(ctx, "import", "--authority", m.l.path("authority.pub.pem"), "--grantor", m.l.path("authority.pub.pem"),
		"--key", m.Node.KeyFile(), "--state", m.Node.StateFile())
	return errors.Join(err, os.Remove(m.Node.KeyFile()))
}

// approve has the policy authority approve the state that the machine is in.
func (m *Machine) approve(ctx context.Context) error {
	state, err := m.signer(ctx, "predict")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(m.Dir, "state.json"), state, 0o600); err != nil {
		return err
	}
	return m.accept(ctx, "approve", "state.json", "approval.json")
}

// accept has the authority sign a file, and the signer take what comes of it.
func (m *Machine) accept(ctx context.Context, act, file, answer string) error {
	signed, err := m.signer(ctx, act, "--key", m.l.path("authority.pem"), filepath.Join(m.Dir, file))
	if err != nil {
		return err
	}
	path := filepath.Join(m.Dir, answer)
	if err := os.WriteFile(path, signed, 0o600); err != nil {
		return err
	}
	_, err = m.signer(ctx, "accept", path)
	return err
}

// prepare takes the machine from its first boot to a running agent.
func (m *Machine) prepare(ctx context.Context) error {
	for _, step := range []func() error{
		func() error { return m.Boot(bootlog.Debian()) },
		func() error { return m.seal(ctx) },
		func() error { return m.approve(ctx) },
		func() error { return m.Signer.Start(ctx) },
		func() error { return m.join(ctx) },
		func() error { return m.Agent.Start(ctx) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("prepare %s: %w", m.ID, err)
		}
	}
	return nil
}

// join enrols with every verifier, once the signer answers.
func (m *Machine) join(ctx context.Context) error {
	ready := func() bool {
		_, err := os.Stat(filepath.Join(m.Dir, "state", "signer", "control.sock"))
		return err == nil
	}
	if err := site.Poll(ctx, ready); err != nil {
		return fmt.Errorf("the signer does not answer: %w: %s", err, m.Signer.Output())
	}
	return m.Join(ctx, true, m.l.Members.Sites...)
}

// Reboot ends everything on the machine, boots it anew as it should be, and
// starts everything again.
func (m *Machine) Reboot(ctx context.Context) error {
	m.stop()
	if err := m.Boot(bootlog.Debian()); err != nil {
		return err
	}
	return errors.Join(m.Agent.Start(ctx), m.Signer.Start(ctx), m.Courier.Start(ctx), m.Node.Start(ctx, m.l.gateArguments()...))
}

func (m *Machine) stop() {
	m.Courier.Stop()
	m.Node.Stop()
	m.Signer.Stop()
	m.Agent.Stop()
}

// close ends everything and cuts the power.
func (m *Machine) close() {
	m.stop()
	m.Host.Close()
}
