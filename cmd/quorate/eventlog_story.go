package main

import (
	"fmt"
	"strings"

	"github.com/quorate/quorate/verifier/eventlog"
)

// teller tells the stages of one boot.
type teller struct {
	c *cli
	f *eventlog.Facts
}

func (c *cli) printLog(v logView, events bool) {
	if v.Facts != nil {
		c.say("A complete boot of the profile %s: %d events, startup locality %d, bank %s.", v.Profile, v.Facts.EventCount, v.Facts.Locality, v.Bank)
		c.say("A measured text is covered by its digest; a claimed one stands beside it, for people only.")
		t := teller{c, v.Facts}
		t.firmware()
		t.secureBoot()
		t.bootManager()
		t.shim()
		t.grub()
		t.uki()
		t.kernel()
		t.rest()
	}
	if events {
		c.printEvents(v.Events)
	}
	c.printPCRs(v.Banks)
	if v.Problem != nil {
		c.stage("Not a boot that a verifier would accept")
		c.findingBlock("  ", *v.Problem)
	}
}

func (c *cli) stage(name string) { fmt.Fprintf(c.out, "\n%s\n", c.paint(bold, name)) }

// fact prints one measurement: where, whether its text was measured, what.
func (t teller) fact(m eventlog.Measurement, from, text string) {
	t.c.say("  event %3d  PCR %-2d  %-8s  %s", m.Event, m.PCR, from, text)
	t.c.say("  %30s%s", "", m.Digest)
}

// The two kinds of text, and digests without any.
const (
	measured = "measured"
	claimed  = "claimed"
	digest   = "digest"
)

func (t teller) firmware() {
	t.c.stage("Firmware")
	fw := t.f.Firmware
	if fw.Version != "" {
		t.c.say("  event %3d  PCR 0   %-8s  version %s", fw.VersionEvent, measured, fw.Version)
	} else if fw.VersionClaimed != "" {
		t.c.say("  event %3d  PCR 0   %-8s  version %s", fw.VersionEvent, claimed, fw.VersionClaimed)
	}
	for _, b := range fw.Blobs {
		t.fact(b.Measurement, claimed, "firmware "+b.NameClaimed)
	}
	if n := len(fw.Config); n > 0 {
		t.c.say("  %s of configuration, by digest", count(n, "event", "events"))
	}
}

func (t teller) secureBoot() {
	t.c.stage("Secure Boot")
	sb := t.f.SecureBoot
	switch {
	case !sb.Known:
		t.c.say("  not measured")
	case sb.Enabled:
		fmt.Fprintf(t.c.out, "  %s\n", t.c.paint(green, "on"))
	default:
		fmt.Fprintf(t.c.out, "  %s\n", t.c.paint(red, "off"))
	}
	for _, v := range append([]eventlog.Variable{sb.PK, sb.KEK, sb.DB, sb.DBX}, sb.Others...) {
		if v.Name != "" {
			t.fact(v.Measurement, measured, fmt.Sprintf("variable %s, %d bytes", v.Name, v.Size))
		}
	}
	for _, a := range sb.Authorities {
		t.fact(a.Measurement, a.From.String(), "an entry of "+a.NameClaimed+" vouched for an image")
	}
	for _, a := range sb.Actions {
		t.fact(a.Measurement, measured, "firmware reports: "+a.Text)
	}
}

func (t teller) bootManager() {
	t.c.stage("Boot manager")
	for _, e := range t.f.Boot.Entries {
		t.fact(e.Measurement, e.NameFrom.String(), strings.TrimSpace(e.Name+" "+e.Description+" "+e.Path))
	}
	for _, g := range t.f.GPT {
		t.fact(g.Measurement, measured, fmt.Sprintf("partition table of disk %s, %s", g.Disk, count(len(g.Partitions), "partition", "partitions")))
	}
	for _, a := range t.f.Boot.Actions {
		t.fact(a.Measurement, measured, a.Text)
	}
	for _, i := range t.f.Images {
		t.fact(i.Measurement, claimed, "loaded "+i.Stage+" "+i.PathClaimed)
	}
}

func (t teller) shim() {
	if !t.f.Shim.Present {
		return
	}
	t.c.stage("Shim")
	for _, l := range t.f.Shim.Lists {
		t.fact(l.Measurement, claimed, "list "+l.NameClaimed)
	}
	if t.f.Shim.SBAT != "" {
		t.c.say("  SBAT level, measured: %s", strings.ReplaceAll(strings.TrimSpace(t.f.Shim.SBAT), "\n", "; "))
	}
}

func (t teller) grub() {
	if !t.f.Grub.Present {
		return
	}
	t.c.stage("GRUB")
	for _, cmd := range t.f.Grub.Commands {
		t.fact(cmd.Measurement, measured, cmd.Text)
	}
	for _, f := range t.f.Grub.Files {
		t.fact(f.Measurement, claimed, "read "+f.PathClaimed)
	}
}

func (t teller) uki() {
	if !t.f.UKI.Present {
		return
	}
	t.c.stage("Unified kernel image")
	for _, s := range t.f.UKI.Sections {
		t.fact(s.Measurement, measured, "section "+s.Name)
	}
	for _, e := range t.f.UKI.Extra {
		t.fact(e.Measurement, claimed, e.NameClaimed)
	}
}

func (t teller) kernel() {
	t.c.stage("Kernel")
	for _, k := range t.f.Kernels {
		t.fact(k.Measurement, claimed, strings.TrimSpace("kernel ("+k.Kind+") "+k.PathClaimed))
	}
	for _, i := range t.f.Initrds {
		t.fact(i.Measurement, claimed, strings.TrimSpace("initrd ("+i.Kind+") "+i.PathClaimed))
	}
	for _, l := range t.f.CommandLines {
		from, text := l.TextFrom.String(), l.Text
		if l.TextFrom != eventlog.Measured {
			from, text = digest, "(text not in the log)"
		}
		t.fact(l.Measurement, from, "command line: "+text)
	}
}

func (t teller) rest() {
	if t.f.ExitBootServices {
		t.c.say("  the firmware was left properly")
	}
	if len(t.f.Unlisted) > 0 {
		t.c.stage("Known by digest alone")
		for _, m := range t.f.Unlisted {
			t.fact(m, digest, "")
		}
	}
	if len(t.f.Oddities) > 0 {
		t.c.stage("Unusual")
		for _, o := range t.f.Oddities {
			t.c.say("  %s", o)
		}
	}
}

func (c *cli) printEvents(events []eventView) {
	c.stage("Events")
	var t table
	t.head("EVENT", "OFFSET", "PCR", "TYPE", "DIGEST", "CLAIMED")
	for _, e := range events {
		t.add(cell{fmt.Sprint(e.Index), plain}, cell{fmt.Sprint(e.Offset), plain}, cell{fmt.Sprint(e.PCR), plain}, cell{e.Type, plain},
			cell{e.Digest[:min(len(e.Digest), 16)] + "…", plain}, cell{e.Description, plain})
	}
	t.print(c)
}

func (c *cli) printPCRs(all map[string]map[string]string) {
	for _, bank := range append(banks, eventlog.SHA1) {
		values, ok := all[bank.String()]
		if !ok {
			continue
		}
		c.stage("PCRs that the log replays to, " + bank.String())
		for pcr := range eventlog.NumPCRs {
			value := values[fmt.Sprint(pcr)]
			if strings.Trim(value, "0") != "" && strings.Trim(value, "f") != "" {
				c.say("  %2d  %s", pcr, value)
			}
		}
	}
}
