package journal

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/verdict"
)

// ErrUnjustified means that a row says what the journal does not: somebody wrote
// to the store behind the verifier's back, or put an old row back.
var ErrUnjustified = errors.New("journal: no entry justifies the stored record")

// changes knows the last change of every node, from the entries before size.
type changes struct {
	mu   sync.Mutex
	size uint64
	last map[string]justification
}

// justification is what the last change of a node vouches for.
type justification struct {
	index uint64
	sum   [32]byte
}

// Justify checks a record against the last journal entry about its node. The
// record must carry that entry's index and agree with it in identity, state,
// approvals and latches; it may be late where the entry says admitted. Callers
// use it before they rely on a record that they read from a store, while nobody
// is between writing an entry about the node and storing it.
//
// The first call reads the whole journal; later ones only what is new.
func (r *Reader) Justify(ctx context.Context, rec node.Record) error {
	r.latest.mu.Lock()
	defer r.latest.mu.Unlock()
	if err := r.follow(ctx); err != nil {
		return err
	}
	last, known := r.latest.last[rec.ID]
	switch {
	case !known:
		return fmt.Errorf("%w: %s is not in the journal", ErrUnjustified, rec.ID)
	case last.index != rec.JournalIndex:
		return fmt.Errorf("%w: %s is as of entry %d, the journal's last is %d", ErrUnjustified, rec.ID, rec.JournalIndex, last.index)
	case last.sum != vouched(rec):
		return fmt.Errorf("%w: %s differs from entry %d", ErrUnjustified, rec.ID, last.index)
	}
	return nil
}

// follow reads what is new in the journal. The caller holds the lock.
func (r *Reader) follow(ctx context.Context) error {
	tree, err := r.Tree(ctx)
	if err != nil {
		return err
	}
	if r.latest.last == nil {
		r.latest.last = map[string]justification{}
	}
	r.read(ctx, tree, r.latest.size, func(e Entry, failed error) bool {
		if err = failed; err == nil {
			err = r.latest.add(e)
		}
		return err == nil
	})
	return err
}

func (c *changes) add(e Entry) error {
	body, err := Parse(e.Data)
	if err != nil {
		return fmt.Errorf("entry %d: %w", e.Index, err)
	}
	if change, ok := body.(Change); ok {
		c.last[change.Node.ID] = justification{index: e.Index, sum: vouched(change.Node)}
	}
	c.size = e.Index + 1
	return nil
}

// vouched digests the fields of a record that only a journal entry may change.
func vouched(rec node.Record) [32]byte {
	if rec.State == node.Late {
		rec.State = node.Admitted
	}
	// Encoding these types cannot fail; if it ever did, the digest of nothing
	// would justify no record, since entries are encoded before they are written.
	text, err := json.Marshal(struct {
		Identity      node.Identity
		State         node.State
		Approvals     []string
		Required      int
		Predecessor   string
		LatchEpoch    verdict.Epoch
		LatchedBy     string
		Releases      []string
		FirstAdmitted time.Time
	}{rec.Identity, rec.State, rec.Approvals, rec.Required, rec.Predecessor, rec.LatchEpoch, rec.LatchedBy, rec.Releases, rec.FirstAdmitted})
	if err != nil {
		return [32]byte{}
	}
	return sha256.Sum256(text)
}
