// Package rosterd serves rosters as the verifiers of a consortium do: each at an
// address of its own, over mutual TLS with the pinned key, to gates of the
// consortium. What the rosters say, and when a verifier is away, a test decides.
package rosterd

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"sync"

	"golang.org/x/mod/sumdb/note"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/operator"
	quoratev1 "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/simulator/issuer"
)

// Site is the consortium with its verifiers' servers.
type Site struct {
	Consortium *admission.Consortium // with the servers' addresses and keys
	File       []byte                // its file
	GateKey    string                // secret key of the operator org/gate of the first member
	servers    map[string]*server    // by member
}

// server is one verifier.
type server struct {
	quoratev1.UnimplementedAdmissionServiceServer
	site    *Site
	address string
	cert    tls.Certificate
	grpc    *grpc.Server // nil while it is away
	first   net.Listener // until it is used

	mu      sync.Mutex
	number  uint64
	msg     []byte
	changed chan struct{} // closed at the next roster
}

// Start starts a server for each verifier of the network, which must have one for
// each member. None has a roster yet.
func Start(n *issuer.Network) (*Site, error) {
	s := &Site{servers: map[string]*server{}}
	c := *n.Consortium
	c.Verifiers, c.Members = slices.Clone(c.Verifiers), slices.Clone(c.Members)
	for i := range c.Verifiers {
		if err := s.add(&c.Verifiers[i]); err != nil {
			s.Close()
			return nil, err
		}
	}
	if err := s.addGate(&c.Members[0]); err != nil {
		s.Close()
		return nil, err
	}
	var err error
	if s.File, err = c.Marshal(); err == nil {
		s.Consortium, err = admission.ParseConsortium(s.File)
	}
	for member := range s.servers {
		if err == nil {
			err = s.Return(member)
		}
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("rosterd: %w", err)
	}
	return s, nil
}

// add gives the verifier a key and an address.
func (s *Site) add(v *admission.Verifier) error {
	_, key, _, err := newKey(v.Name)
	if err != nil {
		return err
	}
	cert, err := key.Certificate()
	if err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	v.TLSKey, v.Attest = sha256.Sum256(leaf.RawSubjectPublicKeyInfo), l.Addr().String()
	s.servers[v.Member] = &server{site: s, address: v.Attest, cert: cert, first: l, changed: make(chan struct{})}
	return nil
}

// addGate gives the member an operator who may follow rosters.
func (s *Site) addGate(m *admission.Member) error {
	secret, _, public, err := newKey(m.Name + "/gate")
	s.GateKey = secret
	m.Operators = append(slices.Clone(m.Operators), admission.Operator{Key: public, Role: admission.RoleGate})
	return err
}

func newKey(name string) (secret string, key *operator.Key, public string, err error) {
	if secret, public, err = note.GenerateKey(rand.Reader, name); err != nil {
		return "", nil, "", err
	}
	key, err = operator.ParseKey(secret)
	return secret, key, public, err
}

// Leave takes a member's verifier away: its connections break, nobody answers.
func (s *Site) Leave(member string) {
	if v := s.servers[member]; v.grpc != nil {
		v.grpc.Stop()
		v.grpc = nil
	}
}

// Return lets a member's verifier answer again, at its address.
func (s *Site) Return(member string) error {
	v := s.servers[member]
	l := v.first
	if v.first = nil; l == nil {
		var err error
		if l, err = net.Listen("tcp", v.address); err != nil {
			return err
		}
	}
	v.grpc = grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{v.cert}, ClientAuth: tls.RequireAnyClientCert,
	})))
	quoratev1.RegisterAdmissionServiceServer(v.grpc, v)
	go v.grpc.Serve(l) // it ends when the verifier leaves
	return nil
}

// Publish makes msg the current roster of a member's verifier.
func (s *Site) Publish(member string, number uint64, msg []byte) {
	v := s.servers[member]
	v.mu.Lock()
	defer v.mu.Unlock()
	v.number, v.msg = number, msg
	close(v.changed)
	v.changed = make(chan struct{})
}

// Close ends all servers.
func (s *Site) Close() {
	for member, v := range s.servers {
		s.Leave(member)
		if v.first != nil {
			_ = v.first.Close()
		}
	}
}

// current returns the latest roster, and what is closed when there is another.
func (v *server) current() (number uint64, msg []byte, changed <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.number, v.msg, v.changed
}

// Watch implements quoratev1.AdmissionServiceServer.
func (v *server) Watch(req *quoratev1.WatchRequest, stream grpc.ServerStreamingServer[quoratev1.WatchResponse]) error {
	if err := v.authorise(stream.Context()); err != nil {
		return err
	}
	for sent := req.GetAfter(); ; {
		number, msg, changed := v.current()
		if msg != nil && number > sent {
			sent = number
			if err := stream.Send(&quoratev1.WatchResponse{Roster: msg}); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return nil
		}
	}
}

// authorise lets gates of the consortium in.
func (v *server) authorise(ctx context.Context) error {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			o, known := v.site.Consortium.Operator(sha256.Sum256(info.State.PeerCertificates[0].RawSubjectPublicKeyInfo))
			if known && o.Role == admission.RoleGate {
				return nil
			}
		}
	}
	return status.Error(codes.PermissionDenied, "not a gate")
}
