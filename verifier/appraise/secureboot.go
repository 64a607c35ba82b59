package appraise

import (
	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/verdict"
)

// lists are the parts of Secure Boot that are looked up in manifests.
var lists = []struct {
	use   policy.Use
	kind  policy.Kind
	check verdict.CheckID
	items items
}{
	{policy.UsePK, policy.KindPK, verdict.SecureBootPK, variable(func(s *eventlog.SecureBoot) *eventlog.Variable { return &s.PK }, "PK")},
	{policy.UseKEK, policy.KindKEK, verdict.SecureBootKEK, variable(func(s *eventlog.SecureBoot) *eventlog.Variable { return &s.KEK }, "KEK")},
	{policy.UseDB, policy.KindDB, verdict.SecureBootDB, variable(func(s *eventlog.SecureBoot) *eventlog.Variable { return &s.DB }, "db")},
	{policy.UseDBX, policy.KindDBX, verdict.SecureBootDBX, variable(func(s *eventlog.SecureBoot) *eventlog.Variable { return &s.DBX }, "dbx")},
	{policy.UseAuthorities, policy.KindAuthority, verdict.SecureBootAuthority, authorityItems},
	{policy.UseMOK, policy.KindMOK, verdict.SecureBootMOK, mokItems},
}

// variable returns a variable to look up. One that was never measured has no
// digest, which no manifest can list.
func variable(of func(*eventlog.SecureBoot) *eventlog.Variable, name string) items {
	return func(f *eventlog.Facts, visit func(item)) { visit(item{of(&f.SecureBoot).Measurement, name}) }
}

func authorityItems(f *eventlog.Facts, visit func(item)) {
	for i := range f.SecureBoot.Authorities {
		visit(item{f.SecureBoot.Authorities[i].Measurement, f.SecureBoot.Authorities[i].NameClaimed})
	}
}

func mokItems(f *eventlog.Facts, visit func(item)) {
	for i := range f.Shim.Lists {
		visit(item{f.Shim.Lists[i].Measurement, f.Shim.Lists[i].NameClaimed})
	}
}

func (b *boot) secureBoot() {
	s := b.p.SecureBoot
	if s.Required {
		b.secureBootOn(s.Mode)
	}
	b.weakened(s.Mode)
	for _, l := range lists {
		if b.set.Uses(l.use) {
			b.listed(l.check, s.Mode, l.use, l.items)
		}
	}
}

func (b *boot) secureBootOn(mode policy.Mode) {
	f := &b.facts.SecureBoot
	c := b.begin(verdict.SecureBootOff, mode)
	switch {
	case !f.Known:
		c.find("boot log", "SecureBoot not measured", "SecureBoot = 1")
	case !f.Enabled:
		c.find(item{eventlog.Measurement{Event: f.Event, PCR: 7}, "SecureBoot"}.where(), "SecureBoot = 0", "SecureBoot = 1")
	}
	c.end()
	c = b.begin(verdict.SecureBootMode, mode)
	if f.SetupMode != nil && *f.SetupMode {
		c.find("PCR 7", "SetupMode = 1", "SetupMode = 0")
	}
	if f.AuditMode != nil && *f.AuditMode {
		c.find("PCR 7", "AuditMode = 1", "AuditMode = 0")
	}
	if f.Known && f.PK.Empty {
		c.find(item{f.PK.Measurement, "PK"}.where(), "no platform key", "a platform key")
	}
	c.end()
}

// weakened refuses whatever the firmware itself reports in PCR 7, such as "UEFI
// Debug Mode": firmware measures actions there only to say that its protection is
// off. It is judged whether Secure Boot is required or not.
func (b *boot) weakened(mode policy.Mode) {
	c := b.begin(verdict.SecureBootWeakened, mode)
	for _, a := range b.facts.SecureBoot.Actions {
		c.find(item{a.Measurement, ""}.where(), a.Text, "no such action")
	}
	c.end()
}
