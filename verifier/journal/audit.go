package journal

import (
	"fmt"
	"iter"

	"filippo.io/torchwood"
)

// Audit checks a whole journal as somebody handed it out: that the checkpoint
// satisfies the policy (origin, log key, witnesses), that every entry is one that
// Parse accepts, and that exactly these entries, in this order, have the
// checkpoint's size and root. It returns the tree that it found sound.
//
// It trusts nobody but the policy's keys, and needs memory for one entry only.
func Audit(policy torchwood.Policy, checkpoint []byte, entries iter.Seq2[Entry, error]) (Tree, error) {
	c, _, err := torchwood.VerifyCheckpoint(checkpoint, policy)
	if err != nil {
		return Tree{}, fmt.Errorf("%w: checkpoint: %w", ErrInconsistent, err)
	}
	var acc Accumulator
	next := uint64(0)
	for e, err := range entries {
		if err != nil {
			return Tree{}, err
		}
		if e.Index != next {
			return Tree{}, fmt.Errorf("%w: entry %d where entry %d belongs", ErrInconsistent, e.Index, next)
		}
		if _, err := Parse(e.Data); err != nil {
			return Tree{}, fmt.Errorf("%w: entry %d: %w", ErrInconsistent, e.Index, err)
		}
		acc.Add(e.Data)
		next++
	}
	want := Tree{Size: uint64(c.N), Root: c.Hash}
	if acc.Tree() != want {
		return Tree{}, fmt.Errorf("%w: the %d entries have the root %x, the checkpoint is of %d entries with the root %x",
			ErrInconsistent, acc.Tree().Size, acc.Tree().Root, want.Size, want.Root)
	}
	return want, nil
}
