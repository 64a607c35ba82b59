package agent

import (
	"errors"
	"io/fs"

	"github.com/quorate/quorate/agent/statedir"
)

// Files in the state directory. None holds a secret.
const (
	identityFile  = "identity.json"
	statusFile    = "status.json"
	bundleFile    = "admission.bundle" // what the ledger node shows
	admissionsDir = "admissions"
)

// ErrBusy reports that another agent runs with the same state directory.
var ErrBusy = statedir.ErrBusy

// ErrNotJoined reports that no verifier knows this host yet.
var ErrNotJoined = errors.New("agent: this host has not joined: run `quorate-agent join` with a join token")

// ErrUnsafeDir reports a state directory that others could have changed.
var ErrUnsafeDir = statedir.ErrUnsafe

// state is the state directory.
type state struct{ *statedir.Dir }

// identity is what the agent must remember to be the same node again. The keys
// themselves are made anew from the TPM.
type identity struct {
	Node         string     `json:"node"`
	AKName       string     `json:"akName"`  // hex
	NodeKey      string     `json:"nodeKey"` // "sha256:…" of the SubjectPublicKeyInfo
	Generation   uint32     `json:"nodeKeyGeneration"`
	ConsensusKey string     `json:"consensusKey,omitempty"` // public
	Verifiers    []enrolled `json:"verifiers"`
}

// enrolled is one verifier's answer to an enrolment. State is "asked" between
// the question and the answer, so a crash there loses nothing.
type enrolled struct {
	Name  string `json:"name"`
	State string `json:"state"`
}

// openState opens the directory and takes its lock.
func openState(dir string) (*state, error) {
	d, err := statedir.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := d.Mkdir(admissionsDir); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return &state{d}, nil
}

// readState opens an existing directory for reading.
func readState(dir string) (*state, error) {
	d, err := statedir.Look(dir)
	if err != nil {
		return nil, err
	}
	return &state{d}, nil
}

// identity reads who this host is. ErrNotJoined when it is nobody yet.
func (s *state) identity() (identity, error) {
	var id identity
	err := s.ReadJSON(identityFile, &id)
	if errors.Is(err, fs.ErrNotExist) {
		return id, ErrNotJoined
	}
	return id, err
}

// set records a verifier's answer.
func (id *identity) set(verifier, answer string) {
	for i := range id.Verifiers {
		if id.Verifiers[i].Name == verifier {
			id.Verifiers[i].State = answer
			return
		}
	}
	id.Verifiers = append(id.Verifiers, enrolled{verifier, answer})
}
