package agent

import (
	"context"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/agent/device"
)

// ReadConsortium reads and checks the consortium file that a configuration
// names.
func ReadConsortium(cfg Config) (*admission.Consortium, error) { return loadConsortium(cfg.Consortium) }

// ReadBundle reads the bundle that the agent with this configuration keeps. It
// is as untrusted as any file before Consortium.VerifyBundle. Error is
// fs.ErrNotExist when there is none.
func ReadBundle(cfg Config) ([]byte, error) {
	st, err := readState(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	return st.Read(bundleFile)
}

// NodeKey returns the digest of this host's node key as its TPM makes it, and
// refuses a TPM other than the one that joined.
func NodeKey(ctx context.Context, cfg Config, dev *device.Device) (admission.Digest, error) {
	st, err := readState(cfg.StateDir)
	if err != nil {
		return admission.Digest{}, err
	}
	defer st.Close()
	id, err := st.identity()
	if err != nil {
		return admission.Digest{}, err
	}
	keys, err := (&Agent{cfg: cfg, dev: dev}).openKeys(ctx, id)
	if err != nil {
		return admission.Digest{}, err
	}
	return keys.NodeKeyDigest(), keys.Close()
}

// EnrolledNodeKey returns the digest of the node key that this host joined with,
// as the agent wrote it down, without asking the TPM.
func EnrolledNodeKey(cfg Config) (admission.Digest, error) {
	st, err := readState(cfg.StateDir)
	if err != nil {
		return admission.Digest{}, err
	}
	defer st.Close()
	id, err := st.identity()
	if err != nil {
		return admission.Digest{}, err
	}
	return admission.ParseDigest(id.NodeKey)
}
