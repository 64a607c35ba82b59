package policy

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// MaxManifest is the longest manifest, in bytes: room for two million files and more.
const MaxManifest = 512 << 20

// Status says whether a manifest's entries are still wanted. The zero value is
// Good, but a manifest without a written status does not load.
type Status uint8

const (
	// Good entries are accepted.
	Good Status = iota
	// Outdated entries are accepted with a warning: something newer exists.
	Outdated
	// Revoked entries are refused, whichever other manifest lists them too.
	Revoked
)

// String returns "good", "outdated" or "revoked".
func (s Status) String() string { return [...]string{"good", "outdated", "revoked"}[s] }

// Kind says what an entry's digest is a digest of.
type Kind string

// The kinds of entries, and where the digest stands in the evidence.
const (
	KindImage         Kind = "image"          // Authenticode digest of a PE image (PCR 2 and 4)
	KindKernel        Kind = "kernel"         // a kernel: Authenticode digest or file digest, as the boot chain measures it
	KindInitrd        Kind = "initrd"         // bytes of an initial RAM disk
	KindLoaderCommand Kind = "loader-command" // a command that the boot loader ran (PCR 8)
	KindLoaderFile    Kind = "loader-file"    // another file that the boot loader read (PCR 9)
	KindFirmware      Kind = "firmware"       // firmware code or its version event, as extended (PCR 0)
	KindPK            Kind = "pk"             // value of the platform key variable, SHA-256 as extended (PCR 7)
	KindKEK           Kind = "kek"            // likewise, key exchange keys
	KindDB            Kind = "db"             // likewise, allowed signatures
	KindDBX           Kind = "dbx"            // likewise, forbidden signatures
	KindAuthority     Kind = "authority"      // entry that vouched for an image, as extended (PCR 7)
	KindMOK           Kind = "mok"            // one of shim's lists, as extended (PCR 14)
	KindEvent         Kind = "event"          // an event of no known kind, as extended
	KindFile          Kind = "file"           // a file that was executed, SHA-256 of its content, with its path
	KindBuffer        Kind = "buffer"         // kernel memory that IMA measured, SHA-256, with its name as path
)

var kinds = []string{
	string(KindImage), string(KindKernel), string(KindInitrd), string(KindLoaderCommand), string(KindLoaderFile), string(KindFirmware),
	string(KindPK), string(KindKEK), string(KindDB), string(KindDBX), string(KindAuthority), string(KindMOK),
	string(KindEvent), string(KindFile), string(KindBuffer),
}

// hasPath reports whether entries of the kind bind a path to the digest.
func (k Kind) hasPath() bool { return k == KindFile || k == KindBuffer }

// Entry is one reference value.
type Entry struct {
	Kind    Kind
	Digest  string // "sha256:<hex>"
	Path    string // kinds file and buffer only: matched together with the digest
	Comment string // for people, never matched; may be empty
}

func (e Entry) compare(f Entry) int {
	return cmp.Or(cmp.Compare(e.Kind, f.Kind), cmp.Compare(e.Path, f.Path), cmp.Compare(e.Digest, f.Digest))
}

// Manifest is a published list of reference values.
type Manifest struct {
	Name      string    // how policies refer to it
	Publisher string    // who says so
	Package   string    // what it is about
	Version   string    // which version of it
	Status    Status    //
	Since     time.Time // from when the status holds; zero if good
	Entries   []Entry   // sorted, never empty
}

// ParseManifest reads a manifest. The error is an *Error with every problem found.
//
// What Print wrote may have MaxManifest bytes. Any other text is read as YAML, which
// costs far more memory, and may hold only so many values, see decoder.document.
func ParseManifest(text []byte) (*Manifest, error) {
	if m, ok := canonicalManifest(text); ok {
		return m, nil
	}
	d := &decoder{}
	m := d.manifest(text)
	if err := refuse("manifest", d.problems); err != nil {
		return nil, err
	}
	return m, nil
}

// canonicalManifest reads a manifest whose entries are as Print writes them. The
// lines before the second entry are read as YAML, as in any other manifest.
func canonicalManifest(text []byte) (*Manifest, bool) {
	if len(text) > MaxManifest {
		return nil, false
	}
	head, tail := splitEntries(text)
	entries, ok := canonicalEntries(tail)
	if !ok {
		return nil, false
	}
	d := &decoder{}
	m := d.manifest(head)
	if len(d.problems) > 0 || len(m.Entries) != 1 || m.Entries[0].compare(entries[0]) >= 0 {
		return nil, false
	}
	m.Entries = slices.Insert(entries, 0, m.Entries[0])
	return m, true
}

func (d *decoder) manifest(text []byte) *Manifest {
	root := d.document(text, MaxManifest)
	if root == nil {
		return nil
	}
	m := &Manifest{}
	d.mapping(root, "", []field{
		{"manifest", true, func(n *yaml.Node) { d.oneOf(n, "manifest", Version) }},
		{"name", true, func(n *yaml.Node) { m.Name = d.name(n, "name") }},
		{"publisher", true, func(n *yaml.Node) { m.Publisher = d.prose(n, "publisher") }},
		{"package", true, func(n *yaml.Node) { m.Package = d.prose(n, "package") }},
		{"version", true, func(n *yaml.Node) { m.Version = d.prose(n, "version") }},
		{"status", true, func(n *yaml.Node) { m.Status = d.status(n) }},
		{"since", false, func(n *yaml.Node) { m.Since = d.date(n, "since") }},
		{"entries", true, func(n *yaml.Node) {
			d.list(n, "entries", func(n *yaml.Node, key string) { m.Entries = append(m.Entries, d.reference(n, key)) })
		}},
	})
	if m.Status == Good && !m.Since.IsZero() {
		d.add(root.Line, "since", "is only for a status of outdated or revoked")
	}
	if m.Status != Good && m.Since.IsZero() {
		d.add(root.Line, "since", "is missing: from when is it %s?", m.Status)
	}
	d.distinct(root.Line, m)
	return m
}

// distinct sorts the entries and refuses two that say the same.
func (d *decoder) distinct(line int, m *Manifest) {
	slices.SortStableFunc(m.Entries, Entry.compare)
	for i := 1; i < len(m.Entries); i++ {
		if m.Entries[i].compare(m.Entries[i-1]) == 0 {
			d.add(line, "entries", "%s %s%s appears twice", m.Entries[i].Kind, bounded(m.Entries[i].Path+" "), m.Entries[i].Digest)
		}
	}
}

func (d *decoder) status(n *yaml.Node) Status {
	switch d.oneOf(n, "status", "good", "outdated", "revoked") {
	case "outdated":
		return Outdated
	case "revoked":
		return Revoked
	}
	return Good
}

func (d *decoder) reference(n *yaml.Node, key string) (e Entry) {
	d.mapping(n, key, []field{
		{"kind", true, func(n *yaml.Node) { e.Kind = Kind(d.oneOf(n, key+".kind", kinds...)) }},
		{"digest", true, func(n *yaml.Node) { e.Digest = d.digest(n, key+".digest") }},
		{"path", false, func(n *yaml.Node) { e.Path, _ = d.text(n, key+".path") }},
		{"comment", false, func(n *yaml.Node) { e.Comment = d.prose(n, key+".comment") }},
	})
	switch {
	case !e.Kind.hasPath() && e.Path != "":
		d.add(n.Line, key+".path", "only the kinds file and buffer match a path; use comment to name other things")
	case e.Kind.hasPath() && !validPath(e.Path):
		d.add(n.Line, key+".path", "is missing or too long: a digest is accepted at one path only, of at most 4096 bytes")
	case e.Kind.hasPath() && !strings.HasPrefix(e.Digest, "sha256:"):
		d.add(n.Line, key+".digest", "must be sha256, which is what IMA measures files with")
	}
	return e
}

func validPath(s string) bool {
	return s != "" && len(s) <= 4096 && !strings.ContainsRune(s, 0) && !strings.ContainsRune(s, '\uFFFD')
}

// Print returns the canonical text of the manifest.
func (m *Manifest) Print() []byte {
	var b bytes.Buffer
	b.Grow(256 + 160*len(m.Entries))
	for _, pair := range [][2]string{
		{"manifest", Version}, {"name", word(m.Name)}, {"publisher", quoted(m.Publisher)},
		{"package", quoted(m.Package)}, {"version", quoted(m.Version)}, {"status", m.Status.String()},
	} {
		b.WriteString(pair[0] + ": " + pair[1] + "\n")
	}
	if m.Status != Good {
		b.WriteString("since: " + formatDate(m.Since) + "\n")
	}
	b.WriteString("entries:\n")
	for _, e := range m.Entries {
		b.WriteString("  - {kind: " + string(e.Kind))
		if e.Path != "" {
			b.WriteString(", path: " + quoted(e.Path))
		}
		b.WriteString(", digest: " + quoted(e.Digest))
		if e.Comment != "" {
			b.WriteString(", comment: " + quoted(e.Comment))
		}
		b.WriteString("}\n")
	}
	return b.Bytes()
}

// Digest returns the SHA-256 of the canonical text.
func (m *Manifest) Digest() [32]byte { return sha256.Sum256(m.Print()) }
