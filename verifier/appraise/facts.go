package appraise

import (
	"slices"

	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/policy"
)

// ruleFacts copies what a log measured into the facts that rules see. Nothing
// that is only claimed is copied, nor what no rule reads: most rules look at one
// list, while a log has thousands of texts and digests.
func ruleFacts(f *eventlog.Facts, tpm TPM, firmware uint64, reads func(field string) bool) *policy.Facts {
	c := copier{reads, reads("digest")}
	chip := policy.TPMFacts{Class: tpm.Class, Vendor: tpm.Vendor, Model: tpm.Model}
	if reads("firmware") {
		chip.Firmware = policy.FirmwareVersion(firmware).String()
	}
	return &policy.Facts{
		TPM: chip,
		Firmware: policy.FirmwareFacts{
			Version: f.Firmware.Version,
			Blobs:   read(c, "blobs", f.Firmware.Blobs, func(b *eventlog.Blob) policy.Measured { return c.measured(b.Measurement) }),
			Config:  read(c, "config", f.Firmware.Config, func(m *eventlog.Measurement) policy.Measured { return c.measured(*m) }),
		},
		SecureBoot: c.secureBoot(&f.SecureBoot),
		Boot:       c.boot(f),
	}
}

func each[A, B any](all []A, convert func(A) B) []B {
	out := make([]B, len(all))
	for i, a := range all {
		out[i] = convert(a)
	}
	return out
}

// copier makes the facts that rules read.
type copier struct {
	reads   func(field string) bool
	digests bool // a rule reads digests of events
}

// read is each for a field that a rule reads.
func read[A, B any](c copier, field string, all []A, convert func(*A) B) []B {
	if !c.reads(field) {
		return nil
	}
	out := make([]B, len(all))
	for i := range all {
		out[i] = convert(&all[i])
	}
	return out
}

func (c copier) measured(m eventlog.Measurement) policy.Measured {
	out := policy.Measured{Event: int64(m.Event), PCR: int64(m.PCR)}
	if c.digests {
		out.Digest = m.Digest.String()
	}
	return out
}

// variable always has its digest, without which two could look the same. The
// digest of its value costs a hash.
func (c copier) variable(v *eventlog.Variable) policy.VariableFact {
	f := policy.VariableFact{Name: v.Name, Digest: v.Digest.String(), Size: int64(v.Size)}
	if c.reads("data") {
		f.Data = v.Data.String()
	}
	return f
}

func isTrue(b *bool) bool { return b != nil && *b }

func (c copier) secureBoot(s *eventlog.SecureBoot) policy.SecureBootFacts {
	f := policy.SecureBootFacts{
		Enabled: s.Known && s.Enabled, SetupMode: isTrue(s.SetupMode), AuditMode: isTrue(s.AuditMode), Deployed: isTrue(s.Deployed),
		Authorities: read(c, "authorities", s.Authorities, func(a *eventlog.Authority) policy.Measured { return c.measured(a.Measurement) }),
	}
	if c.reads("variables") {
		variables := append([]eventlog.Variable{s.PK, s.KEK, s.DB, s.DBX}, s.Others...)
		f.Variables = read(c, "variables", variables, c.variable)
	}
	return f
}

func text(m eventlog.Measurement, s string) policy.TextFact {
	return policy.TextFact{Event: int64(m.Event), PCR: int64(m.PCR), Text: s}
}

func (c copier) boot(f *eventlog.Facts) policy.BootFacts {
	return policy.BootFacts{
		Profile:      string(f.Profile),
		Images:       read(c, "images", f.Images, func(i *eventlog.Image) policy.Measured { return c.measured(i.Measurement) }),
		Kernels:      read(c, "kernels", f.Kernels, func(k *eventlog.Kernel) policy.Measured { return c.measured(k.Measurement) }),
		Initrds:      read(c, "initrds", f.Initrds, func(i *eventlog.Initrd) policy.Measured { return c.measured(i.Measurement) }),
		CommandLines: read(c, "commandLines", f.CommandLines, func(l *eventlog.CommandLine) policy.TextFact { return text(l.Measurement, l.Text) }),
		Commands:     read(c, "commands", f.Grub.Commands, func(g *eventlog.Command) policy.TextFact { return text(g.Measurement, g.Text) }),
		Files:        read(c, "files", f.Grub.Files, func(g *eventlog.File) policy.Measured { return c.measured(g.Measurement) }),
		Actions:      c.actions(f),
		Order:        order(&f.Boot),
		SBAT:         f.Shim.SBAT,
		Lists:        read(c, "lists", f.Shim.Lists, func(b *eventlog.Blob) policy.Measured { return c.measured(b.Measurement) }),
		Sections:     read(c, "sections", f.UKI.Sections, func(s *eventlog.Section) policy.Measured { return c.measured(s.Measurement) }),
		Partitions:   c.partitions(f.GPT),
	}
}

func (c copier) actions(f *eventlog.Facts) []policy.TextFact {
	if !c.reads("actions") {
		return nil
	}
	return each(slices.Concat(f.SecureBoot.Actions, f.Boot.Actions), func(a eventlog.Action) policy.TextFact { return text(a.Measurement, a.Text) })
}

// order is empty where the firmware measures a variable's value without its name:
// there, whoever writes the log chooses which value is called the boot order.
func order(b *eventlog.Boot) []int64 {
	if b.OrderFrom != eventlog.Measured {
		return nil
	}
	return each(b.Order, func(n int) int64 { return int64(n) })
}

func (c copier) partitions(tables []eventlog.GPT) (all []policy.Partition) {
	if !c.reads("partitions") {
		return nil
	}
	for _, t := range tables {
		for _, p := range t.Partitions {
			all = append(all, policy.Partition{Disk: t.Disk, Type: p.Type, ID: p.ID, Name: p.Name})
		}
	}
	return all
}
