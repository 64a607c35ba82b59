package signer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/agent/device"
	"github.com/quorate/quorate/agent/possession"
	"github.com/quorate/quorate/agent/seal"
	"github.com/quorate/quorate/agent/signer/permit"
	"github.com/quorate/quorate/agent/statedir"
)

// Files in the signer's directory. None holds a secret.
const (
	keyFile      = "sealed-key.json"
	stateFile    = "priv_validator_state.json" // CometBFT's own
	startsFile   = "starts.json"
	standingFile = "standing.json"
	statusFile   = "status.json"
	requestFile  = seal.RequestFile
	grantFile    = seal.GrantFile
	approvalsDir = "approvals"
	retiredDir   = "retired-keys"
)

// maxApprovals bounds how many approvals are read at a start.
const maxApprovals = 64

// Dir returns the signer's directory, below the agent's.
func Dir(cfg agent.Config) string { return possession.Dir(cfg.StateDir) }

func statePath(cfg agent.Config) string { return filepath.Join(Dir(cfg), stateFile) }

func readKey(dir *statedir.Dir) (*seal.Key, error) {
	data, err := dir.Read(keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &seal.Refusal{Check: seal.NoKey, Got: "no sealed key", Want: "one", Cause: err,
			Remedy: "make one with `quorate-agent signer create`, or bring the node's with `quorate-agent signer import`"}
	}
	if err != nil {
		return nil, err
	}
	return seal.ParseKey(data)
}

// ReadKey reads the sealed key of the signer with this configuration.
func ReadKey(cfg agent.Config) (*seal.Key, error) {
	dir, err := statedir.Look(Dir(cfg))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &seal.Refusal{Check: seal.NoKey, Got: "no sealed key", Want: "one", Cause: err,
			Remedy: "make one with `quorate-agent signer create`"}
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return readKey(dir)
}

func readApprovals(dir *statedir.Dir) ([]seal.Approval, error) {
	names, err := dir.List(approvalsDir)
	if err != nil {
		return nil, err
	}
	if len(names) > maxApprovals {
		return nil, fmt.Errorf("signer: %d approvals, at most %d; remove old ones", len(names), maxApprovals)
	}
	var list []seal.Approval
	for _, name := range names {
		data, err := dir.Read(approvalsDir + "/" + name)
		if err != nil {
			return nil, err
		}
		a, err := seal.ParseApproval(data)
		if err != nil {
			return nil, fmt.Errorf("signer: approval %s: %w", name, err)
		}
		list = append(list, a)
	}
	return list, nil
}

func readStanding(dir *statedir.Dir) permit.Standing {
	var st permit.Standing
	err := dir.ReadJSON(standingFile, &st)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return permit.Standing{Suspended: true, Reason: err.Error()}
	}
	return st
}

// starts ties the signing state to the TPM's counter of starts. A state that is
// restored from before the last start has another number or lies lower.
type starts struct {
	Count uint64   `json:"count"` // of the TPM's counter, as of the last start
	Last  position `json:"last"`  // at that start, or at its orderly end
}

// checkStarts refuses a signing state that is older than the last start. A count
// one ahead of the TPM's is a start that was cut off before the TPM counted it.
func checkStarts(ctx context.Context, dev *device.Device, dir *statedir.Dir, at position) error {
	var st starts
	if err := dir.ReadJSON(startsFile, &st); err != nil {
		return rollback(err.Error(), "the record of starts")
	}
	now, err := seal.Counted(ctx, dev)
	if err != nil {
		return err
	}
	if st.Count != now && st.Count != now+1 {
		return rollback(fmt.Sprintf("a record of start %d", st.Count), fmt.Sprintf("of start %d, as the TPM counted", now))
	}
	if at.before(st.Last) {
		return rollback(fmt.Sprintf("a signing state at %+v", at), fmt.Sprintf("at or above %+v", st.Last))
	}
	return nil
}

func rollback(got, want string) *seal.Refusal {
	return &seal.Refusal{Check: seal.Rollback, Got: got, Want: want,
		Remedy: "restore the newest signing state; if it is lost, see `quorate-agent signer raise --help`"}
}

// countStart has the TPM count, and writes the count down before.
func countStart(ctx context.Context, dev *device.Device, dir *statedir.Dir, at position) error {
	now, err := seal.Counted(ctx, dev)
	if err != nil {
		return err
	}
	if err := dir.WriteJSON(startsFile, starts{now + 1, at}); err != nil {
		return err
	}
	counted, err := seal.Count(ctx, dev)
	if err == nil && counted != now+1 { // the first count of a TPM begins anywhere
		err = dir.WriteJSON(startsFile, starts{counted, at})
	}
	return err
}

// noteLast writes down how far the signer got, at its orderly end.
func noteLast(dir *statedir.Dir, at position) error {
	var st starts
	if err := dir.ReadJSON(startsFile, &st); err != nil {
		return err
	}
	if at.before(st.Last) {
		return nil
	}
	st.Last = at
	return dir.WriteJSON(startsFile, st)
}
