package rosterd_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/operator"
	"github.com/quorate/quorate/admission/roster"
	"github.com/quorate/quorate/simulator/issuer"
	"github.com/quorate/quorate/simulator/rosterd"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// first is what a client with the key hears first of a verifier.
func first(t *testing.T, s *rosterd.Site, secret string) (*admission.VerifiedRoster, error) {
	t.Helper()
	key, err := operator.ParseKey(secret)
	check(t, err)
	client, err := roster.New(roster.Config{
		Consortium: s.Consortium, Verifier: s.Consortium.Verifiers[0].Name, Key: key, MaxAge: time.Minute, Now: time.Now,
	})
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for r, err := range client.Watch(ctx) {
		return r, err
	}
	return nil, errors.New("nothing came")
}

func TestGatesAreServed(t *testing.T) {
	n, err := issuer.New(issuer.Setup{Ledger: admission.Ledger{ID: "example-1", Genesis: sha256.Sum256([]byte("genesis"))}})
	check(t, err)
	s, err := rosterd.Start(n)
	check(t, err)
	defer s.Close()
	msg, err := n.Roster("org-a", time.Now().UTC().Truncate(time.Second), nil, nil)
	check(t, err)
	s.Publish("org-a", 1, msg)
	if r, err := first(t, s, s.GateKey); err != nil || r.Number() != 1 {
		t.Errorf("a gate: %v, %v", r, err)
	}
	stranger, _, err := note.GenerateKey(rand.Reader, "org-a/gate")
	check(t, err)
	if _, err := first(t, s, stranger); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a stranger: %v", err)
	}
	s.Leave("org-a")
	if _, err := first(t, s, s.GateKey); status.Code(err) != codes.Unavailable {
		t.Errorf("while it is away: %v", err)
	}
	check(t, s.Return("org-a"))
	if r, err := first(t, s, s.GateKey); err != nil || r.Number() != 1 {
		t.Errorf("after it is back: %v, %v", r, err)
	}
}
