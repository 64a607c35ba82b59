package attack

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/quorate/quorate/admission"
	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/paperhost"
	"github.com/quorate/quorate/simulator/site"
)

// build compiles the programs as the README says.
func build(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	cmd := exec.Command("go", "build", "-o", bin+"/", "../../cmd/quorate", "../../cmd/quorate-verifier", "../../cmd/quorate-sim")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// rehearsal is a verifier of a test consortium, as an operator sets one up.
type rehearsal struct {
	*site.Site
	t *testing.T
	Options
}

func newRehearsal(t *testing.T) *rehearsal {
	t.Helper()
	s, err := site.New(t.Context(), site.Options{
		Bin: build(t), Dir: t.TempDir(), Host: "127.0.0.1", Verifier: "verifier.org-a.example", Member: "org-a", Consortium: "rehearsal", LedgerID: "rehearsal-1",
	})
	check(t, err)
	t.Cleanup(s.Close)
	raw, err := os.ReadFile(s.ConsortiumFile())
	check(t, err)
	c, err := admission.ParseConsortium(raw)
	check(t, err)
	return &rehearsal{Site: s, t: t, Options: Options{Consortium: c, Verifier: c.Verifiers[0]}}
}

// invite returns a token for the node.
func (r *rehearsal) invite(node string) string {
	r.t.Helper()
	var invited struct {
		Token string `json:"joinToken"`
	}
	_, err := r.Quorate(r.t.Context(), &invited, "node", "invite", node, "--pre-approve")
	check(r.t, err)
	if invited.Token == "" {
		r.t.Fatal("no token")
	}
	return invited.Token
}

// teach approves a policy that admits what the attacker pretends to be.
func (r *rehearsal) teach() {
	r.t.Helper()
	o := r.Options
	o.Node, o.Vendor = "org-a/teacher", r.Site.Vendor
	o.Token = r.invite(o.Node)
	run := &run{Options: o, target: targetOf(o)}
	host, err := paperhost.New(o.Node, o.Vendor, bootlog.Debian())
	check(r.t, err)
	check(r.t, run.join(r.t.Context(), host))
	if admitted, err := (&liar{Host: host, run: run}).truth(r.t.Context()); admitted || err != nil {
		r.t.Fatalf("without a policy: admitted %v, %v", admitted, err)
	}
	dir := r.Path("policy")
	_, err = r.Quorate(r.t.Context(), nil, "policy", "learn", o.Node, "--out", dir, "--challenge-every", "1s", "--late-after", "1m")
	check(r.t, err)
	_, err = r.Quorate(r.t.Context(), nil, "policy", "approve", dir)
	check(r.t, err)
}

// A real verifier, with the limits that its init writes, refuses every attack by the
// check that has to, and admits a genuine host before and after.
func TestEverythingIsRefused(t *testing.T) {
	r := newRehearsal(t)
	r.teach()
	o := r.Options
	o.Node, o.Vendor = "org-a/attacker", r.Site.Vendor
	o.Token = r.invite(o.Node)
	report, err := Run(t.Context(), o)
	check(t, err)
	for _, row := range report.Rows {
		if row.Outcome != Refused && row.Outcome != Passed {
			t.Errorf("%s: %s: %s by %q, want %q: %s", row.Group, row.Name, row.Outcome, row.By, row.Expected, row.Detail)
		}
	}
	if report.Result() != "refused" || len(report.Missing) != 0 {
		t.Errorf("%s, not tried: %v", report.Result(), report.Missing)
	}
	least := map[string]int{
		"TLS": 6, "frames": 6, "calls": 25, "keys": 14, "encodings": 20, "tokens": 15, "certificates": 30, "proofs": 18, "roles": 1, "hellos": 6,
		"quotes": 18, "contexts": 8, "parts": 19, "sessions": 3, "boot logs": 50, "IMA lists": 21, "boots": 15, "control": 5,
	}
	for _, row := range report.Rows {
		least[row.Group]--
	}
	for group, n := range least {
		if n > 0 {
			t.Errorf("%d attempts of the group %q are missing", n, group)
		}
	}
	var status struct {
		State string `json:"state"`
	}
	_, err = r.Quorate(t.Context(), &status, "node", "show", o.Node)
	check(t, err)
	if status.State != "admitted" {
		t.Errorf("the attacker's node is left %q", status.State)
	}
}

// The program without a token: it says so, tries what strangers can, and ends well;
// and against nobody, it could not tell.
func TestProgram(t *testing.T) {
	r := newRehearsal(t)
	program := func(args ...string) (stdout, stderr string, code int) {
		cmd := exec.CommandContext(t.Context(), r.Program("quorate-sim"), append([]string{"attack"}, args...)...)
		cmd.Env = append(os.Environ(), "QUORATE_CONSORTIUM="+r.ConsortiumFile())
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if exit := (*exec.ExitError)(nil); !errors.As(cmd.Run(), &exit) && cmd.ProcessState == nil {
			t.Fatal("the program did not run")
		}
		return out.String(), errs.String(), cmd.ProcessState.ExitCode()
	}
	stdout, stderr, code := program("--verifier", r.Options.Verifier.Name, "--json")
	var report struct {
		Result string
		Report
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != 0 || report.Result != "refused" || report.Counts[Refused] < 60 {
		t.Errorf("exit code %d, %v, result %q, counts %v: %s", code, err, report.Result, report.Counts, stderr)
	}
	for _, row := range report.Rows {
		if row.Outcome != Refused && row.Outcome != Passed {
			t.Errorf("%+v", row)
		}
	}
	if !strings.Contains(stderr, "NO TOKEN") || len(report.Missing) != 2 {
		t.Errorf("it does not say that it has no token: %q, %v", stderr, report.Missing)
	}
	for range 3 { // 120 enrolments an hour
		stdout, stderr, code = program("--verifier", r.Options.Verifier.Name)
	}
	if code != 3 || !strings.Contains(stdout, "not tried: ") || !strings.Contains(stdout, "limits.enrollPerHour") {
		t.Errorf("an address that enrolled too often: exit code %d: %s%s", code, stdout, stderr)
	}
	for name, args := range map[string][]string{
		"no verifier":      nil,
		"another verifier": {"--verifier", "verifier.org-b.example"},
		"no node":          {"--verifier", r.Options.Verifier.Name, "--token", "join-x"},
		"no token":         {"--verifier", r.Options.Verifier.Name, "--vendor", r.Dir},
		"a bad node":       {"--verifier", r.Options.Verifier.Name, "--token", "join-x", "--node", "x"},
		"an argument":      {"now"},
		"an unknown flag":  {"--harder"},
	} {
		if stdout, stderr, code := program(args...); code != 2 || !strings.Contains(stderr, "hint: ") || stdout != "" {
			t.Errorf("%s: exit code %d: %s%s", name, code, stdout, stderr)
		}
	}
	stdout, _, code = program("vendor", r.Path("vendor"))
	if code != 0 || !strings.Contains(stdout, "quorate trust import") {
		t.Errorf("vendor: exit code %d: %s", code, stdout)
	}
	if _, stderr, code := program("vendor", r.Path("vendor")); code != 3 {
		t.Errorf("vendor twice: exit code %d: %s", code, stderr)
	}
	check(t, r.Run(t.Context(), "quorate", "trust", "import", r.Path("vendor/"+RootName), "--class", "virtual", "--test", "--into", r.Path("imported")))
	r.Close()
	if stdout, stderr, code := program("--verifier", r.Options.Verifier.Name); code != 3 || stdout != "" || !strings.Contains(stderr, "is the verifier running") {
		t.Errorf("against nobody: exit code %d: %s%s", code, stdout, stderr)
	}
}

// A vendor is the same after it was read from its folder, and its secret is private.
func TestVendor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vendor")
	check(t, NewVendor(dir, time.Now()))
	first, err := ReadVendor(dir)
	check(t, err)
	root, err := os.ReadFile(filepath.Join(dir, RootName))
	check(t, err)
	if !bytes.Equal(first.RootPEM(), root) {
		t.Error("another root after reading")
	}
	info, err := os.Stat(filepath.Join(dir, secretName))
	check(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the secret has mode %v", info.Mode())
	}
	if NewVendor(dir, time.Now()) == nil {
		t.Error("a vendor was overwritten")
	}
	for _, bad := range []string{"", "{}", `{"seed":"x"}`, `{"seed":"x","made":"2026-01-01T00:00:00Z"} {}`, `{"seed":"x","made":"2026-01-01T00:00:00Z","more":1}`} {
		check(t, os.WriteFile(filepath.Join(dir, secretName), []byte(bad), 0o600))
		if _, err := ReadVendor(dir); err == nil {
			t.Errorf("%q is a vendor", bad)
		}
	}
}

// credulous serves whoever comes: what the attacks have to notice.
type credulous struct {
	pb.UnimplementedEnrollmentServiceServer
	pb.UnimplementedAdministrationServiceServer
}

func (credulous) Enroll(stream pb.EnrollmentService_EnrollServer) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	return stream.Send(&pb.EnrollResponse{Step: &pb.EnrollResponse_Challenge{Challenge: &pb.EnrollChallenge{Nonce: make([]byte, 32)}}})
}

func (credulous) GetStatus(context.Context, *pb.GetStatusRequest) (*pb.GetStatusResponse, error) {
	return &pb.GetStatusResponse{}, nil
}

// serveCredulous serves on loopback and returns options that pin it.
func serveCredulous(t *testing.T) Options {
	t.Helper()
	own, err := strangerCertificate()
	check(t, err)
	parsed, err := x509.ParseCertificate(own.Certificate[0])
	check(t, err)
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{*own}})))
	pb.RegisterEnrollmentServiceServer(server, credulous{})
	pb.RegisterAdministrationServiceServer(server, credulous{})
	healthy := health.NewServer()
	grpc_health_v1.RegisterHealthServer(server, healthy)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() { server.Stop(); <-done })
	return Options{
		Consortium: &admission.Consortium{Name: "credulous"},
		Verifier: admission.Verifier{
			Name: "credulous", Member: "org-a", Attest: l.Addr().String(), Enroll: l.Addr().String(),
			TLSKey: admission.Digest(sha256.Sum256(parsed.RawSubjectPublicKeyInfo)),
		},
	}
}

// Somebody who lets everybody in is found out, attempt by attempt.
func TestCredulousVerifierIsFoundOut(t *testing.T) {
	report, err := Run(t.Context(), serveCredulous(t))
	check(t, err)
	if report.Result() != "accepted" {
		t.Errorf("the result is %q: %v", report.Result(), report.Counts)
	}
	for _, name := range []string{"a guessed token", "an older version of the protocol", "unknown field", "no token", `the node id "../../etc/passwd"`} {
		if !slices.ContainsFunc(report.Rows, func(r Row) bool { return r.Name == name && r.Outcome == Accepted }) {
			t.Errorf("%q was not accepted", name)
		}
	}
}

// Nobody is attacked who does not have the pinned key, and without a consortium
// there is nobody to attack.
func TestOnlyThePinnedVerifierIsAttacked(t *testing.T) {
	o := serveCredulous(t)
	_, _ = rand.Read(o.Verifier.TLSKey[:]) // never fails
	report, err := Run(t.Context(), o)
	if !errors.Is(err, ErrUnreachable) || len(report.Rows) != 0 {
		t.Errorf("%v, %d attempts", err, len(report.Rows))
	}
	if _, err := Run(t.Context(), Options{}); err == nil {
		t.Error("nobody was attacked")
	}
	o = serveCredulous(t)
	o.Token, o.Node = "join-x", "nobody"
	if _, err := Run(t.Context(), o); err == nil || errors.Is(err, ErrUnreachable) {
		t.Errorf("a token for no node: %v", err)
	}
}

// Interrupted, a run ends at once and says so.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o := serveCredulous(t)
	o.Progress = func(done, _ int, _ string) {
		if done == 5 {
			cancel()
		}
	}
	report, err := Run(ctx, o)
	if !errors.Is(err, context.Canceled) || len(report.Rows) > 10 || len(report.Rows) < 4 {
		t.Errorf("%v after %d attempts", err, len(report.Rows))
	}
}

// What an outcome is worth.
func TestResults(t *testing.T) {
	for _, c := range []struct {
		want   string
		counts map[Outcome]int
	}{
		{"refused", map[Outcome]int{Refused: 3, Passed: 1}},
		{"unknown", nil},
		{"unknown", map[Outcome]int{Passed: 1}},
		{"unknown", map[Outcome]int{Refused: 3, Otherwise: 1}},
		{"unknown", map[Outcome]int{Refused: 3, Unknown: 1}},
		{"accepted", map[Outcome]int{Refused: 3, Unknown: 1, Accepted: 1}},
		{"accepted", map[Outcome]int{Refused: 3, Failed: 1}},
	} {
		if got := (&Report{Counts: c.counts}).Result(); got != c.want {
			t.Errorf("%v: %s, want %s", c.counts, got, c.want)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
