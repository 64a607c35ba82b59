package appraise

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/ima"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/verdict"
)

// Sample is one good boot to learn from.
type Sample struct {
	Evidence *evidence.Verified // with the IMA list from its first entry
	TPM      TPM                // of the node
}

// Lesson says what a learned policy is called and who it is for.
type Lesson struct {
	Name         string   // of the policy; manifests are called Name-boot and so on
	Version      int      // of the policy
	Publisher    string   // of the manifests
	Roles        []string // the policy's
	CommandLines []string // texts of command lines that the log holds only digests of; may be empty
}

// Learn writes the policy and manifests that admit what the samples booted and
// ran, and nothing else that could run. Every sample is then appraised with the
// result; one that even its own policy refuses (IMA violations, a kexec, Secure
// Boot in setup mode) is no good boot, and the error says why.
//
// What decides is which code and which command lines there were, not how often
// each was measured, nor in which order the lists were read. Firmware settings,
// boot entries and partition tables (PCR 1, 3 and 5) differ between good hosts and
// are left to rules that an owner writes.
//
// It learns what it is shown: whether those hosts were good, only their owners
// can know.
func Learn(lesson Lesson, samples []Sample, now time.Time) (*policy.Policy, []*policy.Manifest, error) {
	if len(samples) == 0 {
		return nil, nil, errors.New("appraise: nothing to learn from")
	}
	l := &learner{lesson: lesson, entries: map[string][]policy.Entry{}, policy: &policy.Policy{
		Name: lesson.Name, Version: lesson.Version, Roles: slices.Sorted(slices.Values(lesson.Roles)),
		SecureBoot: policy.SecureBoot{Required: true},
		Timing:     policy.Timing{ChallengeEvery: 30 * time.Second, LateAfter: 90 * time.Second, AdmissionFor: 24 * time.Hour},
	}}
	for _, s := range samples {
		if err := l.sample(s); err != nil {
			return nil, nil, err
		}
	}
	l.refer()
	l.require()
	p, manifests, err := l.parsed()
	if err != nil {
		return nil, nil, err
	}
	return p, manifests, examine(p, manifests, samples, now)
}

// The manifests of a lesson.
const (
	partFirmware   = "firmware"
	partSecureBoot = "secureboot"
	partBoot       = "boot"
	partRuntime    = "runtime"
)

type learner struct {
	lesson  Lesson
	policy  *policy.Policy
	entries map[string][]policy.Entry // by part
	samples int                       // learned from
	shown   [3]map[int]int            // samples by register, for each of stages
}

func (l *learner) name(part string) string { return l.lesson.Name + "-" + part }

// add puts in all items but variables that were never measured.
func (l *learner) add(f *eventlog.Facts, part string, kind policy.Kind, all items) {
	all(f, func(i item) {
		if i.Digest != "" {
			l.entries[part] = append(l.entries[part], policy.Entry{Kind: kind, Digest: i.Digest.String(), Comment: comment(i.name)})
		}
	})
}

// comment makes claimed text fit for a manifest. The host chose it.
func comment(claimed string) string {
	s := strings.TrimSpace(verdict.Quote(claimed))
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "")
	}
	return s
}

func (l *learner) sample(s Sample) error {
	f := s.Evidence.Facts()
	l.tpm(s)
	l.add(f, partFirmware, policy.KindFirmware, firmwareItems)
	l.policy.SecureBoot.Required = l.policy.SecureBoot.Required && f.SecureBoot.Known && f.SecureBoot.Enabled
	for _, list := range lists {
		l.add(f, partSecureBoot, list.kind, list.items)
	}
	l.stages(f)
	l.add(f, partBoot, policy.KindImage, imageItems)
	l.add(f, partBoot, policy.KindKernel, kernelItems)
	l.add(f, partBoot, policy.KindInitrd, initrdItems)
	l.add(f, partBoot, policy.KindLoaderCommand, commandItems)
	l.add(f, partBoot, policy.KindLoaderFile, loaderItems)
	l.add(f, partBoot, policy.KindEvent, otherItems)
	l.policy.Boot.Profiles = insert(l.policy.Boot.Profiles, string(f.Profile))
	for _, line := range f.CommandLines {
		if i := slices.IndexFunc(l.lesson.CommandLines, line.Matches); i >= 0 {
			l.policy.Boot.CommandLine = insert(l.policy.Boot.CommandLine, l.lesson.CommandLines[i])
		} else if line.Matches(line.Text) {
			l.policy.Boot.CommandLine = insert(l.policy.Boot.CommandLine, line.Text)
		} else {
			return fmt.Errorf("appraise: event %d measured a kernel command line without its text (%s); give the text, from /proc/cmdline of that host", line.Event, line.Digest)
		}
	}
	return l.runtime(s.Evidence.IMA())
}

// tpm accepts the sample's class, and its firmware version or later.
func (l *learner) tpm(s Sample) {
	t := &l.policy.TPM
	t.Classes = insert(t.Classes, s.TPM.Class)
	if s.TPM.Vendor == "" {
		return
	}
	if t.MinFirmware == nil {
		t.MinFirmware = map[string]string{}
	}
	version := policy.FirmwareVersion(s.Evidence.Firmware())
	old, err := policy.ParseFirmwareVersion(t.MinFirmware[s.TPM.Vendor])
	if err != nil || version < old {
		t.MinFirmware[s.TPM.Vendor] = version.String()
	}
}

func (l *learner) runtime(segment *ima.Segment) error {
	if segment.Start.Entries != 0 {
		return fmt.Errorf("appraise: the IMA list starts at entry %d; learning needs all of it", segment.Start.Entries)
	}
	for e := range segment.Entries() {
		if e.Kind != ima.KindFile && e.Kind != ima.KindBuffer {
			continue // judged by kind; examine refuses what no policy can list
		}
		if e.DigestAlg != "sha256" || !utf8.Valid(e.Path) {
			return fmt.Errorf("appraise: %s cannot be listed: %s %s", place(e.Index), e.DigestText(), verdict.Quote(string(e.Path)))
		}
		kind := policy.KindFile
		if e.Kind == ima.KindBuffer {
			kind = policy.KindBuffer
		}
		l.entries[partRuntime] = append(l.entries[partRuntime], policy.Entry{Kind: kind, Digest: e.DigestText(), Path: string(e.Path)})
	}
	return nil
}

// refer writes the policy's references to whatever was found.
func (l *learner) refer() {
	has := func(part string, kind policy.Kind) *policy.References {
		if !slices.ContainsFunc(l.entries[part], func(e policy.Entry) bool { return e.Kind == kind }) {
			return nil
		}
		return &policy.References{Manifests: []string{l.name(part)}}
	}
	p := l.policy
	if r := has(partFirmware, policy.KindFirmware); r != nil {
		p.Firmware = &policy.Firmware{Code: *r}
	}
	s := &p.SecureBoot
	s.PK, s.KEK = has(partSecureBoot, policy.KindPK), has(partSecureBoot, policy.KindKEK)
	s.DB, s.DBX = has(partSecureBoot, policy.KindDB), has(partSecureBoot, policy.KindDBX)
	s.Authorities, s.MOK = has(partSecureBoot, policy.KindAuthority), has(partSecureBoot, policy.KindMOK)
	p.Boot.Images = policy.References{Manifests: []string{l.name(partBoot)}}
	p.Boot.Kernel = p.Boot.Images
	p.Boot.Initrd, p.Boot.Other = has(partBoot, policy.KindInitrd), has(partBoot, policy.KindEvent)
	p.Boot.LoaderCommands = has(partBoot, policy.KindLoaderCommand)
	p.Boot.LoaderFiles = has(partBoot, policy.KindLoaderFile)
	if len(l.entries[partRuntime]) > 0 {
		p.Runtime = &policy.IMA{Required: true, Manifests: []string{l.name(partRuntime)}}
	}
}

// parsed puts the result through the same loader as any other policy. Samples that
// agree on an entry write it once; if they differ in its comment, the first in order
// stays.
func (l *learner) parsed() (*policy.Policy, []*policy.Manifest, error) {
	p, err := policy.Parse(l.policy.Print())
	if err != nil {
		return nil, nil, fmt.Errorf("appraise: these boots make no policy: %w", err)
	}
	var manifests []*policy.Manifest
	for _, name := range p.Manifests() {
		part := strings.TrimPrefix(name, l.lesson.Name+"-")
		entries := l.entries[part]
		slices.SortFunc(entries, func(a, b policy.Entry) int {
			return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.Comment, b.Comment))
		})
		entries = slices.CompactFunc(entries, func(a, b policy.Entry) bool {
			return a.Kind == b.Kind && a.Path == b.Path && a.Digest == b.Digest
		})
		m := &policy.Manifest{
			Name: name, Publisher: l.lesson.Publisher, Package: "learned " + part, Version: fmt.Sprint(l.lesson.Version), Entries: entries,
		}
		if m, err = policy.ParseManifest(m.Print()); err != nil {
			return nil, nil, fmt.Errorf("appraise: manifest %s: %w", name, err)
		}
		manifests = append(manifests, m)
	}
	return p, manifests, nil
}

// examine appraises every sample with what was learned from it.
func examine(p *policy.Policy, manifests []*policy.Manifest, samples []Sample, now time.Time) error {
	set, err := policy.NewSet(p, manifests)
	if err != nil {
		return err
	}
	for _, s := range samples {
		v := Appraise(set, s.Evidence, History{TPM: s.TPM}, now)
		if v.Decision == verdict.Admitted {
			continue
		}
		var why []string
		for _, f := range v.Findings {
			why = append(why, f.String())
		}
		return fmt.Errorf("appraise: the boot of %s is not one to learn from: %s", s.Evidence.Node(), strings.Join(why, "; "))
	}
	return nil
}

// insert adds to a sorted list without repeating.
func insert(all []string, s string) []string {
	i, found := slices.BinarySearch(all, s)
	if found {
		return all
	}
	return slices.Insert(all, i, s)
}
