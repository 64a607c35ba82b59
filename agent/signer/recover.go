package signer

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/agent/device"
	"github.com/quorate/quorate/agent/seal"
	"github.com/quorate/quorate/agent/signer/permit"
	"github.com/quorate/quorate/agent/statedir"
)

// rosterAge is the oldest roster that tells whether a host is retired.
const rosterAge = time.Hour

// Proof says why the host that had a key cannot sign with it any more.
type Proof struct {
	Rosters [][]byte      // signed, of enough verifiers of distinct members
	Longest time.Duration // longest admission that the policy in force gives; admission.MaxValidity if unsure
	First   int64         // first height that the key may sign here: of a block made after the old admission ended
}

// Recover seals a key that another host had to this host's TPM. In this order:
//
//   - enough verifiers say, each in a signed and recent roster, that the old node
//     is retired, and list nobody with its key;
//   - so much time has passed since that every admission of the old node has ended,
//     and the time for which its signer may sign for a frozen set after that;
//   - the recovery file is for the private key, and holds the key that it names;
//   - the key is sealed here, and may sign from the first height on.
//
// The verifiers admit the key on this host only as a new enrolment, which they
// refuse as long as the old node is not retired.
func Recover(ctx context.Context, cfg agent.Config, dev *device.Device, c Conditions, r seal.Recovery, private *ecdsa.PrivateKey, p Proof, now time.Time) (*seal.Key, *seal.Recovery, error) {
	consortium, err := agent.ReadConsortium(cfg)
	if err != nil {
		return nil, nil, err
	}
	if err := checkGone(consortium, r, p, now); err != nil {
		return nil, nil, err
	}
	if p.First < 1 {
		return nil, nil, &seal.Refusal{Check: seal.Floor, Got: fmt.Sprint(p.First), Want: "the height of a block made after the old admission ended"}
	}
	return install(ctx, cfg, dev, c, stateBytes(position{Height: p.First}), func(t seal.Terms) (*seal.Key, *seal.Recovery, error) {
		return seal.Restore(ctx, dev, t, r, private, c.Recipient)
	})
}

// checkGone demands that the retirement is in the journals of enough members.
func checkGone(c *admission.Consortium, r seal.Recovery, p Proof, now time.Time) error {
	if r.Ledger != c.Ledger.ID || r.Genesis != c.Ledger.Genesis.String() {
		return &seal.Refusal{Check: seal.BadRecovery, Got: "a key on " + r.Ledger, Want: c.Ledger.ID}
	}
	if p.Longest <= 0 || p.Longest > admission.MaxValidity {
		return unretired("admissions of "+p.Longest.String(), "from 1s to "+admission.MaxValidity.String())
	}
	members := map[string]bool{}
	for i, data := range p.Rosters {
		v, roster, err := openRoster(c, data, now)
		if err != nil {
			return fmt.Errorf("signer: roster %d: %w", i+1, err)
		}
		if err := checkRetired(roster.Roster(), r, now.Add(-p.Longest-permit.Held-admission.MaxSkew)); err != nil {
			return err
		}
		members[v.Member] = true
	}
	if len(members) < c.Threshold {
		return unretired(fmt.Sprintf("rosters by %d members", len(members)), fmt.Sprintf("by %d", c.Threshold))
	}
	return nil
}

// openRoster verifies a roster of whichever verifier made it.
func openRoster(c *admission.Consortium, data []byte, now time.Time) (v admission.Verifier, roster *admission.VerifiedRoster, err error) {
	err = unretired("no roster", "of a verifier of "+c.Name)
	for _, v := range c.Verifiers {
		roster, err = c.VerifyRoster(data, admission.RosterWant{Verifier: v.Name, MaxAge: rosterAge}, now)
		if err == nil {
			return v, roster, nil
		}
	}
	return v, nil, err
}

// checkRetired checks one roster: nobody is admitted with the key, and its node
// was retired by the given time.
func checkRetired(roster admission.Roster, r seal.Recovery, by time.Time) error {
	for _, l := range roster.Admitted {
		if l.ConsensusKey == r.PublicKey || l.Node == r.Node {
			return unretired(roster.Verifier+" admits "+l.Node, "the old node retired")
		}
	}
	for _, b := range roster.Barred {
		if b.Node != r.Node {
			continue
		}
		if b.State != admission.StateRetired {
			return unretired(fmt.Sprintf("%s says %s is %s", roster.Verifier, b.Node, b.State), "retired")
		}
		if b.Since.After(by) {
			return unretired(fmt.Sprintf("retired at %s by %s", b.Since.Format(time.RFC3339), roster.Verifier),
				"before "+by.Format(time.RFC3339)+", so that its last admission has ended")
		}
		return nil
	}
	return unretired(roster.Verifier+" does not list "+r.Node, "it retired")
}

func unretired(got, want string) *seal.Refusal {
	return &seal.Refusal{Check: seal.Unretired, Got: got, Want: want,
		Remedy: "retire the old node at the verifiers (quorate node retire), wait until its last admission has ended, and fetch their rosters anew (quorate admission roster)"}
}

// Raise sets the first height that the key may sign, for a signing state that was
// lost: the operator vouches that the key signed nothing from there on. It never
// lowers what the state has. The signer must not be running.
func Raise(ctx context.Context, cfg agent.Config, dev *device.Device, first int64) error {
	dir, err := statedir.Open(Dir(cfg))
	if err != nil {
		return err
	}
	defer dir.Close()
	if _, err := readKey(dir); err != nil {
		return err
	}
	highest, err := readPosition(statePath(cfg))
	if err != nil {
		return err
	}
	var st starts
	if err := dir.ReadJSON(startsFile, &st); err == nil && highest.before(st.Last) {
		highest = st.Last
	}
	to := position{Height: first}
	if !highest.before(to) {
		return &seal.Refusal{Check: seal.Floor, Got: fmt.Sprint(first), Want: fmt.Sprintf("above %d, which is signed", highest.Height),
			Remedy: "take a height that the chain has yet to reach"}
	}
	if err := dir.Write(stateFile, stateBytes(to)); err != nil {
		return err
	}
	return countStart(ctx, dev, dir, to)
}

// Rotate puts a new key in the place of the present one, which is kept aside,
// sealed. A ledger and the verifiers know the new key as another validator. The
// signer must not be running.
func Rotate(ctx context.Context, cfg agent.Config, dev *device.Device, c Conditions) (*seal.Key, *seal.Recovery, error) {
	dir, err := statedir.Open(Dir(cfg))
	if err != nil {
		return nil, nil, err
	}
	defer dir.Close()
	old, err := readKey(dir)
	if err != nil {
		return nil, nil, err
	}
	if err := dir.Mkdir(retiredDir); err != nil {
		return nil, nil, err
	}
	if err := dir.Write(retiredDir+"/"+shortName(old.Marshal()), old.Marshal()); err != nil {
		return nil, nil, err
	}
	at, err := readPosition(statePath(cfg))
	if err != nil {
		return nil, nil, err
	}
	above := stateBytes(position{Height: at.Height + 1}) // safe for the old key too, should we be cut off
	return place(ctx, cfg, dev, dir, c, above, func(t seal.Terms) (*seal.Key, *seal.Recovery, error) {
		if t.Bank == old.Terms.Bank {
			t.Cap = old.Terms.Cap // the present value is that of a boot in which the old key was released
		}
		return seal.Create(ctx, dev, t, c.Recipient)
	})
}
