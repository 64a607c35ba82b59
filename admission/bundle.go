package admission

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"
)

// Limits of bundles.
const (
	MaxBundle = 256 << 10 // bytes
	MaxItems  = 16        // admissions in one bundle
	maxProof  = 16 << 10  // bytes of one log proof
	maxPath   = 63        // hashes in an inclusion proof
)

const (
	bundleHeader = "quorate/bundle/v1"
	proofHeader  = "c2sp.org/tlog-proof@v1"
)

// Item is one verifier's admission with the proof that it is in that verifier's
// journal.
type Item struct {
	Admission []byte // signed note, exactly as in the journal
	Proof     []byte // tlog-proof (c2sp.org/tlog-proof@v1) without extra data
}

// Bundle is what a node shows to a ledger: admissions by distinct verifiers.
// Nothing in it is trustworthy before Consortium.VerifyBundle.
type Bundle struct {
	Items []Item // in ascending order of the verifiers' names
}

// NewBundle puts items into the order of a bundle. It refuses what ParseBundle
// would refuse.
func NewBundle(items ...Item) (Bundle, error) {
	b := Bundle{Items: slices.Clone(items)}
	names := make(map[int]string, len(items))
	order := make([]int, len(items))
	for i, item := range items {
		s, err := item.UntrustedStatement()
		if err != nil {
			return Bundle{}, at(i, err)
		}
		names[i], order[i] = s.Verifier, i
	}
	slices.SortFunc(order, func(i, j int) int { return strings.Compare(names[i], names[j]) })
	for to, from := range order {
		b.Items[to] = items[from]
	}
	if _, err := b.open(); err != nil {
		return Bundle{}, err
	}
	return b, nil
}

// UntrustedStatement returns what the admission claims, without checking any
// signature. It serves to show a bundle, and to learn which node it speaks of.
func (i Item) UntrustedStatement() (Statement, error) {
	s, _, err := i.claim()
	return s, err
}

// claim returns what the admission claims, and the name of the key that claims to
// have signed it.
func (i Item) claim() (Statement, string, error) {
	if len(i.Admission) > MaxStatement {
		return Statement{}, "", refuse(Malformed, "", strconv.Itoa(len(i.Admission))+" bytes", "at most "+strconv.Itoa(MaxStatement))
	}
	text, signer, err := splitNote(i.Admission)
	if err != nil {
		return Statement{}, "", err
	}
	s, err := ParseStatement(text)
	return s, signer, err
}

// openItem is an item taken apart. Nothing in it is verified.
type openItem struct {
	Item
	claimed Statement
	signer  string
	proof   logProof
}

func (i Item) open() (openItem, error) {
	s, signer, err := i.claim()
	if err != nil {
		return openItem{}, err
	}
	proof, err := parseProof(i.Proof)
	return openItem{i, s, signer, proof}, err
}

// Marshal returns the bundle's bytes: a header line, then for each item a line
// with a length and that many bytes, for the admission and for the proof.
func (b Bundle) Marshal() []byte {
	var buf bytes.Buffer
	buf.WriteString(bundleHeader + "\n")
	for _, item := range b.Items {
		buf.WriteString("admission " + strconv.Itoa(len(item.Admission)) + "\n")
		buf.Write(item.Admission)
		buf.WriteString("proof " + strconv.Itoa(len(item.Proof)) + "\n")
		buf.Write(item.Proof)
	}
	return buf.Bytes()
}

// ParseBundle reads a bundle. It accepts exactly what Marshal makes of a bundle
// whose admissions and proofs are in canonical form and whose verifiers are
// distinct and in order. It verifies no signature.
func ParseBundle(b []byte) (Bundle, error) {
	out, _, err := openBundle(b)
	return out, err
}

// openBundle is ParseBundle for who needs the parts, too.
func openBundle(b []byte) (Bundle, []openItem, error) {
	out, err := cutBundle(b)
	if err != nil {
		return Bundle{}, nil, err
	}
	items, err := out.open()
	if err != nil {
		return Bundle{}, nil, err
	}
	return out, items, nil
}

// cutBundle finds the items' bytes.
func cutBundle(b []byte) (Bundle, error) {
	if len(b) > MaxBundle {
		return Bundle{}, refuse(Malformed, "", strconv.Itoa(len(b))+" bytes", "at most "+strconv.Itoa(MaxBundle))
	}
	rest, ok := bytes.CutPrefix(b, []byte(bundleHeader+"\n"))
	if !ok {
		return Bundle{}, refuse(Malformed, "line 1", string(b[:min(len(b), len(bundleHeader))]), bundleHeader)
	}
	var out Bundle
	for len(rest) > 0 {
		if len(out.Items) == MaxItems {
			return Bundle{}, refuse(Malformed, "", "more admissions", "at most "+strconv.Itoa(MaxItems))
		}
		var item Item
		var err error
		if item.Admission, rest, err = cutPart(rest, "admission ", MaxStatement); err != nil {
			return Bundle{}, at(len(out.Items), err)
		}
		if item.Proof, rest, err = cutPart(rest, "proof ", maxProof); err != nil {
			return Bundle{}, at(len(out.Items), err)
		}
		out.Items = append(out.Items, item)
	}
	return out, nil
}

// cutPart reads "<name><length>\n" and that many bytes.
func cutPart(b []byte, name string, limit int) (part, rest []byte, err error) {
	line, rest, ok := bytes.Cut(b, []byte("\n"))
	digits, named := bytes.CutPrefix(line, []byte(name))
	n, err := strconv.Atoi(string(digits))
	if !ok || !named || err != nil || strconv.Itoa(n) != string(digits) || n < 1 || n > limit || n > len(rest) {
		return nil, nil, refuse(Malformed, "", string(line[:min(len(line), 80)]), name+"<length>")
	}
	return rest[:n:n], rest[n:], nil
}

// open takes the items apart and checks what holds for every Bundle that
// ParseBundle and NewBundle return.
func (b Bundle) open() ([]openItem, error) {
	if len(b.Items) == 0 || len(b.Items) > MaxItems {
		return nil, refuse(Malformed, "", strconv.Itoa(len(b.Items))+" admissions", "1 to "+strconv.Itoa(MaxItems))
	}
	out, last := make([]openItem, len(b.Items)), ""
	for i, item := range b.Items {
		opened, err := item.open()
		if err != nil {
			return nil, at(i, err)
		}
		if v := opened.claimed.Verifier; v <= last {
			return nil, refuse(Duplicate, place(i), v, "distinct verifiers in ascending order")
		}
		out[i], last = opened, opened.claimed.Verifier
	}
	return out, nil
}

func place(i int) string { return "admission " + strconv.Itoa(i+1) }

// at adds to a refusal which admission of the bundle it is about.
func at(i int, err error) error {
	r, ok := err.(*Refusal)
	if !ok {
		return err
	}
	moved := *r
	moved.Where = strings.TrimSuffix(place(i)+", "+r.Where, ", ")
	return &moved
}

// logProof is a tlog-proof taken apart.
type logProof struct {
	index      int64
	path       tlog.RecordProof
	checkpoint []byte // signed
}

// parseProof reads a tlog-proof without extra data, strictly: printing the
// parts again must give the same bytes. The library that verifies the proof is
// looser, and would take several texts for one proof.
func parseProof(b []byte) (logProof, error) {
	bad := func(got, want string) (logProof, error) {
		return logProof{}, refuse(Malformed, "log proof", got, want)
	}
	if len(b) > maxProof {
		return bad(strconv.Itoa(len(b))+" bytes", "at most "+strconv.Itoa(maxProof))
	}
	head, checkpoint, ok := bytes.Cut(b, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !ok || len(lines) < 2 || lines[0] != proofHeader {
		return bad(lines[0], proofHeader)
	}
	digits, named := strings.CutPrefix(lines[1], "index ")
	index, err := strconv.ParseInt(digits, 10, 64)
	if !named || err != nil || index < 0 {
		return bad(lines[1], "index <number>")
	}
	if len(lines)-2 > maxPath {
		return bad(strconv.Itoa(len(lines)-2)+" hashes", "at most "+strconv.Itoa(maxPath))
	}
	if !canonicalSignatures(checkpoint) {
		return bad("a checkpoint with malformed signatures", "lines of — <name> <base64>")
	}
	p := logProof{index: index, checkpoint: checkpoint}
	for _, line := range lines[2:] {
		h, err := tlog.ParseHash(line)
		if err != nil {
			return bad(line, "base64 of 32 bytes")
		}
		p.path = append(p.path, h)
	}
	if !bytes.Equal(torchwood.FormatProof(p.index, p.path, p.checkpoint), b) {
		return bad("text that is not its own canonical form", "canonical text")
	}
	return p, nil
}

func canonicalSignatures(checkpoint []byte) bool {
	at := bytes.LastIndex(checkpoint, []byte("\n\n"))
	if at < 0 {
		return false
	}
	block, ok := strings.CutSuffix(string(checkpoint[at+2:]), "\n")
	for line := range strings.SplitSeq(block, "\n") {
		if _, canonical := signatureName(line); !canonical {
			return false
		}
	}
	return ok
}
