package power

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/quorate/quorate/admission"
)

const rulesFormat = "quorate/power-rules/v1"

// maxRulesFile bounds a rules file, in bytes.
const maxRulesFile = 1 << 20

// rulesDocument is a rules file as it stands on the disk.
type rulesDocument struct {
	Rules string      `yaml:"rules"` // the format, quorate/power-rules/v1
	From  []yaml.Node `yaml:"from"`
}

// rulesEntry is the rules from a height on. What an entry leaves out is as in
// the entry before it, and in the first as in DefaultRules.
type rulesEntry struct {
	Height          uint64        `yaml:"height"`
	Consortium      string        `yaml:"consortium"`
	UnattestedUntil uint64        `yaml:"unattestedUntil"`
	Window          uint64        `yaml:"window"`
	CoolDown        uint64        `yaml:"coolDown"`
	BeaconAge       uint64        `yaml:"beaconAge"`
	Notice          time.Duration `yaml:"notice"`
	Extension       time.Duration `yaml:"extension"`
	CapPerMille     uint64        `yaml:"capPerMille"`
	FairShares      uint64        `yaml:"fairShares"`
	CapFrom         uint64        `yaml:"capFrom"`
	OutageGrace     time.Duration `yaml:"outageGrace"`
}

// ParseSchedule reads a rules file. Each entry names the consortium file that
// holds from its height on by the file's digest; the first one given is the
// default. Without a file, the default rules hold from the first block.
func ParseSchedule(file []byte, consortia ...*admission.Consortium) (*Schedule, error) {
	if len(consortia) == 0 || consortia[0] == nil {
		return nil, errors.New("power: no consortium file")
	}
	last := DefaultRules(consortia[0])
	if file == nil {
		return NewSchedule(last)
	}
	var d rulesDocument
	if err := strictYAML(file, &d); err != nil {
		return nil, err
	}
	if d.Rules != rulesFormat {
		return nil, fmt.Errorf("power: rules file: rules: %q, want %s", d.Rules, rulesFormat)
	}
	var rules []Rules
	for _, n := range d.From {
		r, err := last.override(n, consortia)
		if err != nil {
			return nil, err
		}
		rules, last = append(rules, r), r
	}
	return NewSchedule(rules...)
}

func strictYAML(b []byte, v any) error {
	if len(b) > maxRulesFile {
		return fmt.Errorf("power: rules file: more than %d bytes", maxRulesFile)
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("power: rules file: %w", err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return errors.New("power: rules file: more than one document")
	}
	return nil
}

// override returns the rules with what the entry says.
func (r Rules) override(n yaml.Node, consortia []*admission.Consortium) (Rules, error) {
	e := rulesEntry{
		Height: r.From, Consortium: r.Consortium.Digest().String(), UnattestedUntil: r.UnattestedUntil, Window: r.Window, CoolDown: r.CoolDown,
		BeaconAge: r.BeaconAge, Notice: r.Notice, Extension: r.Extension, CapPerMille: r.CapPerMille, FairShares: r.FairShares, CapFrom: r.CapFrom,
		OutageGrace: r.OutageGrace,
	}
	text, err := yaml.Marshal(&n) // a node's own Decode does not refuse unknown keys
	if err != nil {
		return Rules{}, fmt.Errorf("power: rules file: %w", err)
	}
	if err := strictYAML(text, &e); err != nil {
		return Rules{}, err
	}
	out := Rules{
		From: e.Height, UnattestedUntil: e.UnattestedUntil, Window: e.Window, CoolDown: e.CoolDown, BeaconAge: e.BeaconAge,
		Notice: e.Notice, Extension: e.Extension, CapPerMille: e.CapPerMille, FairShares: e.FairShares, CapFrom: e.CapFrom,
		OutageGrace: e.OutageGrace,
	}
	for _, c := range consortia {
		if c.Digest().String() == e.Consortium {
			out.Consortium = c
			return out, nil
		}
	}
	return Rules{}, fmt.Errorf("power: rules from height %d name consortium file %s, which was not given", e.Height, e.Consortium)
}
