package attack

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/quorate/quorate/admission"
	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/paperhost"
	"github.com/quorate/quorate/simulator/vendorca"
	"github.com/quorate/quorate/verifier/verdict"
)

// strangers tries what needs nothing but the addresses.
func (r *run) strangers(ctx context.Context) {
	host, err := r.stranger()
	if err != nil {
		r.miss("attempts without a token", err.Error())
		return
	}
	r.control(ctx, "answers a health check", r.healthy)
	attempts := append(r.handshakes(), r.frames()...)
	attempts = append(attempts, r.resets(), r.unknownKey())
	if r.Vendor == nil { // otherwise they are sent in a session, which the verifier does not count
		attempts = append(attempts, r.encodings(r.verifier.Enroll, nil, enrollPath)...)
	}
	r.all(ctx, append(attempts, r.guesses(host)...))
}

// stranger is a host whose TPM a vendor of this moment certifies.
func (r *run) stranger() (*paperhost.Host, error) {
	vendor, err := vendorca.New(vendorca.Options{Now: time.Now()})
	if err != nil {
		return nil, err
	}
	return paperhost.New(r.anyNode(), vendor, bootlog.Debian())
}

// anyNode is a node id of the verifier's member that nobody uses.
func (r *run) anyNode() string {
	return r.verifier.Member + "/nobody-" + strings.ToLower(rand.Text()[:12])
}

// Methods are all methods of the address with mutual TLS.
func Methods() []string {
	var all []string
	for _, service := range []grpc.ServiceDesc{pb.AttestationService_ServiceDesc, pb.AdmissionService_ServiceDesc, pb.AdministrationService_ServiceDesc} {
		for _, m := range service.Methods {
			all = append(all, "/"+service.ServiceName+"/"+m.MethodName)
		}
		for _, s := range service.Streams {
			all = append(all, "/"+service.ServiceName+"/"+s.StreamName)
		}
	}
	return all
}

// unknownKey calls every method with a key that nobody enrolled.
func (r *run) unknownKey() attempt {
	want := codes.Unauthenticated.String()
	return attempt{group: "keys", name: fmt.Sprintf("each of %d methods with a key that nobody enrolled", len(Methods())), attacks: []string{"A135", "A161"},
		want: []string{want}, try: func(ctx context.Context) (answer, error) {
			own, err := strangerCertificate()
			if err != nil {
				return answer{}, err
			}
			conn, err := r.dial(r.verifier.Attest, own)
			if err != nil {
				return answer{}, err
			}
			defer conn.Close()
			return each(ctx, conn, Methods(), want)
		}}
}

// each calls methods with an empty message until one ends otherwise than it has to.
func each(ctx context.Context, conn *grpc.ClientConn, methods []string, want string) (a answer, err error) {
	for _, method := range methods {
		a, err = refusalOf(SendRaw(ctx, conn, method, nil))
		if err != nil || len(a.by) == 0 || a.by[0] != want {
			a.text = method + ": " + a.text
			return a, err
		}
	}
	return a, err
}

// encodings are malformed first messages of a method.
func (r *run) encodings(address string, own *tls.Certificate, method string) []attempt {
	var list []attempt
	table := Encodings()
	for _, name := range inOrder(table) {
		list = append(list, attempt{group: "encodings", name: name, attacks: []string{"A156"}, want: []string{string(verdict.SessionMalformed)},
			try: func(ctx context.Context) (answer, error) {
				return r.raw(ctx, address, own, method, table[name])
			}})
	}
	return list
}

// guesses are enrolments that fail before a TPM is looked at.
func (r *run) guesses(host *paperhost.Host) []attempt {
	start := func(name, row string, want verdict.CheckID, change func(*pb.EnrollStart)) attempt {
		return r.begin("tokens", name, row, string(want), func(s *pb.EnrollStart) { change(s) }, host)
	}
	list := []attempt{
		start("no token", "A140", verdict.SessionToken, func(*pb.EnrollStart) {}),
		start("a guessed token", "A140", verdict.SessionToken, func(s *pb.EnrollStart) { s.JoinToken = "join-" + rand.Text() }),
		start("a token of a megabyte", "A140", verdict.SessionToken, func(s *pb.EnrollStart) { s.JoinToken = strings.Repeat("a", 1<<20) }),
		start("a token that is a query", "A147", verdict.SessionToken, func(s *pb.EnrollStart) { s.JoinToken = "' OR 1=1 --" }),
		start("an older version of the protocol", "A153", verdict.SessionVersion, func(s *pb.EnrollStart) { s.ProtocolVersion = 0 }),
		start("a newer version of the protocol", "A153", verdict.SessionVersion, func(s *pb.EnrollStart) { s.ProtocolVersion = 2 }),
	}
	for _, id := range []string{"", "validator-1", "../../etc/passwd", r.verifier.Member + "/x\nlevel=ERROR", r.verifier.Member + "/x\x00", "no-such-member/x", r.verifier.Member + "/" + strings.Repeat("x", 10<<10)} {
		list = append(list, r.begin("tokens", fmt.Sprintf("the node id %.40q", id), "A146", codes.InvalidArgument.String(), func(s *pb.EnrollStart) { s.NodeId = id }, host))
	}
	return append(list, attempt{group: "tokens", name: "a proof before the start", attacks: []string{"A016"}, want: []string{string(verdict.SessionMalformed)},
		try: func(ctx context.Context) (answer, error) {
			return r.raw(ctx, r.verifier.Enroll, nil, enrollPath, Field(nil, 2, []byte{}))
		}})
}

// begin starts an enrolment and sees whether it gets a challenge.
func (r *run) begin(group, name, row, want string, change func(*pb.EnrollStart), host *paperhost.Host) attempt {
	return attempt{group: group, name: name, attacks: []string{row}, want: []string{want}, try: func(ctx context.Context) (answer, error) {
		start := r.start(host)
		change(start)
		e, err := r.enrol(ctx, host, start)
		if err != nil {
			return refusalOf(err)
		}
		return answer{text: "it got a challenge"}, e.Close()
	}}
}

// errNoConsortium is what options without a consortium get.
var errNoConsortium = errors.New("attack: no consortium file")

// check refuses options that name nobody to attack.
func (o *Options) check() error {
	if o.Consortium == nil {
		return errNoConsortium
	}
	if o.Token != "" && !admission.ValidNodeID(o.Node) {
		return fmt.Errorf("attack: %q is not a node id, which the token is for", o.Node)
	}
	return nil
}
