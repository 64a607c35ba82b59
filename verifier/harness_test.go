package verifier

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/operator"
	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/paperhost"
	"github.com/quorate/quorate/simulator/vendorca"
	"github.com/quorate/quorate/verifier/appraise"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/journal"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/verdict"
)

const ownMember = "org-a"

// clock is the service's clock in tests: it moves when a test says so.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// lines collects the service's log.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// bench is a whole service with a clock of the test's own, and paper hosts.
type bench struct {
	*Service
	t        *testing.T
	clock    *clock
	config   *Config
	vendor   *vendorca.CA
	key      *operator.Key
	by       admission.Operator
	log      *lines
	sessions map[string]*Session
	version  int
}

func newBench(t *testing.T, edits ...func(*admission.Consortium)) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{t: t, clock: &clock{at: time.Now().Truncate(time.Second)}, log: &lines{}}
	var err error
	b.vendor, err = vendorca.New(vendorca.Options{Seed: "bench", Now: b.clock.at})
	check(t, err)
	trust := filepath.Join(dir, "roots", "test-virtual")
	check(t, os.MkdirAll(trust, 0o700))
	check(t, os.WriteFile(filepath.Join(trust, "vendor.pem"), b.vendor.RootPEM(), 0o600))
	created, err := Init(Setup{
		Dir: filepath.Join(dir, "verifier"), Name: "org-a.verifier.example-net", Member: ownMember, Operator: "alice",
		Consortium: "example-net", LedgerID: "example-1", Genesis: sha256.Sum256([]byte("genesis")),
		Attest: "127.0.0.1:1", Enroll: "127.0.0.1:2", Trust: filepath.Dir(trust), Test: true,
	})
	check(t, err)
	b.config, err = ReadConfig(created.Config)
	check(t, err)
	b.key, err = operator.ReadKey(created.OperatorKey)
	check(t, err)
	for _, edit := range edits {
		editConsortium(t, created.Consortium, edit)
	}
	check(t, b.start())
	t.Cleanup(b.stop)
	return b
}

func editConsortium(t *testing.T, path string, edit func(*admission.Consortium)) {
	t.Helper()
	raw, err := os.ReadFile(path)
	check(t, err)
	c, err := admission.ParseConsortium(raw)
	check(t, err)
	edit(c)
	raw, err = c.Marshal()
	check(t, err)
	check(t, os.WriteFile(path, raw, 0o600))
}

// start opens the service from its files.
func (b *bench) start() error {
	s, err := open(context.Background(), b.config, slog.New(slog.NewJSONHandler(b.log, nil)), b.clock.now)
	if err != nil {
		return err
	}
	b.Service, b.sessions = s, make(map[string]*Session)
	b.by = s.consortium.Members[0].Operators[0]
	return nil
}

func (b *bench) stop() {
	if b.Service != nil {
		if err := b.Service.Close(); err != nil {
			b.t.Errorf("close: %v", err)
		}
		b.Service = nil
	}
}

func (b *bench) restart() {
	b.t.Helper()
	b.stop()
	check(b.t, b.start())
}

// host makes a host without enrolling it.
func (b *bench) host(name string) *paperhost.Host {
	b.t.Helper()
	h, err := paperhost.New(ownMember+"/"+name, b.vendor, bootlog.Debian())
	check(b.t, err)
	return h
}

func (b *bench) invite(id string) string {
	b.t.Helper()
	token, _, err := b.Invite(b.t.Context(), b.by, Invitation{Node: id, PreApprove: true})
	check(b.t, err)
	return token
}

var enrolExporter = sha256.Sum256([]byte("an enrolment's connection"))

func request(h *paperhost.Host, token string) EnrollRequest {
	return EnrollRequest{
		Token: token, Node: h.ID, EKCertificate: h.EKCertificate, Intermediates: h.Intermediates, EKPublic: h.EK.Bytes(),
		AKPublic: h.AK.Bytes(), NodeKeyPublic: h.NodeKey.Bytes(), ConsensusKey: h.ConsensusKey(),
	}
}

func (b *bench) prove(h *paperhost.Host, c EnrollChallenge) EnrollProof {
	b.t.Helper()
	secret, err := h.Activate(c.CredentialBlob, c.EncryptedSecret)
	check(b.t, err)
	p, err := h.Prove(h.Certification(binding.Certification{
		Ledger: b.ledger(), Verifier: b.self.Name, Nonce: c.Nonce, Exporter: enrolExporter,
	}))
	check(b.t, err)
	return EnrollProof{
		Secret: secret, AKCreationData: p.CreationData, AKCreationAttest: p.CreationAttest, AKCreationSignature: p.CreationSignature,
		NodeKeyAttest: p.NodeKeyAttest, NodeKeySignature: p.NodeKeySignature, ConsensusKeySignature: p.ConsensusSignature,
	}
}

// begin starts an enrolment, and returns it with its right answer.
func (b *bench) begin(h *paperhost.Host, token string) (*Enrollment, EnrollProof) {
	b.t.Helper()
	e, c, err := b.BeginEnrollment(b.t.Context(), request(h, token), enrolExporter)
	check(b.t, err)
	return e, b.prove(h, c)
}

func (b *bench) enrol(h *paperhost.Host) error {
	b.t.Helper()
	e, proof := b.begin(h, b.invite(h.ID))
	_, err := e.Finish(b.t.Context(), proof)
	return err
}

// enrolled makes a host and enrols it, approved.
func (b *bench) enrolled(name string) *paperhost.Host {
	b.t.Helper()
	h := b.host(name)
	check(b.t, b.enrol(h))
	return h
}

func exporterOf(h *paperhost.Host) [32]byte { return sha256.Sum256([]byte("connection of " + h.ID)) }

// session returns the host's open session, and opens one if need be.
func (b *bench) session(h *paperhost.Host) *Session {
	b.t.Helper()
	if x := b.sessions[h.ID]; x != nil {
		select {
		case <-x.ended:
		default:
			return x
		}
	}
	return b.newSession(h)
}

func (b *bench) newSession(h *paperhost.Host) *Session {
	b.t.Helper()
	digest := sha256.Sum256(h.Log.Bytes())
	x, err := b.OpenSession(b.t.Context(), Hello{Node: h.ID, BootID: h.BootID, Banks: []string{"sha256"}, BootLog: digest},
		h.NodeKey.SPKIDigest(), exporterOf(h))
	check(b.t, err)
	b.sessions[h.ID] = x
	return x
}

// ask opens a challenge, now.
func (b *bench) ask(h *paperhost.Host) (*Session, Challenge) {
	b.t.Helper()
	x := b.session(h)
	x.due = b.clock.now()
	c, err := x.Next(b.t.Context())
	check(b.t, err)
	return x, c
}

// answer answers as an honest agent does.
func (b *bench) answer(h *paperhost.Host, c Challenge) evidence.Raw {
	b.t.Helper()
	a, err := h.Answer(paperhost.Ask{Ledger: b.ledger(), Challenges: []binding.Challenge{c.Challenge}, PCRs: c.PCRs})
	check(b.t, err)
	raw := evidence.Raw{
		Quote: a.Quote, Signature: a.Signature, PCRValues: a.PCRValues, Challenges: a.Challenges,
		BootLogDigest: a.BootLogDigest, BootID: a.BootID, IMA: a.IMA,
	}
	if c.IMAOffset > 0 && c.IMAOffset <= uint64(len(a.IMA)) {
		raw.IMA = a.IMA[c.IMAOffset:]
	}
	if c.WantBootLog {
		raw.BootLog = a.BootLog
	}
	return raw
}

func noMore() ([]byte, error) { return nil, io.ErrUnexpectedEOF }

// round is one challenge and its honest answer, asked again while it is only the
// timing that is wrong.
func (b *bench) round(h *paperhost.Host) Outcome {
	b.t.Helper()
	for {
		x, c := b.ask(h)
		out, err := x.Judge(b.t.Context(), b.answer(h, c), 0, noMore)
		check(b.t, err)
		if !out.Retryable {
			return out
		}
	}
}

// learn approves a policy that accepts the host as it is.
func (b *bench) learn(h *paperhost.Host) *policy.Set {
	b.t.Helper()
	set, proposal := b.lesson(h, b.version+1)
	b.version++
	result, err := b.ApprovePolicy(b.t.Context(), b.by, proposal)
	check(b.t, err)
	if !result.Active {
		b.t.Fatalf("policy is not active: %+v", result)
	}
	return set
}

// debian is what hosts boot unless a test says otherwise.
var debian = bootlog.Debian()

func (b *bench) lesson(h *paperhost.Host, version int) (*policy.Set, PolicyProposal) {
	b.t.Helper()
	return b.lessonFor(h, version, RoleValidator)
}

// lessonFor makes a policy for a role from the host's last evidence.
func (b *bench) lessonFor(h *paperhost.Host, version int, role string) (*policy.Set, PolicyProposal) {
	b.t.Helper()
	raw, err := b.EvidenceFile(b.t.Context(), h.ID, "")
	check(b.t, err)
	file, err := evidence.ParseFile(raw)
	check(b.t, err)
	verified, err := file.VerifyWhole()
	check(b.t, err)
	rec := b.record(h)
	p, manifests, err := appraise.Learn(
		appraise.Lesson{Name: "validators", Version: version, Publisher: ownMember, Roles: []string{role}},
		[]appraise.Sample{{Evidence: verified, TPM: appraise.TPM{Class: rec.TPMClass, Vendor: rec.TPMVendor}}}, b.clock.now())
	check(b.t, err)
	p.Timing = policy.Timing{ChallengeEvery: 30 * time.Second, LateAfter: 90 * time.Second, AdmissionFor: time.Hour}
	if p, err = policy.Parse(p.Print()); err != nil {
		b.t.Fatal(err)
	}
	set, err := policy.NewSet(p, manifests)
	check(b.t, err)
	proposal := PolicyProposal{Policy: p.Print()}
	for _, m := range manifests {
		proposal.Manifests = append(proposal.Manifests, m.Print())
	}
	proposal.Approval = approval(b.t, b.consortium.Name, set, b.key)
	return set, proposal
}

func approval(t *testing.T, consortium string, set *policy.Set, key note.Signer) []byte {
	t.Helper()
	signed, err := note.Sign(&note.Note{Text: ApprovalText(consortium, set)}, key)
	check(t, err)
	return signed
}

// admitted is a bench with one admitted host.
func admitted(t *testing.T) (*bench, *paperhost.Host) {
	t.Helper()
	b := newBench(t)
	h := b.enrolled("validator-1")
	b.round(h)
	b.learn(h)
	b.demand(h, b.round(h), verdict.Admitted, node.Admitted)
	return b, h
}

func (b *bench) record(h *paperhost.Host) node.Record {
	b.t.Helper()
	v, err := b.Node(b.t.Context(), h.ID)
	check(b.t, err)
	return v.Record
}

func (b *bench) status(h *paperhost.Host) node.State {
	b.t.Helper()
	v, err := b.Node(b.t.Context(), h.ID)
	check(b.t, err)
	return v.Status
}

func (b *bench) size() uint64 {
	b.t.Helper()
	tree, err := b.journal.Tree(b.t.Context())
	check(b.t, err)
	return tree.Size
}

func (b *bench) demand(h *paperhost.Host, out Outcome, decision verdict.Decision, state node.State) {
	b.t.Helper()
	if got := b.status(h); out.Decision != decision || got != state {
		b.t.Fatalf("%s: decision %v, state %v, findings %v; want %v, %v", h.ID, out.Decision, got, out.Findings, decision, state)
	}
}

// found demands that the outcome has a finding of the check.
func found(t *testing.T, out Outcome, want verdict.CheckID) {
	t.Helper()
	for _, f := range out.Findings {
		if f.Check == want {
			return
		}
	}
	t.Errorf("findings are %v, want %s", out.Findings, want)
}

func refusedBy(t *testing.T, err error, want verdict.CheckID) {
	t.Helper()
	var r *verdict.Refusal
	if !errors.As(err, &r) || r.Check != want {
		t.Errorf("got %v, want a refusal by %s", err, want)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// enrolAs tries to enrol the host under an id, and returns why it failed.
func (b *bench) enrolAs(h *paperhost.Host, id string) error {
	token, _, err := b.Invite(b.t.Context(), b.by, Invitation{Node: id, PreApprove: true})
	if err != nil {
		return err
	}
	r := request(h, token)
	r.Node = id
	e, c, err := b.BeginEnrollment(b.t.Context(), r, enrolExporter)
	if err != nil {
		return err
	}
	_, err = e.Finish(b.t.Context(), b.prove(h, c))
	return err
}

// errUnpublished is what the journal says when it cannot tell.
var errUnpublished = fmt.Errorf("%w: %w", ErrUnavailable, journal.ErrUnpublished)

func enrolmentEntry(b *bench, e *Enrollment, rec node.Record) journal.Change {
	return journal.Change{Kind: journal.TypeEnrolment, At: b.stamp(), By: e.invite.By, Invite: e.invite.Token, Node: rec}
}
