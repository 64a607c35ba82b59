package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/admission/values"
	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/ima"
	"github.com/quorate/quorate/verifier/verdict"
)

// Digest is a SHA-256, written as "sha256:" and 64 lower hex digits.
type Digest [sha256.Size]byte

const digestPrefix = "sha256:"

// Sum returns the digest of some bytes.
func Sum(b []byte) Digest { return sha256.Sum256(b) }

// String returns the digest as text.
func (d Digest) String() string { return digestPrefix + hex.EncodeToString(d[:]) }

// IsZero reports whether the digest stands for "none".
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText makes digests readable in JSON.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText accepts exactly what MarshalText prints.
func (d *Digest) UnmarshalText(text []byte) error {
	raw, err := hex.DecodeString(strings.TrimPrefix(string(text), digestPrefix))
	if err != nil || len(raw) != len(d) || Digest(raw).String() != string(text) {
		return fmt.Errorf("evidence: %.80q is not a digest such as sha256:…", text)
	}
	*d = Digest(raw)
	return nil
}

// RecordFormat is the first field of every record.
const RecordFormat = "quorate/evidence/v1"

// Record is everything that a decision was made from, and the decision. Boot log
// and IMA list are named by digest; with those blobs and the policy set, anyone
// can make the decision again and must come to the same verdict.
//
// Its JSON form is canonical: one record has one encoding, see Marshal.
type Record struct {
	Format       string          `json:"evidence"` // RecordFormat
	At           time.Time       `json:"at"`       // time of the decision; UTC, whole seconds
	Consortium   string          `json:"consortium"`
	ChainID      string          `json:"chainId"`
	Genesis      Digest          `json:"genesis"`
	Verifier     string          `json:"verifier"`
	Node         string          `json:"node"`
	AK           []byte          `json:"ak"` // TPMT_PUBLIC
	NodeKey      Digest          `json:"nodeKey"`
	ConsensusKey string          `json:"consensusKey,omitempty"`
	Bank         string          `json:"bank"`       // "sha256"
	PCRs         []int           `json:"pcrs"`       // asked for
	Challenge    Challenge       `json:"challenge"`  // this verifier's
	Challenges   []Challenge     `json:"challenges"` // all that the quote answers
	Quote        []byte          `json:"quote"`
	Signature    []byte          `json:"signature"`
	PCRValues    [][]byte        `json:"pcrValues"`
	BootLogNamed Digest          `json:"bootLogNamed"`      // digest in the qualifying data
	BootLog      Digest          `json:"bootLog,omitzero"`  // blob that was judged
	BootID       string          `json:"bootId,omitempty"`  //
	IMAStart     Position        `json:"imaStart"`          // where the list was continued
	IMAEarlier   []Digest        `json:"imaEarlier"`        // blobs that lead from entry 0 to IMAStart
	IMA          Digest          `json:"ima,omitzero"`      // blob that continues the list
	Previous     Clock           `json:"previous"`          // of the last authentic quote
	History      json.RawMessage `json:"history,omitempty"` // what the appraisal was told of earlier ones
	PolicySet    Digest          `json:"policySet"`         // policy and manifests that were applied
	Verdict      verdict.Verdict `json:"verdict"`
}

// Challenge is a binding.Challenge in a record.
type Challenge struct {
	Verifier string `json:"verifier"`
	Nonce    []byte `json:"nonce"`
	Exporter []byte `json:"exporter"`
	Height   uint64 `json:"height,omitempty"`
	Block    []byte `json:"block,omitempty"`
}

// Position is an ima.State in a record.
type Position struct {
	Epoch   verdict.Epoch `json:"epoch"`
	Entries uint64        `json:"entries"`
	Bytes   uint64        `json:"bytes"`
	PCR10   Digest        `json:"pcr10"`
}

// NewRecord records what Verify was given, whether it passed or refused, and the
// blobs that belong to it. verified is nil for a refusal; then the IMA list is
// recorded as sent, otherwise its verified part. The caller adds IMAEarlier,
// History, PolicySet and Verdict, and At is cut to seconds.
func NewRecord(raw Raw, want Expected, verified *Verified, at time.Time) (*Record, map[Digest][]byte) {
	r := &Record{
		Format: RecordFormat, At: at.UTC().Truncate(time.Second),
		Consortium: want.Ledger.Consortium, ChainID: want.Ledger.ChainID, Genesis: want.Ledger.Genesis,
		Verifier: want.Verifier, Node: want.Node, AK: want.AK.Public(), NodeKey: want.NodeKey, ConsensusKey: want.ConsensusKey,
		Bank: want.Bank.String(), PCRs: want.PCRs, Challenge: challengeRecord(want.Challenge),
		Quote: raw.Quote, Signature: raw.Signature, PCRValues: raw.PCRValues,
		BootLogNamed: raw.BootLogDigest, BootID: raw.BootID, Previous: want.Previous,
		IMAStart: Position{want.IMA.Epoch, want.IMA.Entries, want.IMA.Bytes, want.IMA.PCR10},
	}
	for _, c := range raw.Challenges {
		r.Challenges = append(r.Challenges, challengeRecord(c))
	}
	blobs := map[Digest][]byte{}
	r.BootLog = keep(blobs, usedLog(raw, want))
	list := raw.IMA
	if verified != nil {
		list = verified.IMA().Bytes()
	}
	r.IMA = keep(blobs, list)
	return r, blobs
}

func keep(blobs map[Digest][]byte, b []byte) Digest {
	if len(b) == 0 {
		return Digest{}
	}
	d := Sum(b)
	blobs[d] = b
	return d
}

// usedLog returns the bytes of the boot log that Verify would look at, nil if
// there are none.
func usedLog(raw Raw, want Expected) []byte {
	if len(raw.BootLog) != 0 {
		return raw.BootLog
	}
	quoted, err := parseAttest(raw.Quote)
	epoch := verdict.Epoch{Reset: quoted.reset, Restart: quoted.restart}
	if known := want.KnownLog; err == nil && known != nil && known.digest == raw.BootLogDigest && known.epoch == epoch {
		return known.raw
	}
	return nil
}

func challengeRecord(c binding.Challenge) Challenge {
	out := Challenge{Verifier: c.Verifier, Nonce: c.Nonce[:], Exporter: c.Exporter[:]}
	if c.Beacon != (binding.Beacon{}) {
		out.Height, out.Block = c.Beacon.Height, c.Beacon.Hash[:]
	}
	return out
}

func (c Challenge) challenge() (binding.Challenge, error) {
	out := binding.Challenge{Verifier: c.Verifier, Beacon: binding.Beacon{Height: c.Height}}
	if len(c.Nonce) != len(out.Nonce) || len(c.Exporter) != len(out.Exporter) {
		return out, errors.New("evidence: a recorded challenge with a nonce or exporter of a wrong size")
	}
	copy(out.Nonce[:], c.Nonce)
	copy(out.Exporter[:], c.Exporter)
	if len(c.Block) != 0 && len(c.Block) != len(out.Beacon.Hash) {
		return out, errors.New("evidence: a recorded challenge with a block hash of a wrong size")
	}
	copy(out.Beacon.Hash[:], c.Block)
	return out, nil
}

// Marshal returns the record's one encoding.
func (r *Record) Marshal() ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	return b, nil
}

// ParseRecord accepts exactly what Marshal returns.
func ParseRecord(b []byte) (*Record, error) {
	r := new(Record)
	if err := parseCanonical(b, r); err != nil {
		return nil, err
	}
	return r, r.check()
}

// costOfValue is what a value costs that is decoded and encoded again, in bytes: the
// dearest is an empty challenge.
const costOfValue = 700

// parseCanonical decodes JSON that is its own re-encoding, so that unknown,
// repeated or oddly written fields are refused.
func parseCanonical(b []byte, into any) error {
	if err := values.CheckJSON(b, costOfValue); err != nil {
		return fmt.Errorf("evidence: record: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("evidence: record: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("evidence: record is followed by other bytes")
	}
	again, err := json.Marshal(into)
	if err != nil {
		return fmt.Errorf("evidence: record: %w", err)
	}
	if !bytes.Equal(again, b) {
		return errors.New("evidence: record is not in its canonical form")
	}
	return nil
}

func (r *Record) check() error {
	switch {
	case r.Format != RecordFormat:
		return fmt.Errorf("evidence: record of format %.64q, want %q", r.Format, RecordFormat)
	case r.Bank != eventlog.SHA256.String():
		return fmt.Errorf("evidence: record of the bank %.64q", r.Bank)
	case !r.At.Equal(r.At.Truncate(time.Second)) || r.At.Location() != time.UTC:
		return errors.New("evidence: record's time is not UTC in whole seconds")
	}
	return nil
}

// Blobs returns the digests of all blobs that the record refers to, sorted and
// without repetition.
func (r *Record) Blobs() []Digest {
	all := append(slices.Clone(r.IMAEarlier), r.BootLog, r.IMA)
	all = slices.DeleteFunc(all, Digest.IsZero)
	slices.SortFunc(all, func(a, b Digest) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(all)
}

// FromRecord verifies recorded evidence again, from the record and its blobs
// alone. It returns what Verify returned when the record was made, the same
// refusal included; any other error means that record and blobs do not fit. A
// position in the IMA list is not believed: its earlier entries are replayed too.
func FromRecord(r *Record, blobs map[Digest][]byte) (*Verified, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	for _, d := range r.Blobs() {
		if b, ok := blobs[d]; !ok || Sum(b) != d {
			return nil, fmt.Errorf("evidence: blob %v is missing or altered", d)
		}
	}
	raw, want, err := r.inputs(blobs)
	if err != nil {
		return nil, err
	}
	v, err := Verify(raw, want)
	if err != nil {
		return nil, err
	}
	return v, v.checkEarlier(r, blobs)
}

// inputs restores what Verify was given.
func (r *Record) inputs(blobs map[Digest][]byte) (raw Raw, want Expected, err error) {
	raw = Raw{
		Quote: r.Quote, Signature: r.Signature, PCRValues: r.PCRValues, BootLogDigest: r.BootLogNamed,
		BootID: r.BootID,
	}
	if !r.BootLog.IsZero() {
		raw.BootLog = blobs[r.BootLog]
	}
	if !r.IMA.IsZero() {
		raw.IMA = blobs[r.IMA]
	}
	for _, recorded := range r.Challenges {
		c, err := recorded.challenge()
		if err != nil {
			return raw, want, err
		}
		raw.Challenges = append(raw.Challenges, c)
	}
	want = Expected{
		Ledger:   binding.Ledger{Consortium: r.Consortium, ChainID: r.ChainID, Genesis: r.Genesis},
		Verifier: r.Verifier, Node: r.Node, NodeKey: r.NodeKey, ConsensusKey: r.ConsensusKey,
		Bank: eventlog.SHA256, PCRs: r.PCRs, Previous: r.Previous,
		IMA: ima.State{Epoch: r.IMAStart.Epoch, Entries: r.IMAStart.Entries, Bytes: r.IMAStart.Bytes, PCR10: r.IMAStart.PCR10},
	}
	if want.Challenge, err = r.Challenge.challenge(); err != nil {
		return raw, want, err
	}
	want.AK, err = ParseAK(r.AK)
	return raw, want, err
}

// checkEarlier replays the entries before the recorded position, if the position
// was used at all.
func (v *Verified) checkEarlier(r *Record, blobs map[Digest][]byte) error {
	start := v.ima.Start
	if start.Entries == 0 {
		return nil
	}
	var list []byte
	for _, d := range r.IMAEarlier {
		list = append(list, blobs[d]...)
	}
	lim := ima.DefaultLimits
	lim.Bytes, lim.Suffix = len(list), 0
	segment, err := ima.Replay(ima.State{Epoch: start.Epoch}, list, v.quotedIMA(start.PCR10), lim)
	if err != nil {
		return fmt.Errorf("evidence: the recorded position in the IMA list is not explained: %w", err)
	}
	if segment.End != start {
		return fmt.Errorf("evidence: the recorded IMA list leads to entry %d, not %d", segment.End.Entries, start.Entries)
	}
	return nil
}

// File is a record with its blobs, as people export and exchange it.
type File struct {
	Record *Record           `json:"record"`
	Blobs  map[Digest][]byte `json:"blobs"` // exactly those that the record refers to
}

// Marshal returns the file's one encoding.
func (f *File) Marshal() ([]byte, error) {
	b, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	return b, nil
}

// ParseFile accepts exactly what Marshal returns for a record with all its blobs
// and no others.
func ParseFile(b []byte) (*File, error) {
	f := new(File)
	if err := parseCanonical(b, f); err != nil {
		return nil, err
	}
	if f.Record == nil {
		return nil, errors.New("evidence: file without a record")
	}
	needed := f.Record.Blobs()
	for _, d := range needed {
		if content, ok := f.Blobs[d]; !ok || Sum(content) != d {
			return nil, fmt.Errorf("evidence: blob %v is missing or altered", d)
		}
	}
	if len(needed) != len(f.Blobs) {
		return nil, errors.New("evidence: file with blobs that its record does not need")
	}
	return f, f.Record.check()
}

// Verify verifies the evidence in the file again; see FromRecord.
func (f *File) Verify() (*Verified, error) { return FromRecord(f.Record, f.Blobs) }
