package journal

import (
	"errors"
	"iter"
	"testing"
	"time"

	"filippo.io/torchwood"
)

// A whole journal passes an audit; one entry less, changed, moved or added, or a
// checkpoint by another key, does not.
func TestAudit(t *testing.T) {
	_, cfg := keys(t)
	j := openJournal(t, t.TempDir(), cfg)
	var entries [][]byte
	for i := range 5 {
		entry, err := Format(Roster{At: time.Unix(int64(i), 0).UTC(), Number: uint64(i)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.Append(t.Context(), entry); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, entry)
	}
	checkpoint, err := j.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	policy := torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(origin), torchwood.SingleVerifierPolicy(cfg.Verifier))
	want, err := j.Tree(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if tree, err := Audit(policy, checkpoint, handedOut(entries...)); err != nil || tree != want {
		t.Fatalf("genuine journal: %v, %v", tree, err)
	}
	for name, forged := range map[string][][]byte{
		"one less":    entries[:4],
		"one more":    append(entries[:5:5], entries[4]),
		"changed":     {entries[0], entries[1], entries[1], entries[3], entries[4]},
		"moved":       {entries[1], entries[0], entries[2], entries[3], entries[4]},
		"no entry":    {entries[0], []byte("not an entry"), entries[2], entries[3], entries[4]},
		"none at all": nil,
	} {
		if _, err := Audit(policy, checkpoint, handedOut(forged...)); !errors.Is(err, ErrInconsistent) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, other := keys(t)
	if _, err := Audit(torchwood.SingleVerifierPolicy(other.Verifier), checkpoint, handedOut(entries...)); !errors.Is(err, ErrInconsistent) {
		t.Errorf("another key's checkpoint: %v", err)
	}
}

func handedOut(entries ...[]byte) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for i, data := range entries {
			if !yield(Entry{Index: uint64(i), Data: data}, nil) {
				return
			}
		}
	}
}
