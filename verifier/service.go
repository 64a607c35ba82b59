// Package verifier is the service around the appraisal core: it challenges,
// has evidence judged, records what was decided, and signs admissions. It owns
// the clock, the stores and the keys; the packages below it decide.
//
// Every decision goes the same way: entry into the journal, then into memory and
// the store, then to whoever asked. What the journal cannot take does not happen.
package verifier

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/verifier/archive"
	"github.com/quorate/quorate/verifier/beacon"
	"github.com/quorate/quorate/verifier/enroll"
	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/journal"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/store"
	"github.com/quorate/quorate/verifier/store/sqlite"
	"github.com/quorate/quorate/verifier/trust"
)

// Service is one verifier. All methods may be called from many goroutines.
type Service struct {
	config     *Config
	consortium *admission.Consortium
	self       admission.Verifier
	log        *slog.Logger
	now        func() time.Time

	trust       *enroll.Trust // nil while the trust bundle is empty
	signer      note.Signer   // admissions and rosters
	positionKey []byte        // authenticates positions in the store
	grantKey    crypto.Signer // grants to sealed signers; nil: none are given
	certificate tls.Certificate
	store       store.Store
	journal     *journal.Journal
	projector   journal.Projector
	archive     *archive.Archive
	beacon      *beacon.Source // nil if challenges name no block

	nodes     *nodes
	contents  atomic.Pointer[eventlog.Contents] // of the logs of nodes that were admitted
	book      *book
	policies  *policies
	rosters   *rosters
	claims    *claims       // what enrolments under way are about to take
	resolving sync.Mutex    // one settles doubts at a time
	policyMu  sync.Mutex    // one policy approval at a time
	bulk      chan struct{} // one slot per long IMA list in memory

	// recording is held for reading from a journal entry until its effect is in
	// the store, and for writing while the cursor is moved.
	recording sync.RWMutex
	behind    atomic.Int64 // records and entries that the store lacks
	doubt     doubt        // an enrolment that may be in the journal

	alarmMu sync.Mutex
	alarms  []string

	stop context.CancelFunc
	done sync.WaitGroup
}

// bulkSlots bounds how many IMA lists beyond one message are held in memory at
// the same time.
const bulkSlots = 4

// archiveBlob bounds one blob of the archive, in bytes.
const archiveBlob = policy.MaxManifest

// Open opens a verifier: it checks keys and configuration against the consortium
// file, brings the store up to the journal, and starts the background work. Call
// Close.
func Open(ctx context.Context, config *Config, log *slog.Logger) (*Service, error) {
	return open(ctx, config, log, time.Now)
}

func open(ctx context.Context, config *Config, log *slog.Logger, now func() time.Time) (*Service, error) {
	s := &Service{
		config: config, log: log, now: now, nodes: newNodes(), claims: newClaims(), book: newBook(config.Limits.AnswerWithin),
		policies: newPolicies(), rosters: newRosters(), bulk: make(chan struct{}, bulkSlots),
	}
	err := s.readIdentity()
	if err == nil {
		err = s.openStores(ctx)
	}
	if err == nil {
		err = s.start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.closeStores())
	}
	return s, nil
}

// readIdentity loads consortium file, trust bundle and keys, and checks that
// they belong together.
func (s *Service) readIdentity() (err error) {
	raw, err := os.ReadFile(s.config.Consortium)
	if err != nil {
		return fmt.Errorf("consortium file: %w", err)
	}
	if s.consortium, err = admission.ParseConsortium(raw); err != nil {
		return fmt.Errorf("%s: %w", s.config.Consortium, err)
	}
	var known bool
	if s.self, known = s.consortium.Verifier(s.config.Name); !known {
		return fmt.Errorf("the consortium file has no verifier named %q", s.config.Name)
	}
	if err := s.readTrust(); err != nil {
		return err
	}
	if s.config.Beacon != "" {
		if s.beacon, err = beacon.New(s.config.Beacon, s.consortium.Ledger.ID); err != nil {
			return err
		}
	}
	return s.readKeys()
}

func (s *Service) readTrust() error {
	bundle, err := trust.ReadFS(os.DirFS(s.config.Trust))
	if err != nil {
		return err
	}
	if digest := bundle.Digest(); digest != s.consortium.Endorsement.Roots {
		return fmt.Errorf("the trust bundle %s is %v, the consortium file pins %v: install the pinned bundle, or agree on the new digest (endorsement.roots)",
			s.config.Trust, admission.Digest(digest), s.consortium.Endorsement.Roots)
	}
	if len(bundle.Roots) == 0 {
		s.alarm("the trust bundle is empty: no TPM can enrol")
		return nil
	}
	templates := make(map[enroll.Class]enroll.Template)
	for class, template := range s.consortium.Endorsement.Templates {
		templates[enroll.Class(class)] = enroll.Template(template)
	}
	s.trust, err = enroll.NewTrust(bundle.Enroll(), templates, s.consortium.Test)
	return err
}

func (s *Service) readKeys() (err error) {
	if s.signer, err = readSigner(s.config.Keys.Admission); err != nil {
		return err
	}
	pinned, _ := s.consortium.AdmissionKey(s.self.Name)
	if s.signer.Name() != pinned.Name() || s.signer.KeyHash() != pinned.KeyHash() {
		return fmt.Errorf("%s is not the admission key that the consortium file pins for %s", s.config.Keys.Admission, s.self.Name)
	}
	if s.positionKey, err = positionKey(s.config.Keys.Admission); err != nil {
		return err
	}
	if s.grantKey, err = readGrantKey(s.config.Keys.Grant, s.self); err != nil {
		return err
	}
	key, err := readPrivateKey(s.config.Keys.TLS)
	if err != nil {
		return err
	}
	digest, err := KeyDigest(key.Public())
	if err != nil {
		return err
	}
	if digest != s.self.TLSKey {
		return fmt.Errorf("%s is not the TLS key that the consortium file pins for %s", s.config.Keys.TLS, s.self.Name)
	}
	s.certificate, err = SelfSigned(key, s.self.Name, s.now())
	return err
}

func (s *Service) openStores(ctx context.Context) (err error) {
	logSigner, err := readSigner(s.config.Keys.Log)
	if err != nil {
		return err
	}
	logKey, err := note.NewVerifier(s.self.LogKey)
	if err != nil {
		return err
	}
	if logSigner.Name() != logKey.Name() || logSigner.KeyHash() != logKey.KeyHash() {
		return fmt.Errorf("%s is not the log key that the consortium file pins for %s", s.config.Keys.Log, s.self.Name)
	}
	if err := os.MkdirAll(s.config.Data, 0o700); err != nil {
		return err
	}
	if s.archive, err = archive.Open(filepath.Join(s.config.Data, "archive"), archiveBlob); err != nil {
		return err
	}
	db, err := sqlite.Open(ctx, databasePath(s.config))
	if err != nil {
		return err // s.store stays nil: a nil *sqlite.Store in it would be closed
	}
	s.store = db
	cursor, err := s.store.Cursor(ctx)
	if err != nil {
		return err
	}
	s.journal, err = journal.Open(ctx, journalPath(s.config), journal.Config{
		Signer: logSigner, Verifier: logKey, Remembered: journal.Tree(cursor),
	})
	return err
}

func databasePath(c *Config) string { return filepath.Join(c.Data, "verifier.db") }
func journalPath(c *Config) string  { return filepath.Join(c.Data, "journal") }

// start brings memory up to the journal and begins the background work.
func (s *Service) start(ctx context.Context) error {
	admissionKey, _ := s.consortium.AdmissionKey(s.self.Name)
	s.projector = journal.Projector{Store: s.store, Admission: admissionKey, Blob: s.archive.Get}
	if err := s.genesis(ctx); err != nil {
		return err
	}
	read, err := s.projector.CatchUp(ctx, s.journal.Reader)
	if err != nil {
		return fmt.Errorf("bring the database up to the journal: %w", err)
	}
	if read > 1 {
		s.log.Info("database brought up to the journal", "entries", read)
	}
	if err := s.loadPolicies(ctx); err != nil {
		return err
	}
	if err := s.load(ctx); err != nil {
		return err
	}
	if err := s.resumeRoster(ctx); err != nil {
		return err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = cancel
	s.done.Go(func() { s.background(running) })
	if s.beacon != nil {
		s.done.Go(func() { s.beacon.Run(running, s.beaconChanged) })
	}
	return nil
}

// beaconChanged tells that the ledger's node stopped or began to answer. Without
// an answer challenges name no block, and a ledger that demands one refuses.
func (s *Service) beaconChanged(err error) {
	if err == nil {
		s.log.Info("the ledger's node answers; challenges name its blocks")
		return
	}
	s.alarm(fmt.Sprintf("challenges name no block of the ledger: %v", err))
}

// genesis writes the journal's first entry, the consortium file; on later starts
// it holds the file against it.
func (s *Service) genesis(ctx context.Context) error {
	tree, err := s.journal.Tree(ctx)
	if err != nil {
		return err
	}
	if tree.Size == 0 {
		if s.trust == nil {
			return fmt.Errorf("the trust bundle %s is empty: a journal begins with the consortium file, which pins the vendors' roots; import them first: quorate trust import", s.config.Trust)
		}
		text, err := s.consortium.Marshal()
		if err != nil {
			return err
		}
		_, err = s.append(ctx, journal.Genesis{At: s.stamp(), Verifier: s.self.Name, Consortium: string(text)})
		return err
	}
	raw, err := s.journal.Entry(ctx, 0)
	if err != nil {
		return err
	}
	body, err := journal.Parse(raw)
	if err != nil {
		return err
	}
	first, ok := body.(journal.Genesis)
	if !ok {
		return errors.New("the journal does not begin with a genesis entry")
	}
	then, err := admission.ParseConsortium([]byte(first.Consortium))
	if err != nil {
		return err
	}
	if first.Verifier != s.self.Name || then.Digest() != s.consortium.Digest() {
		return fmt.Errorf("the journal belongs to verifier %s under consortium file %v, this configuration is %s under %v",
			first.Verifier, then.Digest(), s.self.Name, s.consortium.Digest())
	}
	return nil
}

// append puts one entry into the journal. When it returns nil the entry is
// integrated and under a published checkpoint.
func (s *Service) append(ctx context.Context, body journal.Body) (uint64, error) {
	entry, err := journal.Format(body)
	if err != nil {
		return 0, err
	}
	index, err := s.journal.Append(ctx, entry)
	if err != nil {
		s.alarm(fmt.Sprintf("journal: %v", err))
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	s.doubt.appended()
	return index, nil
}

// recordLimit bounds the time from a journal entry to its effect in the store.
const recordLimit = 30 * time.Second

// unhurried returns a context that outlives the caller's. What is being recorded
// must not stop half-way because the peer hung up: an entry without its effect is
// worse than an effect that nobody waits for.
func unhurried(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), recordLimit)
}

// commit appends an entry and applies it to the store. It is for what nodes'
// records do not hold; see change for those. An entry that the store could not
// take keeps the cursor where it is, so that the next start applies it.
func (s *Service) commit(ctx context.Context, body journal.Body) error {
	ctx, cancel := unhurried(ctx)
	defer cancel()
	s.recording.RLock()
	defer s.recording.RUnlock()
	index, err := s.append(ctx, body)
	if err != nil {
		return err
	}
	data, err := journal.Format(body)
	if err != nil {
		return err
	}
	if err := s.projector.Apply(ctx, journal.Entry{Index: index, Data: data}); err != nil {
		s.behind.Add(1)
		s.alarm(fmt.Sprintf("the database lacks journal entry %d until the next start: %v", index, err))
		return fmt.Errorf("%w: %w: %w", ErrUnavailable, errBehind, err)
	}
	return nil
}

// errBehind means that an entry is in the journal and not in the store.
var errBehind = errors.New("recorded, and not yet in the database")

// change records what happened to a node: journal first, then memory and store.
// The caller holds the node's mutex.
func (s *Service) change(ctx context.Context, l *live, c journal.Change) error {
	ctx, cancel := unhurried(ctx)
	defer cancel()
	s.recording.RLock()
	defer s.recording.RUnlock()
	index, err := s.append(ctx, c)
	if err != nil {
		return err
	}
	version := l.rec.Version
	l.rec = c.Node
	l.rec.JournalIndex, l.rec.Version = index, version
	s.save(ctx, l)
	s.rosters.changed()
	return nil
}

func (s *Service) justified(ctx context.Context, rec node.Record) error {
	return s.journal.Justify(ctx, rec)
}

// How often what is only in memory is written. A position that is lost costs its
// host a replay of what it ran since, so a fleet's are written seldom and together.
const (
	upkeepEvery    = 2 * time.Second
	positionsEvery = 10 * time.Second
)

// background writes positions, moves the cursor and keeps rosters current.
func (s *Service) background(ctx context.Context) {
	s.rosters.changed()
	ticker, positions := time.NewTicker(upkeepEvery), time.NewTicker(positionsEvery)
	defer ticker.Stop()
	defer positions.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.rosters.wake:
		case <-positions.C:
			s.keepPositions(ctx)
		case <-ticker.C:
			s.upkeep(ctx)
		}
		if err := s.renewRoster(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("no new roster", "error", err)
		}
	}
}

func (s *Service) keepPositions(ctx context.Context) {
	if err := s.flush(ctx); err != nil {
		s.log.Error("positions not saved", "error", err)
	}
}

func (s *Service) upkeep(ctx context.Context) {
	s.catchUp(ctx)
	if err := s.moveCursor(ctx); err != nil {
		s.log.Error("cursor not saved", "error", err)
	}
}

// moveCursor remembers how much of the journal the store reflects. While any
// record is behind, it stays.
func (s *Service) moveCursor(ctx context.Context) error {
	s.recording.Lock()
	defer s.recording.Unlock()
	if s.behind.Load() > 0 {
		return nil
	}
	tree, err := s.journal.Tree(ctx)
	if err != nil {
		return err
	}
	cursor, err := s.store.Cursor(ctx)
	if err != nil || cursor.Size == tree.Size {
		return err
	}
	return s.store.SaveCursor(ctx, store.Cursor(tree))
}

// Close ends sessions and background work, writes what is only in memory, and
// closes the stores.
func (s *Service) Close() error {
	if s.stop != nil {
		s.stop()
	}
	s.done.Wait()
	for _, l := range s.nodes.all() {
		l.mu.Lock()
		if l.session != nil {
			l.session.end(ErrSuperseded)
		}
		l.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s.keepPositions(ctx)
	s.upkeep(ctx)
	return s.closeStores()
}

func (s *Service) closeStores() error {
	var errs []error
	if s.journal != nil {
		errs = append(errs, s.journal.Close())
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}

// Consortium returns the consortium that this verifier serves.
func (s *Service) Consortium() *admission.Consortium { return s.consortium }

// Certificate returns the TLS certificate of the key that the consortium pins.
func (s *Service) Certificate() tls.Certificate { return s.certificate }

// NodeByKey returns the id of the node with this TLS key, if it is in service.
func (s *Service) NodeByKey(_ context.Context, key [32]byte) (string, error) {
	l, err := s.nodes.withKey(key)
	if err != nil {
		return "", err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rec.State == node.Retired {
		return "", store.ErrNotFound
	}
	return l.rec.ID, nil
}

// maxAlarms bounds the list of alarms; the log has all of them.
const maxAlarms = 32

// alarm notes something that a person should look at.
func (s *Service) alarm(text string) {
	s.log.Error("alarm", "alarm", text)
	s.alarmMu.Lock()
	defer s.alarmMu.Unlock()
	if n := len(s.alarms); n > 0 && s.alarms[n-1] == text {
		return
	}
	s.alarms = append(s.alarms, text)
	if len(s.alarms) > maxAlarms {
		s.alarms = s.alarms[1:]
	}
}

// stamp is the time as records and entries hold it.
func (s *Service) stamp() time.Time { return s.now().UTC().Truncate(time.Second) }

func (s *Service) ledger() binding.Ledger {
	return binding.Ledger{Consortium: s.consortium.Name, ChainID: s.consortium.Ledger.ID, Genesis: s.consortium.Ledger.Genesis}
}

// Version is the release that this binary was built from.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
