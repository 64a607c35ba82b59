package rpc

import (
	"context"
	"crypto/tls"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/operator"
	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/simulator/paperhost"
	"github.com/quorate/quorate/simulator/papertpm"
)

// allowed is the table that authorisation must equal: every registered method of
// the mutual-TLS listener, and the roles that may call it.
var allowed = map[string]string{
	"quorate.v1.AttestationService/Attest":           "agent",
	"quorate.v1.AttestationService/Grant":            "agent",
	"quorate.v1.AdmissionService/GetRoster":          "agent gate auditor admin",
	"quorate.v1.AdmissionService/Watch":              "gate auditor admin",
	"quorate.v1.AdmissionService/GetAdmission":       "gate auditor admin",
	"quorate.v1.AdministrationService/ListNodes":     "auditor admin",
	"quorate.v1.AdministrationService/GetNode":       "auditor admin",
	"quorate.v1.AdministrationService/ExplainNode":   "auditor admin",
	"quorate.v1.AdministrationService/GetPolicy":     "auditor admin",
	"quorate.v1.AdministrationService/GetEvidence":   "auditor admin",
	"quorate.v1.AdministrationService/ReadJournal":   "auditor admin",
	"quorate.v1.AdministrationService/GetStatus":     "auditor admin",
	"quorate.v1.AdministrationService/InviteNode":    "admin",
	"quorate.v1.AdministrationService/ApproveNode":   "admin",
	"quorate.v1.AdministrationService/SuspendNode":   "admin",
	"quorate.v1.AdministrationService/ResumeNode":    "admin",
	"quorate.v1.AdministrationService/RetireNode":    "admin",
	"quorate.v1.AdministrationService/ApprovePolicy": "admin",
	"grpc.health.v1.Health/Check":                    "agent gate auditor admin",
	"grpc.health.v1.Health/Watch":                    "gate auditor admin",
	"grpc.health.v1.Health/List":                     "",
}

// call makes one call with an empty request, as a stream so that it fits every
// method, and returns how it ended. A call that is let in does not end by itself
// if it is a watch: then it is cut, and the status is Canceled.
func call(t *testing.T, conn *grpc.ClientConn, method string) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/"+method)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&emptypb.Empty{}); err == nil {
		_ = stream.CloseSend()
	}
	timer := time.AfterFunc(3*time.Second, cancel)
	defer timer.Stop()
	return stream.RecvMsg(&emptypb.Empty{})
}

// Every method, called by everybody: who is let in is exactly who the table says.
func TestA135_A138_RolesAndMethods(t *testing.T) {
	var auditorKey, gateKey *operator.Key
	w := newWorld(t, manyHosts, operatorOf(t, member+"/eve", admission.RoleAuditor, &auditorKey),
		operatorOf(t, member+"/gate", admission.RoleGate, &gateKey))
	agent := w.enrolledPaper("validator-1")
	unknown := &paper{Host: &paperhost.Host{Node: papertpm.NewNode("unknown")}, w: w}
	conns := map[string]*grpc.ClientConn{
		"agent":   dial(t, w.self.Attest, clientTLS(agent.certificate())),
		"unknown": dial(t, w.self.Attest, clientTLS(unknown.certificate())),
		"nobody":  dial(t, w.self.Attest, clientTLS(nil)),
	}
	for name, key := range map[string]*operator.Key{"auditor": auditorKey, "gate": gateKey, "admin": w.key} {
		c, err := key.Certificate()
		must(t, err)
		conns[name] = dial(t, w.self.Attest, clientTLS(&c))
	}
	server := New(w.service, w.service.Certificate(), w.config.Limits, slog.New(slog.DiscardHandler))
	methods := 0
	for service, info := range server.attest.GetServiceInfo() {
		for _, m := range info.Methods {
			methods++
			name := service + "/" + m.Name
			roles, listed := allowed[name]
			if !listed {
				t.Errorf("%s is not in the table", name)
			}
			for role, conn := range conns {
				want := codes.PermissionDenied
				switch {
				case role == "nobody":
					want = codes.Unavailable // the handshake fails
				case roles == "":
					want = codes.Unimplemented
				case role == "unknown":
					want = codes.Unauthenticated
				}
				got := status.Code(call(t, conn, name))
				in := got != codes.PermissionDenied && got != codes.Unauthenticated && got != codes.Unavailable && got != codes.Unimplemented
				if slices.Contains(strings.Fields(roles), role) != in || !in && got != want {
					t.Errorf("%s calls %s: %v", role, name, got)
				}
			}
		}
	}
	if methods != len(allowed) || len(permitted) != len(allowed)-1 {
		t.Errorf("%d methods are registered, %d permitted, the table has %d", methods, len(permitted), len(allowed))
	}
	for service := range server.enroll.GetServiceInfo() {
		if service != pb.EnrollmentService_ServiceDesc.ServiceName && service != "grpc.health.v1.Health" {
			t.Errorf("%s is served without a client certificate", service)
		}
	}
}

// Paths that are almost those of a method lead nowhere, for an admin too.
func TestA137_MalformedPaths(t *testing.T) {
	w := newWorld(t)
	certificate, err := w.key.Certificate()
	must(t, err)
	conn := rawHTTP2(t, w.self.Attest, clientTLS(&certificate))
	good := "/quorate.v1.AdministrationService/GetStatus"
	if code := conn.post(good); code != "0" {
		t.Errorf("the twin ends with %s", code)
	}
	for _, path := range []string{
		good[1:], "/" + good, good + "/", "//quorate.v1.AdministrationService//GetStatus", strings.ToLower(good), strings.ToUpper(good),
		"/quorate.v1.administrationservice/GetStatus", good + "?x=1", good + "#x", "/quorate.v1.AdministrationService/../AdministrationService/GetStatus",
		"/quorate.v1.AdministrationService/GetStatus%00", "/quorate.v1.AdministrationService%2FGetStatus", "/GetStatus", "/", "*",
		"/quorate.v1.EnrollmentService/Enroll", "/quorate.v1.AdministrationService/", "/.AdministrationService/GetStatus", "/quorate.v1.AdministrationService/GetStatus ",
	} {
		if code := conn.post(path); code == "0" {
			t.Errorf("path %q was served", path)
		}
	}
}

// A retired node is out at its next call, on the connection that it has.
func TestA136_RetiredAtNextCall(t *testing.T) {
	w := newWorld(t, manyHosts)
	p := w.enrolledPaper("validator-1")
	conn := dial(t, w.self.Attest, clientTLS(p.certificate()))
	client := pb.NewAdmissionServiceClient(conn)
	w.eventually("a roster", func() bool {
		_, err := client.GetRoster(t.Context(), &pb.GetRosterRequest{})
		return err == nil
	})
	s := p.open()
	c := s.challenge()
	_, err := w.admin.RetireNode(t.Context(), &pb.RetireNodeRequest{NodeId: p.ID, Reason: "sold"})
	must(t, err)
	_, err = client.GetRoster(t.Context(), &pb.GetRosterRequest{})
	wantCode(t, "the next call", err, codes.Unauthenticated)
	_ = s.send(s.evidence(c)) // the session may have ended already
	_, err = s.stream.Recv()
	wantCode(t, "the open session", err, codes.FailedPrecondition)
	if !strings.Contains(status.Convert(err).Message(), "node.retired") {
		t.Errorf("ended by %v", err)
	}
}

// Only TLS 1.3, nothing to resume, no plaintext.
func TestA153_A136_TLS(t *testing.T) {
	w := newWorld(t, manyHosts)
	p := w.enrolledPaper("validator-1")
	for _, address := range []string{w.self.Attest, w.self.Enroll} {
		config := clientTLS(p.certificate())
		config.MaxVersion = tls.VersionTLS12
		if conn, err := tls.Dial("tcp", address, config); err == nil {
			t.Errorf("TLS 1.2 at %s", address)
			_ = conn.Close()
		}
		config = clientTLS(p.certificate())
		config.ClientSessionCache = tls.NewLRUClientSessionCache(8)
		for range 3 {
			conn, err := tls.Dial("tcp", address, config)
			must(t, err)
			must(t, conn.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
			_, _ = conn.Read(make([]byte, 1)) // tickets come after the handshake
			if conn.ConnectionState().DidResume {
				t.Errorf("%s resumed a session", address)
			}
			_ = conn.Close()
		}
	}
	two := p.certificate()
	two.Certificate = append(two.Certificate, two.Certificate[0])
	conn := dial(t, w.self.Attest, clientTLS(two))
	_, err := pb.NewAdmissionServiceClient(conn).GetRoster(t.Context(), &pb.GetRosterRequest{})
	wantCode(t, "a chain of certificates", err, codes.Unavailable)
}
