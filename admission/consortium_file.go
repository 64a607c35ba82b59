package admission

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/quorate/quorate/admission/values"
)

// MaxConsortium bounds a consortium file, in bytes.
const MaxConsortium = 256 << 10

const consortiumFormat = "quorate/v1"

// ConsortiumError lists everything that is wrong with a consortium file, each
// with its place in the file.
type ConsortiumError struct {
	Problems []string // "verifiers[0].logKey: …"
}

// Error prints all problems, one on each line.
func (e *ConsortiumError) Error() string {
	return "admission: consortium file:\n  " + strings.Join(e.Problems, "\n  ")
}

// document is the file as it is written. Its field order is the canonical one.
type document struct {
	Format      string              `yaml:"consortium" json:"consortium"`
	Name        string              `yaml:"name" json:"name"`
	Test        bool                `yaml:"test,omitempty" json:"test,omitempty"`
	Ledger      documentLedger      `yaml:"ledger" json:"ledger"`
	Threshold   int                 `yaml:"threshold" json:"threshold"`
	Verifiers   []documentVerifier  `yaml:"verifiers" json:"verifiers"`
	Witnesses   documentWitnesses   `yaml:"witnesses" json:"witnesses"`
	Members     []documentMember    `yaml:"members" json:"members"`
	Approvals   documentApprovals   `yaml:"approvals" json:"approvals"`
	Endorsement documentEndorsement `yaml:"endorsement" json:"endorsement"`
}

type documentLedger struct {
	ID      string `yaml:"id" json:"id"`
	Genesis string `yaml:"genesis" json:"genesis"`
}

type documentVerifier struct {
	Name         string `yaml:"name" json:"name"`
	Member       string `yaml:"member" json:"member"`
	AdmissionKey string `yaml:"admissionKey" json:"admissionKey"`
	LogKey       string `yaml:"logKey" json:"logKey"`
	TLSKey       string `yaml:"tlsKey" json:"tlsKey"`
	GrantKey     string `yaml:"grantKey,omitempty" json:"grantKey,omitempty"` // absent: files without have the digest they always had
	Attest       string `yaml:"attest" json:"attest"`
	Enroll       string `yaml:"enroll" json:"enroll"`
}

type documentWitnesses struct {
	Threshold int      `yaml:"threshold" json:"threshold"`
	Keys      []string `yaml:"keys" json:"keys"`
}

type documentMember struct {
	Name      string             `yaml:"name" json:"name"`
	Operators []documentOperator `yaml:"operators" json:"operators"`
}

type documentOperator struct {
	Key  string `yaml:"key" json:"key"`
	Role string `yaml:"role" json:"role"`
}

type documentApprovals struct {
	Policy int `yaml:"policy" json:"policy"`
}

type documentEndorsement struct {
	Templates map[string]string `yaml:"templates" json:"templates"`
	Roots     string            `yaml:"roots" json:"roots"`
}

// ParseConsortium reads a consortium file: one YAML document, no unknown or
// repeated keys, no anchors or aliases. Keys must be well formed, distinct and
// carry the names that the file gives them. A file with any problem is refused
// with a *ConsortiumError that lists all of them.
func ParseConsortium(b []byte) (*Consortium, error) {
	if len(b) > MaxConsortium {
		return nil, &ConsortiumError{[]string{fmt.Sprintf("%d bytes, at most %d", len(b), MaxConsortium)}}
	}
	var d document
	if err := decodeStrict(b, &d); err != nil {
		return nil, err
	}
	c, err := d.check()
	if err != nil {
		return nil, err
	}
	canonical, err := json.Marshal(c.document())
	if err != nil {
		return nil, fmt.Errorf("admission: consortium file: %w", err)
	}
	c.digest = digestOf(canonical)
	return c, nil
}

// costOfValue is what a value costs that is decoded twice, in bytes.
const costOfValue = 700

// decodeStrict decodes exactly one document without anchors and unknown keys.
func decodeStrict(b []byte, d *document) error {
	if err := values.Check(b, costOfValue); err != nil {
		return &ConsortiumError{[]string{err.Error()}}
	}
	var root yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&root); err != nil {
		return yamlError(err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return &ConsortiumError{[]string{"more than one YAML document"}}
	}
	if problems := indirect(&root, nil); len(problems) > 0 {
		return &ConsortiumError{problems}
	}
	dec = yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(d); err != nil {
		return yamlError(err)
	}
	return nil
}

// indirect finds constructs by which the file would say something else than
// what a person reads on its lines.
func indirect(n *yaml.Node, problems []string) []string {
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		problems = append(problems, fmt.Sprintf("line %d: anchors and aliases are not allowed", n.Line))
	}
	if n.Tag == "!!merge" {
		problems = append(problems, fmt.Sprintf("line %d: merge keys are not allowed", n.Line))
	}
	if n.Kind == yaml.ScalarNode && n.Style == 0 && !plainScalar(n) {
		problems = append(problems, fmt.Sprintf("line %d: %q is read differently by different programs; write decimal digits, true or false, or quote the text", n.Line, plain(n.Value)))
	}
	if n.Style&yaml.TaggedStyle != 0 {
		problems = append(problems, fmt.Sprintf("line %d: explicit tags are not allowed", n.Line))
	}
	problems = repeated(n, problems)
	for _, child := range n.Content {
		if len(problems) > maxProblems {
			return problems[:maxProblems]
		}
		problems = indirect(child, problems)
	}
	return problems
}

// maxProblems bounds what one broken file can make us say.
const maxProblems = 100

// repeated finds keys that a mapping has twice. The library compares every key with
// every other, and says something of each pair.
func repeated(n *yaml.Node, problems []string) []string {
	if n.Kind != yaml.MappingNode {
		return problems
	}
	seen := make(map[string]bool, len(n.Content)/2)
	for i := 0; i < len(n.Content) && len(problems) <= maxProblems; i += 2 {
		if key := n.Content[i]; seen[key.Value] {
			problems = append(problems, fmt.Sprintf("line %d: the key %q is repeated", key.Line, plain(key.Value)))
		} else {
			seen[key.Value] = true
		}
	}
	return problems
}

// plainScalar reports whether every version of YAML reads an unquoted value alike.
// The library reads 1.9 as the number 1, 0x2 and 1_0 as 2 and 10, and yes as true.
func plainScalar(n *yaml.Node) bool {
	switch n.Tag {
	case "!!int":
		v, err := strconv.ParseUint(strings.TrimPrefix(n.Value, "-"), 10, 63)
		return err == nil && strconv.FormatUint(v, 10) == strings.TrimPrefix(n.Value, "-")
	case "!!bool":
		return n.Value == "true" || n.Value == "false"
	case "!!float":
		return false
	case "!!str":
		return !slices.Contains([]string{"y", "n", "yes", "no", "on", "off"}, strings.ToLower(n.Value))
	}
	return true
}

func yamlError(err error) error {
	var typed *yaml.TypeError
	if errors.As(err, &typed) {
		return &ConsortiumError{slices.Clone(typed.Errors)}
	}
	if errors.Is(err, io.EOF) {
		return &ConsortiumError{[]string{"the file is empty"}}
	}
	return &ConsortiumError{[]string{err.Error()}}
}

// Marshal returns the consortium file as YAML. Parsing it gives the same
// consortium again.
func (c *Consortium) Marshal() ([]byte, error) {
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	if err := enc.Encode(c.document()); err != nil {
		return nil, fmt.Errorf("admission: consortium file: %w", err)
	}
	return buf.Bytes(), nil
}

func (c *Consortium) document() document {
	d := document{
		Format: consortiumFormat, Name: c.Name, Test: c.Test, Threshold: c.Threshold,
		Ledger:      documentLedger{ID: c.Ledger.ID, Genesis: c.Ledger.Genesis.String()},
		Witnesses:   documentWitnesses{Threshold: c.Witnesses.Threshold, Keys: slices.Concat([]string{}, c.Witnesses.Keys)},
		Approvals:   documentApprovals(c.Approvals),
		Endorsement: documentEndorsement{Templates: c.Endorsement.Templates, Roots: c.Endorsement.Roots.String()},
	}
	for _, v := range c.Verifiers {
		d.Verifiers = append(d.Verifiers, documentVerifier{v.Name, v.Member, v.AdmissionKey, v.LogKey, v.TLSKey.String(), v.GrantKey, v.Attest, v.Enroll})
	}
	for _, m := range c.Members {
		member := documentMember{Name: m.Name, Operators: []documentOperator{}}
		for _, o := range m.Operators {
			member.Operators = append(member.Operators, documentOperator{o.Key, string(o.Role)})
		}
		d.Members = append(d.Members, member)
	}
	return d
}
