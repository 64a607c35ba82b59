package rpc

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/admission"
	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier"
	"github.com/quorate/quorate/verifier/journal"

	"github.com/quorate/quorate/simulator/need"
)

// childConfig names, in the environment of the test binary, the configuration
// file of a verifier that it shall be.
const childConfig = "QUORATE_VERIFIER_TEST_CONFIG"

func TestMain(m *testing.M) {
	if path := os.Getenv(childConfig); path != "" {
		child(path)
		return
	}
	os.Exit(m.Run())
}

// child is a verifier process, as the shipped one: it runs until it is killed.
func child(path string) {
	config, err := verifier.ReadConfig(path)
	exitOn(err)
	config.Limits.EnrollPerHour, config.Limits.PerSource = 10000, 1000
	journal.LogTo(slog.New(slog.DiscardHandler))
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	service, err := verifier.Open(context.Background(), config, log)
	exitOn(err)
	attest, err := net.Listen("tcp", config.Listen.Attest)
	exitOn(err)
	enroll, err := net.Listen("tcp", config.Listen.Enroll)
	exitOn(err)
	exitOn(New(service, service.Certificate(), config.Limits, log).Serve(context.Background(), attest, enroll))
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// process runs the world's verifier as a process of its own.
func (w *world) process() *exec.Cmd {
	w.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childConfig+"="+w.configPath())
	var stderr lockedBuffer
	cmd.Stderr = &stderr
	must(w.t, cmd.Start())
	w.eventually("the verifier to serve", func() bool {
		conn, err := net.Dial("tcp", w.self.Enroll)
		if err != nil {
			if unix.Kill(cmd.Process.Pid, 0) != nil || strings.Contains(stderr.String(), "exit") {
				w.t.Fatalf("the verifier ended: %s", stderr.String())
			}
			return false
		}
		return conn.Close() == nil
	})
	return cmd
}

func (w *world) configPath() string { return filepath.Join(w.dir, "verifier", "verifier.yaml") }

// received are the admissions that hosts hold in their hands.
type received struct {
	mu      sync.Mutex
	bundles map[string][]*pb.Verdict
	nodes   map[string]bool // enrolments that were acknowledged
}

// live enrols a host and lets it attest until the context ends, through restarts
// of the verifier and reboots of its own, which make new admissions due.
func (r *received) live(ctx context.Context, p *paper, token string) {
	enrolled := false
	for ctx.Err() == nil {
		if !enrolled {
			enrolled = p.tryEnrol(ctx, token) == nil
			r.mu.Lock()
			r.nodes[p.ID] = r.nodes[p.ID] || enrolled
			r.mu.Unlock()
			if !enrolled && ctx.Err() == nil {
				time.Sleep(20 * time.Millisecond) // an agent's back-off
				enrolled = r.known(ctx, p)
			}
			continue
		}
		v, err := p.tryRound(ctx)
		if err == nil && len(v.Admission) > 0 {
			r.mu.Lock()
			r.bundles[p.ID] = append(r.bundles[p.ID], v)
			r.mu.Unlock()
			p.Boot(bootlog.Debian())
		}
	}
}

// known reports whether the verifier knows the host although its enrolment was
// not acknowledged: the process was killed in between.
func (r *received) known(ctx context.Context, p *paper) bool {
	_, err := p.tryRound(ctx)
	return err == nil
}

// tryEnrol is enrol without failing the test when the verifier dies.
func (p *paper) tryEnrol(ctx context.Context, token string) error {
	conn, err := grpc.NewClient("passthrough:///"+p.w.self.Enroll, grpc.WithTransportCredentials(credentials.NewTLS(clientTLS(nil))))
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := pb.NewEnrollmentServiceClient(conn).Enroll(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&pb.EnrollRequest{Step: &pb.EnrollRequest_Start{Start: p.startMessage(token)}}); err != nil {
		return err
	}
	m, err := stream.Recv()
	if err != nil {
		return err
	}
	e := &enrolment{stream, p}
	return e.finish(e.proof(m.GetChallenge()))
}

func (p *paper) tryRound(ctx context.Context) (*pb.Verdict, error) {
	conn, err := grpc.NewClient("passthrough:///"+p.w.self.Attest, grpc.WithTransportCredentials(credentials.NewTLS(clientTLS(p.certificate()))))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	stream, err := pb.NewAttestationServiceClient(conn).Attest(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{stream, p}
	if err := s.send(p.hello()); err != nil {
		return nil, err
	}
	m, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	if err := s.send(s.evidence(m.GetChallenge())); err != nil {
		return nil, err
	}
	m, err = stream.Recv()
	return m.GetVerdict(), err
}

// TestA186_KillVerifier kills a verifier process at random instants while hosts
// enrol, attest and are admitted. Whatever a host holds is in the journal, whatever
// was acknowledged is there, and every start is consistent.
func TestA186_KillVerifier(t *testing.T) {
	w := newWorld(t, manyHosts)
	w.teach()
	papers, tokens := make([]*paper, 6), make([]string, 6)
	for i := range papers {
		papers[i] = w.paper(fmt.Sprintf("validator-%d", i))
		tokens[i] = w.invite(papers[i].ID)
	}
	w.stop()
	got := &received{bundles: make(map[string][]*pb.Verdict), nodes: make(map[string]bool)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := w.process()
	var hosts sync.WaitGroup
	for i, p := range papers {
		hosts.Go(func() { got.live(ctx, p, tokens[i]) })
	}
	for range 6 {
		time.Sleep(time.Duration(300+rand.IntN(900)) * time.Millisecond) // the random instant
		must(t, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
		cmd = w.process()
	}
	w.eventually("admissions", func() bool {
		got.mu.Lock()
		defer got.mu.Unlock()
		return len(got.bundles) >= 4
	})
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	cancel()
	hosts.Wait()
	w.start()
	w.checkReceived(got)
}

// checkReceived holds what hosts have against the journal of the verifier.
func (w *world) checkReceived(got *received) {
	t := w.t
	admissions := w.journalAdmissions()
	count := 0
	for id, verdicts := range got.bundles {
		for _, v := range verdicts {
			count++
			if !admissions[string(v.Admission)] {
				t.Errorf("%s holds an admission that is not in the journal:\n%s", id, v.Admission)
			}
			b, err := admission.NewBundle(admission.Item{Admission: v.Admission, Proof: v.AdmissionProof})
			must(t, err)
			key, err := admission.ParseDigest(w.node(id).NodeKey)
			must(t, err)
			if _, err := w.consortium.VerifyBundle(b.Marshal(), admission.Want{Role: "validator", NodeKey: key}, time.Now()); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		}
	}
	for id := range got.nodes {
		if got.nodes[id] && w.node(id).NodeId != id {
			t.Errorf("%s: an acknowledged enrolment is lost", id)
		}
	}
	st, err := w.admin.GetStatus(t.Context(), &pb.GetStatusRequest{})
	must(t, err)
	if len(st.Alarms) > 0 {
		t.Errorf("alarms after the last start: %q", st.Alarms)
	}
	t.Logf("%d admissions in hand, %d in the journal, %d entries", count, len(admissions), st.JournalSize)
}

func (w *world) journalAdmissions() map[string]bool {
	w.t.Helper()
	stream, err := w.admin.ReadJournal(w.t.Context(), &pb.ReadJournalRequest{})
	must(w.t, err)
	found := make(map[string]bool)
	for {
		m, err := stream.Recv()
		if err != nil {
			return found
		}
		if strings.HasPrefix(string(m.Entry), "quorate/admission/v1\n") {
			found[string(m.Entry)] = true
		}
	}
}

// TestA152_FullDisk fills the verifier's disk: what is signed is served, nothing
// new is admitted, in words that say so; with room again it goes on.
func TestA152_FullDisk(t *testing.T) {
	var disk string
	w := newWorld(t, manyHosts, func(w *world) {
		disk = filepath.Join(w.dir, "disk")
		must(t, os.Mkdir(disk, 0o700))
		if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=32m"); err != nil {
			need.Missing(t, fmt.Sprintf("mounting a tmpfs is not allowed here: %v", err))
		}
		t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
		w.config.Data = filepath.Join(disk, "data")
	})
	teacher := w.teach()
	waiting, late := w.enrolledPaper("validator-1"), w.paper("validator-2")
	token := w.invite(late.ID)
	var roster []byte
	w.eventually("a roster", func() bool {
		r, err := w.admissions.GetRoster(t.Context(), &pb.GetRosterRequest{})
		roster = r.GetRoster()
		return err == nil
	})
	size := w.journalSize()
	ballast := fillDisk(t, disk)

	_, err := waiting.tryRound(t.Context())
	wantCode(t, "a new admission", err, codes.Unavailable)
	if text := status.Convert(err).Message(); strings.Contains(text, disk) || !strings.Contains(text, "no admission") {
		t.Errorf("told the host: %s", text)
	}
	wantCode(t, "an enrolment", late.tryEnrol(t.Context(), token), codes.Unavailable)
	_, err = w.admin.InviteNode(t.Context(), &pb.InviteNodeRequest{NodeId: member + "/validator-3"})
	wantCode(t, "an invitation", err, codes.Unavailable)
	if r, err := w.admissions.GetRoster(t.Context(), &pb.GetRosterRequest{}); err != nil || len(r.Roster) == 0 || len(roster) == 0 {
		t.Errorf("the roster: %v", err)
	}
	a, err := w.admissions.GetAdmission(t.Context(), &pb.GetAdmissionRequest{NodeId: teacher.ID})
	if err != nil || len(a.Proof) == 0 {
		t.Errorf("the standing admission: %v", err)
	}
	if v, err := teacher.tryRound(t.Context()); err != nil || v.Decision != "admitted" {
		t.Errorf("a node that changes nothing: %v, %v", v, err)
	}
	if n := w.node(waiting.ID); n.Serial != 0 || n.State != "pending" || w.journalSize() != size {
		t.Errorf("%s has admission %d; %d entries after %d", n.State, n.Serial, w.journalSize(), size)
	}

	must(t, os.Remove(ballast))
	w.eventually("admission of the waiting host", func() bool {
		v, err := waiting.tryRound(t.Context())
		return err == nil && len(v.Admission) > 0
	})
	must(t, late.tryEnrol(t.Context(), token))
	w.stop()
	w.start()
	if n := w.node(waiting.ID); n.State != "admitted" {
		t.Errorf("after a restart the host is %s", n.State)
	}
}

// fillDisk leaves no byte free, and returns what to remove.
func fillDisk(t *testing.T, disk string) string {
	t.Helper()
	path := filepath.Join(disk, "ballast")
	f, err := os.Create(path)
	must(t, err)
	for size := 1 << 20; size > 0; {
		if _, err = f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	must(t, f.Close())
	return path
}
