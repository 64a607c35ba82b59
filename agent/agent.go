package agent

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/agent/device"
	"github.com/quorate/quorate/agent/key"
	"github.com/quorate/quorate/agent/measure"
	"github.com/quorate/quorate/proto/binding"
)

// protocolVersion is the version of the wire contract spoken here.
const protocolVersion = 1

// Agent is the attester of one host. It opens its state directory only while
// Join or Run is under way.
type Agent struct {
	cfg        Config
	consortium *admission.Consortium
	dev        *device.Device
	source     measure.Source
	log        *slog.Logger
}

// New checks the configuration against the consortium file and prepares an
// agent on an open TPM, which stays the caller's to close.
func New(cfg Config, dev *device.Device, log *slog.Logger) (*Agent, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	consortium, err := loadConsortium(cfg.Consortium)
	if err != nil {
		return nil, err
	}
	if !admission.ValidNodeID(cfg.Node) {
		return nil, fmt.Errorf("agent: node %q is not of the form member/name", cfg.Node)
	}
	if member := admission.NodeMember(cfg.Node); !consortium.HasMember(member) {
		return nil, fmt.Errorf("agent: node %q: consortium %s has no member %q", cfg.Node, consortium.Name, member)
	}
	return &Agent{cfg: cfg, consortium: consortium, dev: dev, source: source(cfg), log: log}, nil
}

func source(cfg Config) measure.Source {
	return measure.Source{
		FS: os.DirFS("/"), BootLog: measure.Relative(cfg.BootLog), IMAList: measure.Relative(cfg.IMAList),
		BootID: measure.Relative(cfg.BootID),
	}
}

func loadConsortium(path string) (*admission.Consortium, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("agent: consortium file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, admission.MaxConsortium+1))
	if err != nil {
		return nil, fmt.Errorf("agent: consortium file: %w", err)
	}
	c, err := admission.ParseConsortium(data)
	if err != nil {
		return nil, fmt.Errorf("agent: consortium file %s: %w", path, err)
	}
	return c, nil
}

// Consortium returns the parsed consortium file.
func (a *Agent) Consortium() *admission.Consortium { return a.consortium }

// ledger is the consortium's ledger as proofs name it.
func (a *Agent) ledger() binding.Ledger {
	return binding.Ledger{
		Consortium: a.consortium.Name, ChainID: a.consortium.Ledger.ID, Genesis: a.consortium.Ledger.Genesis,
	}
}

// openKeys loads the keys that an identity names, and refuses a TPM that makes
// others: a host with a replaced TPM is another host.
func (a *Agent) openKeys(ctx context.Context, id identity) (*key.Keys, error) {
	keys, err := key.Open(ctx, a.dev, id.Generation)
	if err != nil {
		return nil, err
	}
	if id.AKName == "" {
		return keys, nil
	}
	if id.AKName != hex.EncodeToString(keys.AKName()) || id.NodeKey != nodeKeyText(keys) {
		err := fmt.Errorf("%w: %s was enrolled with attestation key %s", key.ErrOtherTPM, id.Node, id.AKName)
		return nil, errors.Join(err, keys.Close())
	}
	return keys, nil
}

func nodeKeyText(keys *key.Keys) string { return admission.Digest(keys.NodeKeyDigest()).String() }

// banks returns the allocated banks that can be quoted, and refuses a TPM with
// none: it would sign an empty selection without complaint.
func (a *Agent) banks(ctx context.Context) ([]string, error) {
	names, err := key.Banks(a.dev.With(ctx))
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%w: %s; allocate the SHA-256 bank in firmware setup, or with `tpm2_pcrallocate sha256:all`, and reboot",
			key.ErrBank, "neither sha256 nor sha384")
	}
	return names, nil
}
