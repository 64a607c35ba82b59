// Package signer keeps a CometBFT node's consensus key in the host's TPM and
// signs with it only while verifiers admit the host. It dials the node's
// priv_validator_laddr and is CometBFT's remote signer to it.
//
// What it must not sign it refuses with an error and stays connected: the chain
// goes on without this node's vote, and the vote is back as soon as the reason is
// gone.
package signer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/agent/device"
	"github.com/quorate/quorate/agent/seal"
	"github.com/quorate/quorate/agent/signer/permit"
	"github.com/quorate/quorate/agent/standing"
	"github.com/quorate/quorate/agent/statedir"
)

// How often the signer looks at what its permission depends on.
const (
	watchEvery   = 500 * time.Millisecond
	measureEvery = 2 * time.Second
	unsealEvery  = 2 * time.Second
	askEvery     = 300 * time.Millisecond
)

// Signer is the remote signer of one node.
type Signer struct {
	cfg        agent.Config
	link       Link
	consortium *admission.Consortium
	dev        *device.Device
	log        *slog.Logger

	dir       *statedir.Dir
	key       *seal.Key
	validator *validator

	mu       sync.Mutex // guards what follows
	facts    permit.Facts
	approval seal.Approval // under which the key was released

	// What only the watcher uses.
	agent   *standing.Watch
	nodeKey admission.Digest
	refused string // what was reported last
}

// New checks the configuration and prepares a signer on an open TPM, which stays
// the caller's to close.
func New(cfg agent.Config, link Link, dev *device.Device, log *slog.Logger) (*Signer, error) {
	if err := link.check(); err != nil {
		return nil, err
	}
	if cfg.Signer.Ledger != "" {
		if err := checkLedger(cfg.Signer.Ledger); err != nil {
			return nil, err
		}
	}
	consortium, err := agent.ReadConsortium(cfg)
	if err != nil {
		return nil, err
	}
	return &Signer{cfg: cfg, link: link, consortium: consortium, dev: dev, log: log, agent: standing.New(cfg, consortium)}, nil
}

// Run signs until ctx ends. It returns at once when it could never sign: no key,
// a signing state that went back, a file that is not what was written. All else,
// a TPM that releases nothing yet, a node that is away, an admission that is
// missing, it reports, refuses meanwhile, and outlasts.
func (s *Signer) Run(ctx context.Context) (err error) {
	if err := s.open(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.start(ctx); err != nil {
		return err
	}
	s.learn(func(f *permit.Facts) { f.Withheld = "the TPM was not asked yet" })
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var group sync.WaitGroup
	defer group.Wait()
	control, err := s.listen(ctx)
	if err != nil {
		return err
	}
	group.Go(control)
	group.Go(func() { s.unseal(ctx) })
	group.Go(func() { s.watch(ctx) })
	group.Go(func() { s.measure(ctx) })
	if s.cfg.Signer.Ledger != "" {
		group.Go(func() { s.follow(ctx) })
	}
	s.link.serve(ctx, s.consortium.Ledger.ID, s.validator, s.log)
	return nil
}

// open reads the key and the signing state.
func (s *Signer) open() (err error) {
	if s.dir, err = statedir.Open(Dir(s.cfg)); err != nil {
		return err
	}
	err = s.dir.Remove(statusFile) // that of the last run says nothing of this one
	if err == nil {
		s.key, err = readKey(s.dir)
	}
	if err == nil {
		err = s.checkKey()
	}
	if err == nil {
		s.validator, err = newValidator(s.key.PublicKey(), statePath(s.cfg), s.allow)
	}
	if err != nil {
		return errors.Join(err, s.dir.Close())
	}
	return nil
}

// checkKey refuses a key that was sealed for another node or ledger.
func (s *Signer) checkKey() error {
	t, ledger := s.key.Terms, s.consortium.Ledger
	if t.Node != s.cfg.Node || t.Ledger != ledger.ID || t.Genesis != ledger.Genesis.String() {
		return &seal.Refusal{Check: seal.BadTerms, Got: "a key of " + t.Node + " on " + t.Ledger, Want: s.cfg.Node + " on " + ledger.ID,
			Remedy: "use the state directory and the consortium file of this node"}
	}
	return nil
}

// start counts this start, after it made sure that the signing state is not an
// old copy.
func (s *Signer) start(ctx context.Context) error {
	at := s.validator.last()
	if err := checkStarts(ctx, s.dev, s.dir, at); err != nil {
		return err
	}
	return countStart(ctx, s.dev, s.dir, at)
}

// close wipes the key and writes down how far it signed.
func (s *Signer) close() error {
	err := noteLast(s.dir, s.validator.last())
	if secret := s.validator.withdraw(); secret != nil {
		err = errors.Join(err, secret.Wipe())
	}
	return errors.Join(err, s.dir.Close())
}

// allow is asked before every signature.
func (s *Signer) allow() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := permit.Decide(s.facts, time.Now()); r != nil {
		return r
	}
	return nil
}

// learn changes the facts.
func (s *Signer) learn(change func(*permit.Facts)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.facts)
}

// unseal tries until the TPM releases the key. Approvals and grants may come
// meanwhile.
func (s *Signer) unseal(ctx context.Context) {
	said := ""
	for ctx.Err() == nil {
		err := s.unsealOnce(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		s.learn(func(f *permit.Facts) { f.Withheld = err.Error() })
		if err.Error() != said {
			said = err.Error()
			s.log.Error("the key stays sealed", "error", err)
		}
		pause(ctx, unsealEvery)
	}
}

func (s *Signer) unsealOnce(ctx context.Context) error {
	approvals, err := readApprovals(s.dir)
	if err != nil {
		return err
	}
	approval, err := s.key.Approved(s.dev.With(ctx), approvals)
	if err != nil {
		return err
	}
	secret, err := s.key.Unseal(ctx, s.dev, []seal.Approval{approval}, s.ask)
	if err != nil {
		return err
	}
	s.validator.release(secret)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.approval = approval
	s.facts.Released, s.facts.Withheld = true, ""
	s.facts.Measured, s.facts.Looked = true, time.Now()
	s.log.Info("the TPM released the key", "publicKey", s.key.Terms.PublicKey)
	return nil
}

// ask leaves a request for the grantor and waits for the grant. The running agent
// has a verifier answer it; a person may, with a key in the terms.
func (s *Signer) ask(ctx context.Context, r seal.Request) (seal.Grant, error) {
	if err := errors.Join(s.dir.Remove(grantFile), s.dir.Remove(seal.RefusalFile)); err != nil {
		return seal.Grant{}, err
	}
	if err := s.dir.Write(requestFile, r.Marshal()); err != nil {
		return seal.Grant{}, err
	}
	defer s.dir.Remove(requestFile)
	path := filepath.Join(Dir(s.cfg), requestFile)
	s.learn(func(f *permit.Facts) { f.Withheld = "waiting for a grant for " + path })
	s.log.Warn("the key needs a grant", "request", path, "remedy", s.whoGrants())
	ctx, cancel := context.WithTimeout(ctx, seal.MaxGrant) // no grant is good for longer; then a new request
	defer cancel()
	for ctx.Err() == nil {
		if data, err := s.dir.Read(grantFile); err == nil {
			return seal.ParseGrant(data)
		}
		s.hearRefusal(r, path)
		pause(ctx, askEvery)
	}
	return seal.Grant{}, &seal.Refusal{Check: seal.GrantLate, Got: "no grant for " + path, Want: "one within " + seal.MaxGrant.String(), Cause: ctx.Err(),
		Remedy: "have the grantor sign the new request"}
}

// whoGrants says what a person does about a request.
func (s *Signer) whoGrants() string {
	for _, v := range s.consortium.Verifiers {
		if v.GrantKey != "" && slices.Contains(s.key.Terms.Grantors(), seal.PublicKey(v.GrantKey)) {
			return "see that quorate-agent run is up and " + v.Name + " admits this host; it is asked again and again"
		}
	}
	return "have the grantor sign it: quorate-agent signer grant; then quorate-agent signer accept"
}

// hearRefusal passes on why the verifiers did not grant a request.
func (s *Signer) hearRefusal(r seal.Request, path string) {
	data, err := s.dir.Read(seal.RefusalFile)
	if err != nil {
		return
	}
	if u, err := seal.ParseUnanswered(data); err == nil && bytes.Equal(u.Nonce, r.Nonce) {
		s.learn(func(f *permit.Facts) {
			f.Withheld = "waiting for a grant for " + path + "; " + strings.Join(u.Problems, "; ")
		})
	}
}

// measure looks at the PCRs again and again, once the key is released.
func (s *Signer) measure(ctx context.Context) {
	for ctx.Err() == nil {
		pause(ctx, measureEvery)
		s.mu.Lock()
		approval, released := s.approval, s.facts.Released
		s.mu.Unlock()
		if !released {
			continue
		}
		same, err := approval.Same(s.dev.With(ctx))
		if err != nil {
			s.log.Warn("PCRs cannot be read", "error", err)
			continue // the last look counts for a while
		}
		s.learn(func(f *permit.Facts) { f.Measured, f.Looked = same, time.Now() })
	}
}

// watch follows what the agent knows, and logs when the permission changes.
func (s *Signer) watch(ctx context.Context) {
	s.learn(func(f *permit.Facts) { f.Standing = readStanding(s.dir) })
	for ctx.Err() == nil {
		s.look(ctx, time.Now())
		s.report()
		pause(ctx, watchEvery)
	}
}

func (s *Signer) look(ctx context.Context, now time.Time) {
	verdicts, heard := s.agent.Verdicts()
	admitted, unusable := s.admission(ctx, now)
	saved := s.validator.saved() // before our lock: a signature takes its lock first, then asks us
	s.mu.Lock()
	defer s.mu.Unlock()
	if next := s.facts.Standing.Next(verdicts); heard && next != s.facts.Standing {
		if err := s.dir.WriteJSON(standingFile, next); err != nil {
			s.log.Error("standing is not written", "error", err)
		}
		s.facts.Standing = next
	}
	s.facts.Admission, s.facts.Unusable = admitted, unusable
	s.facts.Saved = saved
	if permit.Admitted(s.facts, now) == nil {
		s.facts.Good = now
	}
}

// report logs and writes down why the key signs or not, when that changes.
func (s *Signer) report() {
	s.mu.Lock()
	refusal := permit.Decide(s.facts, time.Now())
	s.mu.Unlock()
	text := "signing"
	if refusal != nil {
		text = refusal.Error()
	}
	if text == s.refused {
		return
	}
	s.refused = text
	if refusal == nil {
		s.log.Info("signing is allowed")
	} else {
		s.log.Warn("signing is refused", "check", string(refusal.Check), "got", refusal.Got, "want", refusal.Want, "remedy", refusal.Remedy)
	}
	st := Status{Signing: refusal == nil, Refusal: refusal, PublicKey: s.key.Terms.PublicKey, Since: time.Now().UTC().Truncate(time.Second)}
	if err := s.dir.WriteJSON(statusFile, st); err != nil {
		s.log.Error("status is not written", "error", err)
	}
}

// admission verifies the agent's bundle for this TPM's node key and for this
// consensus key.
func (s *Signer) admission(ctx context.Context, now time.Time) (*admission.Admission, string) {
	s.mu.Lock()
	released := s.facts.Released
	s.mu.Unlock()
	if !released { // one thing at a time: a TPM without a resource manager has three slots
		return nil, "the key is not released yet"
	}
	if s.nodeKey.IsZero() {
		var err error
		if s.nodeKey, err = agent.NodeKey(ctx, s.cfg, s.dev); err != nil {
			return nil, err.Error()
		}
	}
	return s.agent.Admission(admission.Want{NodeKey: s.nodeKey, ConsensusKey: s.key.Terms.PublicKey}, now)
}

// Status is what the signer last reported. The JSON names are stable.
type Status struct {
	Running   bool            `json:"running"`
	Signing   bool            `json:"signing"`
	Refusal   *permit.Refusal `json:"refusal,omitempty"`
	PublicKey string          `json:"publicKey"`
	Since     time.Time       `json:"since"`
}

// ReadStatus reads the status that the signer with this configuration last
// wrote. Error is fs.ErrNotExist when none ever ran.
func ReadStatus(cfg agent.Config) (Status, error) {
	dir, err := statedir.Look(Dir(cfg))
	if err != nil {
		return Status{}, err
	}
	defer dir.Close()
	running := dir.Running() // first: a signer that starts now removes the last one's status
	var st Status
	if err := dir.ReadJSON(statusFile, &st); err != nil {
		return Status{}, fmt.Errorf("signer: %w", err)
	}
	st.Running = running
	st.Signing = st.Signing && st.Running
	return st, nil
}
