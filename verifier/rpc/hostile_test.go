package rpc

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/simulator/attack"
	"github.com/quorate/quorate/verifier/verdict"
)

// sendRaw sends bytes as the first message of a method and returns the status.
func sendRaw(t *testing.T, conn *grpc.ClientConn, method string, message []byte) error {
	t.Helper()
	return attack.SendRaw(t.Context(), conn, method, message)
}

// journalSize is how many entries there are beside rosters, which the verifier
// writes when it finds the time.
func (w *world) journalSize() (size uint64) {
	w.t.Helper()
	stream, err := w.admin.ReadJournal(w.t.Context(), &pb.ReadJournalRequest{})
	must(w.t, err)
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return size
		}
		must(w.t, err)
		if len(m.Entry) > 0 && !bytes.HasPrefix(m.Entry, []byte("quorate/roster/")) {
			size++
		}
	}
}

// Malformed, oversized and ambiguous messages on both listeners: the right status,
// and nothing recorded.
func TestA156_MalformedMessages(t *testing.T) {
	w := newWorld(t, manyHosts)
	p := w.enrolledPaper("validator-1")
	attest := dial(t, w.self.Attest, clientTLS(p.certificate()))
	enroll := dial(t, w.self.Enroll, clientTLS(nil))
	certificate, err := w.key.Certificate()
	must(t, err)
	admin := dial(t, w.self.Attest, clientTLS(&certificate))
	size := w.journalSize()
	for name, b := range attack.Encodings() {
		err := sendRaw(t, attest, pb.AttestationService_Attest_FullMethodName, b)
		wantCode(t, name, err, codes.InvalidArgument)
		if !strings.Contains(status.Convert(err).Message(), "session.malformed") {
			t.Errorf("%s: %v", name, err)
		}
		wantCode(t, name+", enrolment", sendRaw(t, enroll, pb.EnrollmentService_Enroll_FullMethodName, b), codes.InvalidArgument)
		wantCode(t, name+", admin", sendRaw(t, admin, pb.AdministrationService_InviteNode_FullMethodName, b), codes.InvalidArgument)
	}
	for name, m := range map[string]struct {
		message []byte
		want    codes.Code
	}{
		"too large":      {make([]byte, w.config.Limits.MessageBytes+1), codes.ResourceExhausted},
		"empty":          {nil, codes.InvalidArgument},
		"evidence first": {attack.Field(nil, 2, attack.Field(nil, 1, []byte("quote"))), codes.InvalidArgument},
		"old version":    {attack.Field(nil, 1, attack.Field(attack.Field(nil, 1, 0), 2, p.ID)), codes.FailedPrecondition},
		"newer version":  {attack.Field(nil, 1, attack.Field(attack.Field(nil, 1, 2), 2, p.ID)), codes.FailedPrecondition},
		"another's id":   {attack.Field(nil, 1, attack.Field(attack.Field(nil, 1, 1), 2, member+"/other")), codes.PermissionDenied},
		"a huge id":      {attack.Field(nil, 1, attack.Field(attack.Field(nil, 1, 1), 2, strings.Repeat("x", 1<<20))), codes.PermissionDenied},
		"no bank":        {attack.Field(nil, 1, attack.Field(attack.Field(nil, 1, 1), 2, p.ID)), codes.PermissionDenied},
		"a short digest": {attack.Field(nil, 1, attack.Field(attack.Field(attack.Field(nil, 1, 1), 2, p.ID), 5, []byte{1})), codes.InvalidArgument},
		"a long boot id": {attack.Field(nil, 1, attack.Field(attack.Field(attack.Field(nil, 1, 1), 2, p.ID), 3, strings.Repeat("x", 65))), codes.InvalidArgument},
		"a long bank":    {attack.Field(nil, 1, attack.Field(attack.Field(attack.Field(nil, 1, 1), 2, p.ID), 4, strings.Repeat("x", 1<<20))), codes.InvalidArgument},
	} {
		err := sendRaw(t, attest, pb.AttestationService_Attest_FullMethodName, m.message)
		wantCode(t, name, err, m.want)
		if n := len(status.Convert(err).Message()); n > 8<<10 {
			t.Errorf("%s: the status has %d bytes", name, n)
		}
	}
	if w.journalSize() != size || w.node(p.ID).LastEvidence != nil {
		t.Error("malformed messages were recorded")
	}
	p.open().round()
}

// Evidence that is malformed after the challenge: the session ends with the right
// status; what a node had, it has.
func TestMalformedEvidence(t *testing.T) {
	w := newWorld(t, manyHosts)
	p := w.teach()
	before, size := w.node(p.ID), w.journalSize()
	for name, c := range map[string]struct {
		spoil func(*pb.Evidence)
		want  codes.Code
	}{
		"too many challenges": {func(e *pb.Evidence) { e.Challenges = make([]*pb.AnsweredChallenge, 17) }, codes.InvalidArgument},
		"a short nonce":       {func(e *pb.Evidence) { e.Challenges[0].Nonce = e.Challenges[0].Nonce[:31] }, codes.InvalidArgument},
		"a nonce in hex":      {func(e *pb.Evidence) { e.Challenges[0].Nonce = bytes.Repeat([]byte("ab"), 32) }, codes.InvalidArgument},
		"no exporter":         {func(e *pb.Evidence) { e.Challenges[0].Exporter = nil }, codes.InvalidArgument},
		"a long PCR":          {func(e *pb.Evidence) { e.PcrValues[0] = make([]byte, 1<<20) }, codes.InvalidArgument},
		"a long quote":        {func(e *pb.Evidence) { e.Quote = make([]byte, 1<<20) }, codes.InvalidArgument},
		"a long signature":    {func(e *pb.Evidence) { e.Signature = make([]byte, 1<<20) }, codes.InvalidArgument},
		"a long boot id":      {func(e *pb.Evidence) { e.BootId = strings.Repeat("x", 65) }, codes.InvalidArgument},
		"100 PCR values":      {func(e *pb.Evidence) { e.PcrValues = make([][]byte, 100) }, codes.InvalidArgument},
		"too long a list":     {func(e *pb.Evidence) { e.ImaMore = 1 << 62 }, codes.InvalidArgument},
	} {
		s := p.open()
		e := s.evidence(s.challenge())
		c.spoil(e)
		must(t, s.send(e))
		_, err := s.stream.Recv()
		wantCode(t, name, err, c.want)
	}
	s := p.open()
	s.challenge()
	must(t, s.send(p.hello()))
	_, err := s.stream.Recv()
	wantCode(t, "a hello instead of evidence", err, codes.InvalidArgument)
	after := w.node(p.ID)
	if after.State != "admitted" || after.Serial != before.Serial || after.AkName != before.AkName || w.journalSize() != size {
		t.Errorf("the node is %s with admission %d, the journal grew by %d", after.State, after.Serial, w.journalSize()-size)
	}
	if v := p.open().round(); v.Decision != "admitted" {
		t.Errorf("the twin: %v", v)
	}
}

// A quote relayed over another connection, by a proxy that ends TLS itself, does
// not count.
func TestA159_Relay(t *testing.T) {
	w := newWorld(t, manyHosts)
	p := w.teach()
	near, far := p.open(), p.stream()
	near.challenge()
	must(t, far.send(p.hello())) // supersedes near, as a proxy's connection would
	c := far.challenge()
	must(t, far.send(near.evidence(c))) // quoted for the connection to the proxy
	v := far.verdict()
	if v.Decision != "denied" || len(v.Findings) != 1 || v.Findings[0].Check != string(verdict.QuoteChannel) {
		t.Errorf("relayed evidence: %v", v)
	}
	if _, err := near.stream.Recv(); status.Code(err) != codes.Aborted {
		t.Errorf("the superseded session ended with %v", err)
	}
	if n := w.node(p.ID); n.State != "suspended" {
		t.Errorf("the node is %s", n.State)
	}
}

// Agent A's key and agent B's evidence or session do not mix.
func TestA139_OneForAnother(t *testing.T) {
	w := newWorld(t, manyHosts)
	a, b := w.enrolledPaper("validator-1"), w.enrolledPaper("validator-2")
	s := a.stream()
	must(t, s.send(b.hello()))
	_, err := s.stream.Recv()
	wantCode(t, "A says it is B", err, codes.PermissionDenied)
	identity := w.node(b.ID)

	s = a.open()
	other := &session{s.stream, b}
	must(t, s.send(other.evidence(s.challenge())))
	if v := s.verdict(); v.Decision != "denied" || v.Findings[0].Check != string(verdict.QuoteSignature) {
		t.Errorf("B's evidence on A's session: %v", v)
	}
	if after := w.node(b.ID); after.AkName != identity.AkName || after.LastEvidence != nil {
		t.Errorf("B changed: %v", after)
	}
}

// No compression: a bomb has nothing to go off in.
func TestA144_Gzip(t *testing.T) {
	w := newWorld(t)
	certificate, err := w.key.Certificate()
	must(t, err)
	conn := rawHTTP2(t, w.self.Attest, clientTLS(&certificate))
	for _, encoding := range []string{"gzip", "deflate", "snappy"} {
		id := conn.headers(pb.AdministrationService_GetStatus_FullMethodName, hpack.HeaderField{Name: "grpc-encoding", Value: encoding})
		must(t, conn.WriteData(id, true, []byte{1, 0, 0, 0, 1, 0}))
		if code := conn.outcome(id); code != "12" {
			t.Errorf("%s ends with status %s, want 12 (Unimplemented)", encoding, code)
		}
	}
	if code := conn.post(pb.AdministrationService_GetStatus_FullMethodName); code != "0" {
		t.Errorf("the twin ends with %s", code)
	}
}

// Ids and tokens with control characters, paths and bulk are refused as they are;
// no line of theirs gets into a log.
func TestA146_Injection(t *testing.T) {
	var log lockedBuffer
	w := newWorld(t, manyHosts, func(w *world) { w.log = &log })
	p := w.paper("validator-1")
	token := w.invite(p.ID)
	for _, id := range []string{
		"", "validator-1", "org-a/", "/x", "org-a/x/y", "org-a/../x", "org-a/x\nlevel=ERROR msg=owned", "org-a/x\x00", "org-a/Validator", "org-a/validätor",
		"org-a/" + strings.Repeat("x", 10<<10), "org-z/validator-1", "org-a/-x", "org-a/x-", "ORG-A/x", "org-a/x'; DROP TABLE nodes; --", "org-a/%2e%2e", " org-a/x",
	} {
		start := p.startMessage(token)
		start.NodeId = id
		_, _, err := p.begin(start)
		wantCode(t, "enrol "+id[:min(len(id), 40)], err, codes.InvalidArgument)
		_, err = w.admin.InviteNode(t.Context(), &pb.InviteNodeRequest{NodeId: id})
		wantCode(t, "invite "+id[:min(len(id), 40)], err, codes.InvalidArgument)
		_, err = w.admin.GetNode(t.Context(), &pb.GetNodeRequest{NodeId: id})
		wantCode(t, "get "+id[:min(len(id), 40)], err, codes.NotFound)
		_, err = w.admissions.GetAdmission(t.Context(), &pb.GetAdmissionRequest{NodeId: id})
		wantCode(t, "admission of "+id[:min(len(id), 40)], err, codes.NotFound)
	}
	must(t, p.enrol(token))
	for _, reason := range []string{"", "two\nlines", "\x1b[2J", strings.Repeat("x", 501), "\u202e"} {
		_, err := w.admin.SuspendNode(t.Context(), &pb.SuspendNodeRequest{NodeId: p.ID, Reason: reason})
		if status.Code(err) != codes.InvalidArgument && status.Code(err) != codes.FailedPrecondition {
			t.Errorf("reason %q: %v", reason, err)
		}
	}
	for _, state := range []string{"' OR 1=1", "admitted\n", "ADMITTED", strings.Repeat("x", 10000)} {
		_, err := w.admin.ListNodes(t.Context(), &pb.ListNodesRequest{State: state})
		wantCode(t, "state", err, codes.InvalidArgument)
	}
	for _, digest := range []string{"sha256:zz", "../../keys/admission.key", "sha256:" + strings.Repeat("A", 64), strings.Repeat("x", 10000)} {
		stream, err := w.admin.GetEvidence(t.Context(), &pb.GetEvidenceRequest{Digest: digest})
		must(t, err)
		_, err = stream.Recv()
		wantCode(t, "digest", err, codes.InvalidArgument)
	}
	if text := log.String(); strings.Contains(text, "owned") || strings.Contains(text, "\x1b") {
		t.Errorf("a caller wrote into the log: %s", text)
	}
}

// Tokens, secrets and nonces are in no log line and no error of a whole run with
// refusals of every kind.
func TestA157_NoSecretsInLogs(t *testing.T) {
	var log lockedBuffer
	w := newWorld(t, manyHosts, func(w *world) { w.log = &log })
	var secrets [][]byte
	p := w.paper("validator-1")
	token := w.invite(p.ID)
	secrets = append(secrets, []byte(token))
	e, c, err := p.begin(p.startMessage(token))
	must(t, err)
	proof := e.proof(c)
	secrets = append(secrets, c.Nonce, proof.Secret)
	wrong := e.proof(c)
	wrong.Secret = make([]byte, 32)
	err = e.finish(wrong)
	wantCode(t, "a wrong secret", err, codes.PermissionDenied)
	texts := []string{err.Error()}
	must(t, p.enrol(token))
	if err = p.enrol(token); err == nil {
		t.Error("enrolled twice")
	}
	texts = append(texts, err.Error())
	s := p.open()
	for i := range 4 {
		c := s.challenge()
		secrets = append(secrets, c.Nonce)
		e := s.evidence(c)
		e.Signature[40+i] ^= 1
		must(t, s.send(e))
		texts = append(texts, s.verdict().String())
		s = p.open()
	}
	w.stop()
	texts = append(texts, log.String())
	if len(log.String()) < 100 {
		t.Error("nothing was logged at all")
	}
	for _, text := range texts {
		for _, secret := range secrets {
			if leaked := leak(text, secret); leaked != "" {
				t.Errorf("%s is in: %.300s", leaked, text)
			}
		}
	}
}

// One address cannot take all connections; over the bound it is closed at once,
// and a place that is given back can be taken again.
func TestA141_ConnectionCaps(t *testing.T) {
	w := newWorld(t, func(w *world) { w.config.Limits.PerSource = 8 })
	certificate, err := w.key.Certificate()
	must(t, err)
	_, err = w.admin.GetStatus(t.Context(), &pb.GetStatusRequest{})
	must(t, err) // one connection
	var idle []net.Conn
	for range 7 {
		c, err := net.Dial("tcp", w.self.Attest)
		must(t, err)
		idle = append(idle, c)
	}
	// The ninth is closed before it says anything.
	over, err := net.Dial("tcp", w.self.Attest)
	must(t, err)
	must(t, over.SetReadDeadline(time.Now().Add(10*time.Second)))
	if _, err := over.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the connection over the bound: %v", err)
	}
	if _, err := w.admin.GetStatus(t.Context(), &pb.GetStatusRequest{}); err != nil {
		t.Errorf("a healthy client: %v", err)
	}
	for _, c := range idle {
		_ = c.Close()
	}
	w.eventually("places to be free again", func() bool {
		c, err := tls.Dial("tcp", w.self.Attest, clientTLS(&certificate))
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
}

// Clients that are slow on purpose: half a handshake, a session without a hello, a
// challenge without an answer, a list that trickles. All end by themselves, and a
// healthy host is served beside them.
func TestA141_SlowClients(t *testing.T) {
	w := newWorld(t, manyHosts, func(w *world) {
		w.config.Limits.Handshake, w.config.Limits.RequestTimeout, w.config.Limits.AnswerWithin = time.Second, time.Second, time.Second
	})
	healthy := w.enrolledPaper("validator-1")
	silent, slow, trickling := w.enrolledPaper("validator-2"), w.enrolledPaper("validator-3"), w.enrolledPaper("validator-4")
	half, err := net.Dial("tcp", w.self.Attest)
	must(t, err)
	defer half.Close()
	_, err = half.Write([]byte{0x16, 0x03, 0x01})
	must(t, err)

	noHello, noAnswer, list := silent.stream(), slow.open(), trickling.open()
	noAnswer.challenge()
	e := list.evidence(list.challenge())
	e.ImaMore = 1 << 20
	must(t, list.send(e))
	enrolling, _, err := w.paper("validator-5").begin(w.paper("validator-5").startMessage(w.invite(member + "/validator-5")))
	must(t, err)

	var group sync.WaitGroup
	for name, stream := range map[string]func() error{
		"no hello":  func() error { _, err := noHello.stream.Recv(); return err },
		"no answer": func() error { _, err := noAnswer.stream.Recv(); return err },
		"enrolment": func() error { _, err := enrolling.stream.Recv(); return err },
		"a slow list": func() error {
			for range 100 {
				if list.send(&pb.ImaChunk{Data: []byte{0}}) != nil {
					break
				}
				time.Sleep(50 * time.Millisecond) // the attack itself
			}
			_, err := list.stream.Recv()
			return err
		},
	} {
		group.Go(func() { wantCode(t, name, stream(), codes.DeadlineExceeded) })
	}
	for range 3 {
		began := time.Now()
		healthy.open().round()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("a healthy host waited %v", took)
		}
	}
	group.Wait()
	must(t, half.SetReadDeadline(time.Now().Add(20*time.Second)))
	if _, err := io.Copy(io.Discard, half); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Error("half a handshake is still open")
	}
}

// The rate of enrolments holds one address back, and health is served all the same.
func TestA143_EnrolmentRate(t *testing.T) {
	w := newWorld(t, func(w *world) { w.config.Limits.EnrollPerHour = 3 })
	p := w.paper("validator-1")
	for range 3 {
		_, _, err := p.begin(p.startMessage("join-nothing"))
		wantCode(t, "a wrong token", err, codes.PermissionDenied)
	}
	_, _, err := p.begin(p.startMessage("join-nothing"))
	wantCode(t, "one too many", err, codes.ResourceExhausted)
	conn := dial(t, w.self.Enroll, clientTLS(nil))
	_, err = grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	must(t, err)
}
