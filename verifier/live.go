package verifier

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/quorate/quorate/verifier/appraise"
	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/ima"
	"github.com/quorate/quorate/verifier/journal"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/store"
)

// live is a node in memory: its record, how far its logs are verified, and its
// session. Everything that happens to a node happens under its mutex, so two
// events of one node never race.
//
// The record in memory leads: it is changed once the journal has the entry. A
// store that fails then is behind, not wrong, and is caught up by catchUp.
type live struct {
	mu       sync.Mutex
	rec      node.Record
	pos      position
	ak       *evidence.AK
	known    *evidence.KnownLog
	session  *Session
	standing *issued     // last admission issued by this process
	behind   bool        // the store lacks rec
	moved    bool        // the store lacks pos
	paced    time.Time   // no first challenge of a session before this
	granted  []time.Time // grants of the last hour
	retries  int         // answers in a row that were refused for their timing
}

// issued is a signed admission with its log proof.
type issued struct {
	note, proof []byte
	policy      [32]byte
	epoch       string
}

// position is what a restart must not lose, or every host would have to send its
// logs again. It changes with every proof and is written in batches; losing the
// last few seconds costs a re-send.
type position struct {
	Clock      evidence.Clock   `json:"clock"`
	IMA        imaState         `json:"ima"`
	BootLog    node.Digest      `json:"bootLog,omitzero"`
	Segments   []node.Digest    `json:"segments,omitempty"` // archived parts of the IMA list, from entry 0
	History    appraise.History `json:"history"`
	LastPass   time.Time        `json:"lastPass,omitzero"`
	FreshUntil time.Time        `json:"freshUntil,omitzero"`
	Seen       time.Time        `json:"seen,omitzero"` // last authentic evidence
}

// imaState is ima.State in JSON.
type imaState struct {
	Entries uint64      `json:"entries"`
	Bytes   uint64      `json:"bytes"`
	PCR10   node.Digest `json:"pcr10,omitzero"`
}

func (p position) ima() ima.State {
	return ima.State{Epoch: p.Clock.Epoch, Entries: p.IMA.Entries, Bytes: p.IMA.Bytes, PCR10: p.IMA.PCR10}
}

// overlay brings a stored record up to the stored position.
func (p position) overlay(rec node.Record) node.Record {
	if p.Seen.After(rec.LastEvidence) && p.Clock.Epoch == rec.Epoch {
		rec.LastEvidence = p.Seen
		rec.Clock = node.Clock{Milliseconds: p.Clock.Milliseconds, Safe: p.Clock.Safe, Firmware: p.Clock.Firmware}
	}
	if p.LastPass.After(rec.LastPass) {
		rec.LastPass, rec.FreshUntil = p.LastPass, p.FreshUntil
	}
	return rec
}

// forgetLogs makes the next challenge ask for all logs.
func (l *live) forgetLogs() {
	l.known = nil
	l.pos.IMA, l.pos.BootLog, l.pos.Segments = imaState{}, node.Digest{}, nil
	l.pos.History = l.pos.History.Bare()
	l.moved = true
}

// newLive prepares a record for use.
func newLive(rec node.Record, pos position) (*live, error) {
	ak, err := evidence.ParseAK(rec.AK)
	if err != nil {
		return nil, fmt.Errorf("node %s: enrolled attestation key: %w", rec.ID, err)
	}
	pos.History.TPM = appraise.TPM{Class: rec.TPMClass, Vendor: rec.TPMVendor, Model: rec.TPMModel}
	return &live{rec: pos.overlay(rec), pos: pos, ak: ak}, nil
}

// recall restores the parsed boot log from the archive, if the node still runs
// the boot that it belongs to.
func (s *Service) recall(l *live) {
	if l.known != nil || l.pos.BootLog.IsZero() {
		return
	}
	raw, err := s.archive.Get(l.pos.BootLog)
	if err == nil {
		l.known, err = evidence.NewKnownLog(l.pos.Clock.Epoch, eventlog.SHA256, raw)
	}
	if err != nil {
		s.log.Warn("boot log not in the archive, asking for it again", "node", l.rec.ID, "error", err)
		l.forgetLogs()
	}
}

// nodes is every node in memory.
type nodes struct {
	mu    sync.RWMutex
	byID  map[string]*live
	byKey map[node.Digest]*live
}

func newNodes() *nodes {
	return &nodes{byID: make(map[string]*live), byKey: make(map[node.Digest]*live)}
}

// addNew takes a node into service, unless it is there already.
func (n *nodes) addNew(l *live) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, known := n.byID[l.rec.ID]; known {
		return false
	}
	n.byID[l.rec.ID] = l
	// A retired node's TPM may serve another node, with the same keys.
	if _, taken := n.byKey[l.rec.NodeKey]; !taken || l.rec.State != node.Retired {
		n.byKey[l.rec.NodeKey] = l
	}
	return true
}

func (n *nodes) get(id string) (*live, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if l, ok := n.byID[id]; ok {
		return l, nil
	}
	return nil, store.ErrNotFound
}

func (n *nodes) withKey(key node.Digest) (*live, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if l, ok := n.byKey[key]; ok {
		return l, nil
	}
	return nil, store.ErrNotFound
}

// all returns the nodes in no particular order.
func (n *nodes) all() []*live {
	n.mu.RLock()
	defer n.mu.RUnlock()
	list := make([]*live, 0, len(n.byID))
	for _, l := range n.byID {
		list = append(list, l)
	}
	return list
}

// load reads every node of the store into memory. A damaged row, or one that the
// journal contradicts, denies its node and is an alarm.
func (s *Service) load(ctx context.Context) error {
	listing, err := s.store.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, damaged := range listing.Damaged {
		s.alarm("database: " + damaged.Error() + "; run: quorate-verifier rebuild")
	}
	positions, err := s.positions(ctx)
	if err != nil {
		return err
	}
	for _, rec := range listing.Records {
		err := s.justified(ctx, rec)
		if err == nil {
			err = s.checkAdmission(ctx, &rec)
		}
		if err != nil {
			s.alarm(fmt.Sprintf("node %s: the database contradicts the journal: %v; run: quorate-verifier rebuild", rec.ID, err))
			continue
		}
		l, err := newLive(rec, positions[rec.ID])
		if err != nil {
			s.alarm(err.Error())
			continue
		}
		s.nodes.addNew(l)
	}
	return nil
}

// checkAdmission holds what a record says of its last admission against the
// journal, and its freshness against what the policy can have given.
func (s *Service) checkAdmission(ctx context.Context, rec *node.Record) error {
	if set := s.policies.forRole(rec.Role); set != nil {
		if latest := rec.LastPass.Add(set.Policy().Timing.LateAfter); rec.FreshUntil.After(latest) {
			rec.FreshUntil = latest
		}
	}
	if rec.Serial == 0 {
		return nil
	}
	raw, err := s.journal.Entry(ctx, rec.AdmissionIndex)
	if err != nil {
		return err
	}
	body, err := journal.Parse(raw)
	if err != nil {
		return err
	}
	a, ok := body.(journal.Admission)
	if !ok || a.Statement.Node != rec.ID || a.Statement.Serial != rec.Serial || !a.Statement.NotAfter.Equal(rec.NotAfter) {
		return fmt.Errorf("entry %d is not admission %d until %s", rec.AdmissionIndex, rec.Serial, rec.NotAfter.Format(time.RFC3339))
	}
	return nil
}

func (s *Service) positions(ctx context.Context) (map[string]position, error) {
	stored, err := s.store.Positions(ctx)
	if err != nil {
		return nil, err
	}
	out := make(map[string]position, len(stored))
	for _, p := range stored {
		pos, err := s.openPosition(p)
		if err != nil {
			s.alarm(fmt.Sprintf("database: position of node %s: %v; asking for its logs again", p.Node, err))
			continue
		}
		out[p.Node] = pos
	}
	return out, nil
}

// sealPosition encodes a position behind a code that only this verifier can make,
// and only for this node. A position says which entries of an IMA list need not
// be judged any more, so nobody else may write one.
func (s *Service) sealPosition(id string, pos position) ([]byte, error) {
	text, err := json.Marshal(pos)
	if err != nil {
		return nil, err
	}
	return append(s.positionCode(id, text), text...), nil
}

func (s *Service) positionCode(id string, text []byte) []byte {
	mac := hmac.New(sha256.New, s.positionKey)
	mac.Write([]byte(id + "\x00"))
	mac.Write(text)
	return mac.Sum(nil)
}

func (s *Service) openPosition(p store.Position) (pos position, err error) {
	if len(p.Data) < sha256.Size || !hmac.Equal(p.Data[:sha256.Size], s.positionCode(p.Node, p.Data[sha256.Size:])) {
		return pos, errors.New("not written by this verifier")
	}
	return pos, json.Unmarshal(p.Data[sha256.Size:], &pos)
}

// catchUp writes the records that the store could not take before.
func (s *Service) catchUp(ctx context.Context) {
	if s.behind.Load() == 0 {
		return
	}
	for _, l := range s.nodes.all() {
		l.mu.Lock()
		if l.behind {
			s.save(ctx, l)
		}
		l.mu.Unlock()
	}
}

// flush writes the positions that changed.
func (s *Service) flush(ctx context.Context) error {
	var batch []store.Position
	var moved []*live
	for _, l := range s.nodes.all() {
		l.mu.Lock()
		if l.moved {
			data, err := s.sealPosition(l.rec.ID, l.pos)
			if err == nil && len(data) <= store.MaxPosition {
				batch = append(batch, store.Position{Node: l.rec.ID, Data: data})
				moved = append(moved, l)
			}
			l.moved = false
		}
		l.mu.Unlock()
	}
	if len(batch) == 0 {
		return nil
	}
	if err := s.store.SavePositions(ctx, batch); err != nil {
		for _, l := range moved {
			l.mu.Lock()
			l.moved = true
			l.mu.Unlock()
		}
		return err
	}
	return nil
}

// save writes the record to the store. The caller holds the node's mutex.
func (s *Service) save(ctx context.Context, l *live) {
	stored, err := s.store.UpdateNode(ctx, l.rec)
	if err == nil {
		l.rec.Version = stored.Version
	} else {
		s.log.Error("database is behind the journal, trying again", "node", l.rec.ID, "error", err)
	}
	if behind := err != nil; behind != l.behind {
		l.behind = behind
		s.behind.Add(map[bool]int64{true: 1, false: -1}[behind])
	}
}
