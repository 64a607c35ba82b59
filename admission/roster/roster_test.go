package roster

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/operator"
	quoratev1 "github.com/quorate/quorate/proto/quorate/v1"
)

const verifierName = "org-a.verifier.example-net"

func clock() time.Time { return time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC) }

// newKey derives a key and its text forms from its name.
func newKey(t *testing.T, name string) (key *operator.Key, vkey string) {
	t.Helper()
	seed := sha256.Sum256([]byte(name))
	private := ed25519.NewKeyFromSeed(seed[:])
	vkey, err := note.NewEd25519VerifierKey(name, private.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.SplitN(vkey, "+", 3)
	key, err = operator.ParseKey("PRIVATE+KEY+" + name + "+" + parts[1] + "+" + base64.StdEncoding.EncodeToString(append([]byte{1}, seed[:]...)))
	if err != nil {
		t.Fatal(err)
	}
	return key, vkey
}

func certificate(t *testing.T, name string) (tls.Certificate, admission.Digest) {
	t.Helper()
	key, _ := newKey(t, name)
	cert, err := key.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return cert, sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
}

// server is a verifier's admission service that says what a test tells it to.
type server struct {
	quoratev1.UnimplementedAdmissionServiceServer
	t          *testing.T
	consortium *admission.Consortium
	admission  note.Signer
	send       chan []byte // what Watch sends next; nil breaks the connection
	after      chan uint64 // what each Watch asked for; read it before sending to it
	turn       sync.Mutex  // held by the one Watch that runs
	grpc       *grpc.Server
}

func (s *server) GetRoster(context.Context, *quoratev1.GetRosterRequest) (*quoratev1.GetRosterResponse, error) {
	return &quoratev1.GetRosterResponse{Roster: <-s.send}, nil
}

func (s *server) Watch(req *quoratev1.WatchRequest, stream grpc.ServerStreamingServer[quoratev1.WatchResponse]) error {
	p, _ := peer.FromContext(stream.Context())
	certs := p.AuthInfo.(credentials.TLSInfo).State.PeerCertificates
	o, ok := s.consortium.Operator(sha256.Sum256(certs[0].RawSubjectPublicKeyInfo))
	if !ok || o.Role != admission.RoleGate {
		return status.Error(codes.PermissionDenied, "not a gate")
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	s.after <- req.GetAfter()
	for {
		select {
		case msg := <-s.send:
			if msg == nil {
				return status.Error(codes.Unavailable, "going away")
			}
			if err := stream.Send(&quoratev1.WatchResponse{Roster: msg}); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return nil
		}
	}
}

// newServer starts a verifier. Its TLS key is the pinned one unless another is
// given.
func newServer(t *testing.T, tlsKey string) *server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	signer, _ := newKey(t, verifierName)
	s := &server{t: t, admission: signer, send: make(chan []byte), after: make(chan uint64, 100)}
	s.consortium = newConsortium(t, listener.Addr().String())
	cert, _ := certificate(t, tlsKey)
	s.grpc = grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert,
	})))
	quoratev1.RegisterAdmissionServiceServer(s.grpc, s)
	go s.grpc.Serve(listener)
	t.Cleanup(s.grpc.Stop)
	return s
}

func newConsortium(t *testing.T, address string) *admission.Consortium {
	t.Helper()
	_, admissionKey := newKey(t, verifierName)
	_, logKey := newKey(t, verifierName+"/journal")
	_, alice := newKey(t, "org-a/alice")
	_, gate := newKey(t, "org-a/gate")
	_, pin := certificate(t, "tls")
	c := &admission.Consortium{
		Name: "example-net", Threshold: 1, Ledger: admission.Ledger{ID: "example-1", Genesis: sha256.Sum256([]byte("genesis"))},
		Verifiers: []admission.Verifier{{
			Name: verifierName, Member: "org-a", AdmissionKey: admissionKey, LogKey: logKey, TLSKey: pin, Attest: address, Enroll: address,
		}},
		Members: []admission.Member{{Name: "org-a", Operators: []admission.Operator{
			{Key: alice, Role: admission.RoleAdmin}, {Key: gate, Role: admission.RoleGate},
		}}},
		Approvals:   admission.Approvals{Policy: 1},
		Endorsement: admission.Endorsement{Templates: map[string]string{"virtual": "ecc-p256"}, Roots: sha256.Sum256([]byte("roots"))},
	}
	file, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := admission.ParseConsortium(file)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func (s *server) roster(number uint64, issued time.Time) []byte {
	s.t.Helper()
	r := admission.Roster{Consortium: "example-net", Ledger: s.consortium.Ledger, Verifier: verifierName, Number: number, Issued: issued}
	msg, err := r.Sign(s.admission)
	if err != nil {
		s.t.Fatal(err)
	}
	return msg
}

func (s *server) config() Config {
	gate, _ := newKey(s.t, "org-a/gate")
	return Config{Consortium: s.consortium, Verifier: verifierName, Key: gate, MaxAge: time.Minute, Now: clock}
}

// event is one thing that Watch yielded.
type event struct {
	roster *admission.VerifiedRoster
	err    error
}

// watch runs Watch until the test ends.
func watch(t *testing.T, config Config) <-chan event {
	t.Helper()
	client, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	events, done := make(chan event), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(done)
		for r, err := range client.Watch(ctx) {
			select {
			case events <- event{r, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return events
}

func next(t *testing.T, events <-chan event) event {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
		return event{}
	}
}

func wantNumber(t *testing.T, events <-chan event, number uint64) {
	t.Helper()
	if e := next(t, events); e.err != nil || e.roster.Number() != number {
		t.Fatalf("got %+v, want roster %d", e, number)
	}
}

func wantRefused(t *testing.T, events <-chan event, check admission.CheckID) {
	t.Helper()
	e := next(t, events)
	var r *admission.Refusal
	if !errors.As(e.err, &r) || r.Check != check || e.roster != nil {
		t.Fatalf("got %+v, want a refusal by %s", e, check)
	}
}

// connected waits until a Watch is being served and returns what it asked for.
func (s *server) connected() uint64 {
	s.t.Helper()
	select {
	case after := <-s.after:
		return after
	case <-time.After(20 * time.Second):
		s.t.Fatal("nobody connected")
		return 0
	}
}

func TestWatch(t *testing.T) {
	s := newServer(t, "tls")
	events := watch(t, s.config())
	if after := s.connected(); after != 0 {
		t.Errorf("asked for rosters after %d", after)
	}
	s.send <- s.roster(3, clock())
	wantNumber(t, events, 3)
	s.send <- s.roster(3, clock()) // the same again is no news
	s.send <- s.roster(4, clock())
	wantNumber(t, events, 4)

	s.send <- nil
	if e := next(t, events); status.Code(e.err) != codes.Unavailable {
		t.Fatalf("got %+v", e)
	}
	if after := s.connected(); after != 4 {
		t.Errorf("asked for rosters after %d", after)
	}
	s.send <- s.roster(6, clock())
	wantNumber(t, events, 6)
}

func TestA166_WatchNeverGoesBack(t *testing.T) {
	s := newServer(t, "tls")
	events := watch(t, s.config())
	s.connected()
	s.send <- s.roster(8, clock())
	wantNumber(t, events, 8)
	for _, c := range []struct {
		msg   []byte
		check admission.CheckID
	}{
		{s.roster(7, clock()), admission.RosterRollback},
		{s.roster(8, clock().Add(time.Second)), admission.RosterFork},
		{s.roster(9, clock().Add(-time.Hour)), admission.RosterStale},
		{[]byte("rubbish"), admission.Malformed},
	} {
		s.send <- c.msg
		wantRefused(t, events, c.check)
		if after := s.connected(); after != 8 {
			t.Errorf("asked for rosters after %d", after)
		}
	}
	s.send <- s.roster(9, clock())
	wantNumber(t, events, 9)
}

// A roster kept from an earlier run counts from the start.
func TestWatchAfterRestart(t *testing.T) {
	s := newServer(t, "tls")
	config := s.config()
	var err error
	config.Last, err = s.consortium.VerifyRoster(s.roster(5, clock()), admission.RosterWant{Verifier: verifierName, MaxAge: time.Minute}, clock())
	if err != nil {
		t.Fatal(err)
	}
	events := watch(t, config)
	if after := s.connected(); after != 5 {
		t.Errorf("asked for rosters after %d", after)
	}
	s.send <- s.roster(4, clock())
	wantRefused(t, events, admission.RosterRollback)
}

func TestSilentConnectionIsGivenUp(t *testing.T) {
	s := newServer(t, "tls")
	config := s.config()
	config.MaxAge = 100 * time.Millisecond
	events := watch(t, config)
	if e := next(t, events); !errors.Is(e.err, errSilent) {
		t.Fatalf("got %+v", e)
	}
}

func TestOtherServerKey(t *testing.T) {
	s := newServer(t, "another-tls-key")
	events := watch(t, s.config())
	if e := next(t, events); e.err == nil || !strings.Contains(e.err.Error(), "the consortium file pins") {
		t.Fatalf("got %+v", e)
	}
}

func TestOtherClientKey(t *testing.T) {
	s := newServer(t, "tls")
	config := s.config()
	config.Key, _ = newKey(t, "org-a/stranger")
	events := watch(t, config)
	if e := next(t, events); status.Code(e.err) != codes.PermissionDenied {
		t.Fatalf("got %+v", e)
	}
}

func TestFetch(t *testing.T) {
	s := newServer(t, "tls")
	client, err := New(s.config())
	if err != nil {
		t.Fatal(err)
	}
	go func() { s.send <- s.roster(2, clock()); s.send <- s.roster(1, clock()) }()
	r, err := client.Fetch(t.Context())
	if err != nil || r.Number() != 2 {
		t.Fatalf("got %v, %v", r, err)
	}
	var refusal *admission.Refusal
	if _, err := client.Fetch(t.Context()); !errors.As(err, &refusal) || refusal.Check != admission.RosterRollback {
		t.Fatalf("got %v", err)
	}
}

func TestStopFromInside(t *testing.T) {
	s := newServer(t, "tls")
	client, err := New(s.config())
	if err != nil {
		t.Fatal(err)
	}
	go func() { s.send <- s.roster(1, clock()) }()
	for r, err := range client.Watch(t.Context()) {
		if err != nil || r.Number() != 1 {
			t.Fatalf("got %v, %v", r, err)
		}
		break
	}
}

func TestConfig(t *testing.T) {
	s := newServer(t, "tls")
	for name, spoil := range map[string]func(*Config){
		"no consortium": func(c *Config) { c.Consortium = nil }, "no key": func(c *Config) { c.Key = nil },
		"no age": func(c *Config) { c.MaxAge = 0 }, "no clock": func(c *Config) { c.Now = nil }, "no verifier": func(c *Config) { c.Verifier = "x" },
	} {
		config := s.config()
		spoil(&config)
		if _, err := New(config); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestPause(t *testing.T) {
	for failures := range 40 {
		if d := pause(failures); d < firstPause/2 || d > lastPause {
			t.Errorf("%d failures: %v", failures, d)
		}
	}
}
