package power

import (
	"bytes"
	"errors"
	"strings"
	"time"

	"github.com/quorate/quorate/admission"
)

// rosterAge is how old a roster may be that takes power away. An older one says
// nothing new: admissions end by themselves.
const rosterAge = 24 * time.Hour

func isRoster(tx []byte) bool { return bytes.HasPrefix(tx, []byte("quorate/roster/v1\n")) }

// roster takes a verifier's newest list of barred nodes. A node that so many
// verifiers bar that the rest would not make a bundle no longer stands, within
// the guard. A node that is only late is not barred: silence says nothing about
// integrity, and its admission ends by itself.
func (r *run) roster(tx []byte) error {
	name, err := claimedVerifier(tx)
	if err != nil {
		return err
	}
	v, err := r.rules.Consortium.VerifyRoster(tx, admission.RosterWant{Verifier: name, MaxAge: rosterAge}, r.time)
	if err != nil {
		return err
	}
	if last := r.barred[name].number; v.Number() <= last {
		return refuse(Older, "roster of "+name, num(v.Number()), "more than "+num(last))
	}
	b := bars{number: v.Number(), since: map[string]time.Time{}}
	for _, n := range v.Roster().Barred {
		if n.State != admission.StateLate {
			b.since[n.Node] = n.Since
		}
	}
	r.barred[name] = b
	r.event("roster", [2]string{"verifier", name}, [2]string{"number", num(v.Number())})
	return nil
}

// claimedVerifier returns who says to have signed the roster.
func claimedVerifier(tx []byte) (string, error) {
	at := strings.LastIndex(string(tx), "\n\n— ")
	if at < 0 {
		return "", errors.New("no signature")
	}
	name, _, _ := strings.Cut(string(tx[at+len("\n\n— "):]), " ")
	return name, nil
}
