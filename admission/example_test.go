package admission_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
)

// mayVote is what a ledger does before it gives a node voting power. The file
// is pinned at genesis, consensusKey is the key that the node registered, and
// now comes from the block header.
func mayVote(consortiumFile, bundle []byte, consensusKey string, now time.Time) (until time.Time, err error) {
	consortium, err := admission.ParseConsortium(consortiumFile)
	if err != nil {
		return time.Time{}, err
	}
	want := admission.Want{Role: "validator", ConsensusKey: consensusKey}
	a, err := consortium.VerifyBundle(bundle, want, now)
	if err != nil {
		return time.Time{}, err // an *admission.Refusal: check, got, want, remedy
	}
	return a.NotAfter(), nil
}

func Example() {
	dir, err := exampleFiles()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	consortium, _ := os.ReadFile(filepath.Join(dir, "consortium.yaml"))
	bundle, _ := os.ReadFile(filepath.Join(dir, "validator-1.bundle"))
	key, _ := os.ReadFile(filepath.Join(dir, "consensus.key"))

	until, err := mayVote(consortium, bundle, string(key), now)
	fmt.Println(until.Format(time.RFC3339), err)

	_, err = mayVote(consortium, bundle, "ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", now)
	fmt.Println(err)

	// Output:
	// 2026-11-23T16:00:00Z <nil>
	// admission.consensus-key: The admission is for another consensus key. at admission 1, consensus-key: got ed25519:uBd5pLbKgkJmgnk6EbzrQHQp61yVy7urrUHw3qX7d1A=, want ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
}

// exampleFiles writes what a ledger developer would have at hand.
func exampleFiles() (string, error) {
	n := newNetwork(&testing.B{}, options{verifiers: 3, k: 2, witnesses: 2, w: 1})
	dir, err := os.MkdirTemp("", "admission")
	if err != nil {
		return "", err
	}
	file, err := n.Marshal()
	if err != nil {
		return "", err
	}
	for name, content := range map[string][]byte{
		"consortium.yaml": file, "validator-1.bundle": n.bundle(nil), "consensus.key": []byte(n.want().ConsensusKey),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return "", err
		}
	}
	return dir, nil
}
