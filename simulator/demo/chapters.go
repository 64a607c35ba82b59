package demo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/site"
)

const (
	member         = "org-a"
	consortiumName = "demo-net"
	badArgument    = "init=/bin/sh"
	miner          = "/tmp/.cache/miner"
)

func (d *demo) openVerifier(ctx context.Context) (err error) {
	d.chapter("A consortium opens its door",
		"One verifier stands before the ledger. No machine votes until its hardware has proved what it is.")
	d.site, err = site.New(ctx, site.Options{
		Bin: d.Bin, Dir: d.dir, Host: "127.0.0.1", Verifier: "verifier.org-a.example", Member: member,
		Consortium: consortiumName, LedgerID: "demo-1",
	})
	if err != nil {
		return err
	}
	d.command("quorate-verifier init", "keys, consortium file, trust in one TPM vendor")
	d.command("quorate-verifier run", "gRPC on loopback; its journal is a Merkle log on disk")
	return nil
}

func (d *demo) powerOn(ctx context.Context) error {
	d.chapter("Four machines power on",
		"Each has a TPM of its own (swtpm) with a vendor's certificate, and measures its boot into it:\nfirmware, Secure Boot keys, shim, GRUB, kernel, command line, then every program it runs.")
	for i := range 4 {
		boot, note := bootlog.Debian(), "boots as agreed"
		if i == 3 {
			boot.CommandLine += " " + badArgument
			note = "boots with one more kernel argument: " + badArgument
		}
		h, err := d.newHost(ctx, fmt.Sprintf("validator-%d", i+1), boot)
		if err != nil {
			return err
		}
		d.machine(h.ID, note)
	}
	return nil
}

// newHost builds a machine of the simulated vendor and boots it.
func (d *demo) newHost(ctx context.Context, name string, boot bootlog.Boot) (*site.Host, error) {
	h, err := site.NewHost(ctx, member+"/"+name, filepath.Join(d.dir, name), d.site.ConsortiumFile(), d.site.Vendor)
	if err != nil {
		return nil, err
	}
	d.hosts = append(d.hosts, h)
	return h, h.Boot(boot)
}

func (d *demo) join(ctx context.Context) error {
	d.chapter("They enrol",
		"Only the TPM that holds both the certified endorsement key and the new attestation key\ncan decrypt the verifier's challenge. No private key ever leaves a TPM.")
	for _, h := range d.hosts {
		if err := h.Join(ctx, false, d.site); err != nil {
			return err
		}
		d.command("quorate-agent join", h.ID+": enrolled")
		if err := h.RunAgent(ctx, d.site.Program("quorate-agent")); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) learnPolicy(ctx context.Context) error {
	d.chapter("The members agree on a policy",
		"It is learned from validator-1's evidence, read by a person, signed by an operator, and logged.\nWithout a policy nobody is admitted.")
	first := d.hosts[0]
	if _, err := d.await(ctx, first.ID, "seen", func(n NodeView) bool { return n.Evidence != "" }); err != nil {
		return err
	}
	policy := filepath.Join(d.dir, "policy")
	if _, err := d.site.Quorate(ctx, nil, "policy", "learn", first.ID, "--out", policy, "--challenge-every", challengeEvery.String(), "--late-after", "30s"); err != nil {
		return err
	}
	d.command("quorate policy learn", first.ID+": images, kernel, initrd, command line, programs by digest")
	if _, err := d.site.Quorate(ctx, nil, "policy", "approve", policy); err != nil {
		return err
	}
	d.command("quorate policy approve", "in force; every node is challenged at once")
	return nil
}

func (d *demo) decide(ctx context.Context) error {
	d.chapter("Every machine proves itself", "A fresh nonce, one quote, the boot log and the list of programs: checked event by event.")
	for _, h := range d.hosts[:3] {
		n, err := d.await(ctx, h.ID, "admitted", func(n NodeView) bool { return n.State == "admitted" && n.Serial > 0 })
		if err != nil {
			return err
		}
		d.result.Admitted = append(d.result.Admitted, h.ID)
		d.admitted(h.ID, fmt.Sprintf("admission %d", n.Serial))
	}
	last := d.hosts[3]
	n, err := d.await(ctx, last.ID, "refused", func(n NodeView) bool { return n.found("boot.command-line") })
	if err != nil {
		return err
	}
	d.refused(last.ID, "not admitted; it gets no vote")
	f := n.first("boot.command-line")
	d.result.Refused = []Verdict{{ID: last.ID, Check: f.Check, Got: f.Got}}
	d.finding(f)
	d.more("quorate node explain " + last.ID)
	return nil
}

func (n NodeView) found(check string) bool {
	return slices.ContainsFunc(n.Findings, func(f Finding) bool { return f.Check == check })
}

func (n NodeView) first(check string) Finding {
	i := slices.IndexFunc(n.Findings, func(f Finding) bool { return f.Check == check })
	if i < 0 {
		return Finding{}
	}
	return n.Findings[i]
}

func (d *demo) bundleFile() string { return d.hosts[2].Bundle() }

func (d *demo) showAdmission(ctx context.Context) error {
	victim := d.hosts[2]
	d.chapter("What a ledger sees",
		"The node carries a bundle: the verifier's signed statement and the proof that it is in the journal.\nA ledger checks it offline, in microseconds, before it gives the node power.")
	if err := site.Poll(ctx, func() bool { _, err := os.Stat(d.bundleFile()); return err == nil }, victim.Agent()); err != nil {
		return err
	}
	text, err := os.ReadFile(d.bundleFile())
	if err != nil {
		return err
	}
	d.excerpt(string(text))
	if err := d.verify(ctx, &d.result.Bundle.Before); err != nil {
		return err
	}
	d.command("quorate admission verify", victim.ID+": "+d.result.Bundle.Before)
	if d.result.Bundle.Before != "verified" {
		return errors.New("the bundle of an admitted node does not verify")
	}
	return nil
}

// verify checks the victim's bundle offline, with further arguments.
func (d *demo) verify(ctx context.Context, verdict *string, args ...string) error {
	n, err := d.node(ctx, d.hosts[2].ID)
	if err != nil {
		return err
	}
	var said struct {
		Refusal *Finding `json:"refusal"`
	}
	refused, err := d.site.Quorate(ctx, &said, append([]string{
		"admission", "verify", d.bundleFile(), "--role", "validator", "--node-key", n.NodeKey}, args...)...)
	*verdict = "verified"
	if refused {
		*verdict = "refused"
	}
	if said.Refusal != nil {
		d.result.Bundle.Reason = said.Refusal.Check + ": " + said.Refusal.Got
	}
	return err
}

func (d *demo) attack(ctx context.Context) error {
	victim := d.hosts[2]
	d.chapter("An attack",
		"Somebody breaks into "+victim.ID+" and starts "+miner+". The kernel measures it before it runs.")
	if err := victim.Exec(miner, sha256.Sum256([]byte("miner"))); err != nil {
		return err
	}
	began := time.Now()
	n, err := d.await(ctx, victim.ID, "suspended", func(n NodeView) bool { return n.State == "suspended" })
	if err != nil {
		return err
	}
	elapsed := time.Since(began)
	d.result.Suspension = Suspension{Program: miner, Seconds: elapsed.Round(10 * time.Millisecond).Seconds()}
	d.suspended(victim.ID, fmt.Sprintf("%.1f s later (challenges every %s)", elapsed.Seconds(), challengeEvery))
	f := n.first("runtime.ima-unlisted")
	d.finding(f)
	path, _, _ := strings.Cut(f.Got, " ")
	if path != miner {
		return fmt.Errorf("suspended for %q, not for %s", f.Got, miner)
	}
	d.result.Suspended = []Verdict{{ID: victim.ID, Check: f.Check, Got: f.Got, Path: path}}
	return nil
}

func (d *demo) rosterRefuses(ctx context.Context) error {
	d.chapter("The ledger hears of it",
		"The old bundle is still well signed. The roster, also signed, says that it no longer counts,\nand the suspended node gets no new one.")
	roster := filepath.Join(d.dir, "roster")
	err := site.Poll(ctx, func() bool {
		if _, err := d.site.Quorate(ctx, nil, "admission", "roster", "--out", roster); err != nil {
			return false
		}
		text, err := os.ReadFile(roster)
		return err == nil && strings.Contains(string(text), d.hosts[2].ID+" suspended ")
	})
	if err != nil {
		return fmt.Errorf("waiting for the roster: %w", err)
	}
	if err := d.verify(ctx, &d.result.Bundle.After, "--roster", roster); err != nil {
		return err
	}
	d.command("quorate admission verify --roster", d.hosts[2].ID+": "+d.result.Bundle.After+"\n"+d.result.Bundle.Reason)
	if d.result.Bundle.After != "refused" {
		return errors.New("the roster did not refuse the suspended node's bundle")
	}
	return nil
}
