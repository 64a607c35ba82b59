package attack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/quorate/quorate/proto/binding"
	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/verdict"
)

// member tries what an enrolled host can: calls that are not its own, and lies
// about itself. Before and after it tells the truth.
func (r *run) member(ctx context.Context) {
	l := r.host
	if l == nil {
		r.miss("quotes, boot logs and IMA lists of an enrolled host", "needs a token and a vendor that this verifier trusts")
		return
	}
	var admitted bool
	authentic := r.control(ctx, "takes a genuine host's evidence for authentic", func(ctx context.Context) (err error) {
		admitted, err = l.truth(ctx)
		return err
	})
	if !authentic {
		return
	}
	if own, err := l.certificate(); err == nil {
		r.all(ctx, r.encodings(r.verifier.Attest, own, pb.AttestationService_Attest_FullMethodName))
	}
	r.all(ctx, append(r.misuses(), r.begin("tokens", "a token that was used", "A012", string(verdict.SessionToken), func(*pb.EnrollStart) {}, l.Host)))
	r.all(ctx, r.grants())
	r.all(ctx, l.attempts("quotes", l.quotes()))
	r.all(ctx, l.attempts("contexts", l.contexts()))
	r.all(ctx, l.attempts("parts", l.parts()))
	r.all(ctx, []attempt{l.replay(), l.relay(), l.without()})
	r.all(ctx, append(l.defectiveLogs(), l.defectiveLists()...))
	if admitted {
		r.all(ctx, l.foreignBoots())
	} else {
		r.miss("boots that the policy has to refuse", "needs a policy that admits the simulated host: quorate policy learn "+l.ID)
	}
	r.control(ctx, "takes the genuine host's evidence as before", func(ctx context.Context) error { return l.again(ctx, admitted) })
}

// truth boots the host as a good one and attests. It reports whether the host is
// admitted; an error if its evidence is not authentic.
func (l *liar) truth(ctx context.Context) (admitted bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, perAttempt)
	defer cancel()
	l.reboot(bootlog.Debian().Log())
	s, err := l.open(ctx)
	if err != nil {
		return false, err
	}
	defer s.Close()
	v, err := s.tell(lie{})
	if err != nil || v.Decision == "admitted" {
		return err == nil, err
	}
	for _, f := range v.Findings {
		for _, unproven := range []string{"quote.", "bootlog.", "ima.", "session."} {
			if strings.HasPrefix(f.Check, unproven) {
				return false, fmt.Errorf("%s: %s, got %s, want %s", f.Check, f.Message, f.Got, f.Want)
			}
		}
	}
	return false, nil
}

// again is truth that must end as it did before.
func (l *liar) again(ctx context.Context, admitted bool) error {
	now, err := l.truth(ctx)
	if err == nil && now != admitted {
		err = errors.New("it was admitted before and is not now")
	}
	return err
}

// reboot boots the host with this log, and runs two programs.
func (l *liar) reboot(log *bootlog.Log) {
	l.Boot(bootlog.Debian())
	l.Log = log
	l.PCRs = log.PCRs()
	l.List = bootlog.NewList(l.PCRs)
	l.List.Replay(&l.PCRs)
	for range 2 {
		l.Exec("/usr/bin/quorate-agent")
	}
}

// attempts are lies as attempts, each of a host that has booted well.
func (l *liar) attempts(group string, tellings []telling) []attempt {
	var list []attempt
	for _, t := range tellings {
		list = append(list, l.attempt(group, t, nil))
	}
	return list
}

// attempt is one lie. Before it the host does what prepare says, if anything.
func (l *liar) attempt(group string, t telling, prepare func() error) attempt {
	a := attempt{group: group, name: t.name}
	if t.row != "" {
		a.attacks = []string{t.row}
	}
	for _, want := range t.want {
		a.want = append(a.want, string(want))
	}
	a.try = func(ctx context.Context) (answer, error) {
		if prepare != nil {
			if err := prepare(); err != nil {
				return answer{}, err
			}
		}
		s, err := l.open(ctx)
		if err != nil {
			return answer{}, err
		}
		defer s.Close()
		v, err := s.tell(t.lie)
		if err != nil {
			return refusalOf(err)
		}
		return answerOf(v), nil
	}
	return a
}

// misuses are calls with an enrolled key that the key does not allow.
func (r *run) misuses() []attempt {
	l := r.host
	denied := codes.PermissionDenied.String()
	own := []string{pb.AttestationService_Attest_FullMethodName, pb.AttestationService_Grant_FullMethodName, pb.AdmissionService_GetRoster_FullMethodName}
	forbidden := slices.DeleteFunc(Methods(), func(m string) bool { return slices.Contains(own, m) })
	list := []attempt{{
		group: "roles", name: fmt.Sprintf("each of %d methods of operators and gates with a host's key", len(forbidden)), attacks: []string{"A138"}, want: []string{denied},
		try: func(ctx context.Context) (answer, error) {
			own, err := l.certificate()
			if err != nil {
				return answer{}, err
			}
			conn, err := r.dial(r.verifier.Attest, own)
			if err != nil {
				return answer{}, err
			}
			defer conn.Close()
			return each(ctx, conn, forbidden, denied)
		},
	}}
	for _, h := range []struct {
		name, row string
		want      verdict.CheckID
		change    func(*pb.Hello)
	}{
		{"another host's name", "A139", verdict.SessionIdentity, func(h *pb.Hello) { h.NodeId += "-2" }},
		{"no bank that is asked for", "A020", verdict.SessionBank, func(h *pb.Hello) { h.Banks = []string{"sha1"} }},
		{"an older version", "A153", verdict.SessionVersion, func(h *pb.Hello) { h.ProtocolVersion = 0 }},
		{"a long boot id", "A146", verdict.SessionMalformed, func(h *pb.Hello) { h.BootId = strings.Repeat("x", 65) }},
		{"a digest of one byte", "A156", verdict.SessionMalformed, func(h *pb.Hello) { h.BootLogDigest = []byte{1} }},
	} {
		list = append(list, attempt{group: "hellos", name: h.name, attacks: []string{h.row}, want: []string{string(h.want)}, try: func(ctx context.Context) (answer, error) {
			hello := l.hello()
			h.change(hello)
			return l.first(ctx, &pb.AttestRequest{Step: &pb.AttestRequest_Hello{Hello: hello}})
		}})
	}
	return append(list, attempt{group: "hellos", name: "evidence before the hello", attacks: []string{"A016"}, want: []string{string(verdict.SessionMalformed)},
		try: func(ctx context.Context) (answer, error) {
			return l.first(ctx, &pb.AttestRequest{Step: &pb.AttestRequest_Evidence{Evidence: &pb.Evidence{}}})
		}})
}

// first sends a first message and sees whether it gets a challenge.
func (l *liar) first(ctx context.Context, m *pb.AttestRequest) (answer, error) {
	s, err := l.connect(ctx)
	if err != nil {
		return answer{}, err
	}
	defer s.Close()
	if err := s.send(m); err != nil {
		return answer{}, err
	}
	if _, err := s.challenge(); err != nil {
		return refusalOf(err)
	}
	return answer{text: "it got a challenge"}, nil
}

// replay sends good evidence a second time.
func (l *liar) replay() attempt {
	return attempt{group: "sessions", name: "evidence a second time", attacks: []string{"A011"}, want: []string{string(verdict.QuoteNonce)}, try: func(ctx context.Context) (answer, error) {
		s, err := l.open(ctx)
		if err != nil {
			return answer{}, err
		}
		defer s.Close()
		c, err := s.challenge()
		if err != nil {
			return answer{}, err
		}
		e, err := s.evidence(c, lie{})
		if err != nil {
			return answer{}, err
		}
		if err := s.send(&pb.AttestRequest{Step: &pb.AttestRequest_Evidence{Evidence: e}}); err != nil {
			return answer{}, err
		}
		if _, err := s.stream.Recv(); err != nil { // the first time it counts
			return answer{}, err
		}
		if s, err = l.open(ctx); err != nil {
			return answer{}, err
		}
		defer s.Close()
		v, err := s.tell(lie{last: e})
		if err != nil {
			return refusalOf(err)
		}
		return answerOf(v), nil
	}}
}

// relay answers a challenge with a quote made for another connection of the same
// host, as a proxy that ends TLS would.
func (l *liar) relay() attempt {
	return attempt{group: "sessions", name: "a quote relayed from another connection", attacks: []string{"A159", "A063"}, want: []string{string(verdict.QuoteChannel)}, try: func(ctx context.Context) (answer, error) {
		near, err := l.open(ctx)
		if err != nil {
			return answer{}, err
		}
		defer near.Close()
		far, err := l.open(ctx) // supersedes near
		if err != nil {
			return answer{}, err
		}
		defer far.Close()
		v, err := far.tell(lie{own: func(c *binding.Challenge) { c.Exporter = near.exporter }})
		if err != nil {
			return refusalOf(err)
		}
		return answerOf(v), nil
	}}
}

// without withholds the boot log of a boot that the verifier does not know.
func (l *liar) without() attempt {
	withheld := lie{after: func(e *pb.Evidence) error { e.BootLog = nil; return nil }}
	boot := bootlog.Debian()
	boot.CommandLine += " unseen"
	return l.attempt("sessions", telling{"no boot log", "A097", []verdict.CheckID{verdict.BootlogMissing}, withheld},
		func() error { l.reboot(boot.Log()); return nil })
}
