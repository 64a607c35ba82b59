package binding_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/quorate/quorate/proto/binding"
)

// hexBytes is lower hex in the vectors.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = b
	return err
}

func (h hexBytes) array(t *testing.T) [32]byte {
	t.Helper()
	if len(h) != 32 {
		t.Fatalf("vector with %d bytes where 32 belong", len(h))
	}
	return [32]byte(h)
}

type vectorLedger struct {
	Consortium, ChainID string
	Genesis             hexBytes
}

func (l vectorLedger) ledger(t *testing.T) binding.Ledger {
	return binding.Ledger{Consortium: l.Consortium, ChainID: l.ChainID, Genesis: l.Genesis.array(t)}
}

type vectors struct {
	About  string
	Quotes []struct {
		Name, Node, ConsensusKey                 string
		Ledger                                   vectorLedger
		AKName, NodeKey, BootLog, QualifyingData hexBytes
		Challenges                               []struct {
			Verifier               string
			Nonce, Exporter, Block hexBytes
			Height                 uint64
		}
	}
	Certifications []struct {
		Name, Verifier, Node, ConsensusKey               string
		Purpose                                          binding.Purpose
		Ledger                                           vectorLedger
		AKName, NodeKey, Nonce, Exporter, QualifyingData hexBytes
	}
}

func readVectors(t *testing.T) vectors {
	t.Helper()
	raw, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	if len(v.Quotes) < 5 || len(v.Certifications) < 3 {
		t.Fatalf("only %d quotes and %d certifications", len(v.Quotes), len(v.Certifications))
	}
	return v
}

func TestQuoteVectors(t *testing.T) {
	for _, v := range readVectors(t).Quotes {
		q := binding.Quote{
			Ledger: v.Ledger.ledger(t), Node: v.Node, AKName: v.AKName, NodeKey: v.NodeKey.array(t),
			ConsensusKey: v.ConsensusKey, BootLog: v.BootLog.array(t),
		}
		for _, c := range v.Challenges {
			q.Challenges = append(q.Challenges, binding.Challenge{
				Verifier: c.Verifier, Nonce: c.Nonce.array(t), Exporter: c.Exporter.array(t),
				Beacon: binding.Beacon{Height: c.Height, Hash: c.Block.array(t)},
			})
		}
		got, err := q.QualifyingData()
		if err != nil || got != v.QualifyingData.array(t) {
			t.Errorf("%s: got %x, %v, want %x", v.Name, got, err, v.QualifyingData)
		}
	}
}

func TestCertificationVectors(t *testing.T) {
	for _, v := range readVectors(t).Certifications {
		c := binding.Certification{
			Ledger: v.Ledger.ledger(t), Verifier: v.Verifier, Node: v.Node, AKName: v.AKName, NodeKey: v.NodeKey.array(t),
			ConsensusKey: v.ConsensusKey, Nonce: v.Nonce.array(t), Exporter: v.Exporter.array(t),
		}
		got, err := c.QualifyingData(v.Purpose)
		if err != nil || got != v.QualifyingData.array(t) {
			t.Errorf("%s: got %x, %v, want %x", v.Name, got, err, v.QualifyingData)
		}
	}
}

func sample() binding.Quote {
	return binding.Quote{
		Ledger: binding.Ledger{Consortium: "net", ChainID: "chain-1", Genesis: [32]byte{1}},
		Node:   "org-a/validator-1", AKName: []byte{0, 11, 1}, NodeKey: [32]byte{2},
		ConsensusKey: "ed25519:AAAA", BootLog: [32]byte{3},
		Challenges: []binding.Challenge{
			{Verifier: "a", Nonce: [32]byte{4}, Exporter: [32]byte{5}, Beacon: binding.Beacon{Height: 6, Hash: [32]byte{7}}},
			{Verifier: "b", Nonce: [32]byte{8}, Exporter: [32]byte{9}},
		},
	}
}

func mustQuote(t *testing.T, q binding.Quote) [32]byte {
	t.Helper()
	sum, err := q.QualifyingData()
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestA014_OneEncodingOfTheNonce(t *testing.T) {
	good := mustQuote(t, sample())
	if good != mustQuote(t, sample()) {
		t.Fatal("the same quote gives two qualifying data")
	}
	nonce := sample().Challenges[0].Nonce
	for _, other := range [][]byte{
		[]byte(hex.EncodeToString(nonce[:])), []byte(base64.StdEncoding.EncodeToString(nonce[:])), append(nonce[:], 0),
	} {
		q := sample()
		copy(q.Challenges[0].Nonce[:], other) // what still fits of another encoding
		if !bytes.Equal(other[:32], nonce[:]) && mustQuote(t, q) == good {
			t.Errorf("nonce %x counts as %x", other, nonce)
		}
	}
}

func TestA015_EveryFieldCounts(t *testing.T) {
	changes := map[string]func(*binding.Quote){
		"consortium":    func(q *binding.Quote) { q.Ledger.Consortium = "other" },
		"chain":         func(q *binding.Quote) { q.Ledger.ChainID = "chain-2" },
		"genesis":       func(q *binding.Quote) { q.Ledger.Genesis[31]++ },
		"node":          func(q *binding.Quote) { q.Node = "org-a/validator-2" },
		"AK name":       func(q *binding.Quote) { q.AKName = []byte{0, 11, 2} },
		"node key":      func(q *binding.Quote) { q.NodeKey[31]++ },
		"consensus key": func(q *binding.Quote) { q.ConsensusKey = "" },
		"boot log":      func(q *binding.Quote) { q.BootLog[31]++ },
		"verifier":      func(q *binding.Quote) { q.Challenges[0].Verifier = "aa" },
		"nonce":         func(q *binding.Quote) { q.Challenges[1].Nonce[31]++ },
		"exporter":      func(q *binding.Quote) { q.Challenges[1].Exporter[31]++ },
		"height":        func(q *binding.Quote) { q.Challenges[0].Beacon.Height++ },
		"block":         func(q *binding.Quote) { q.Challenges[0].Beacon.Hash[31]++ },
		"fewer":         func(q *binding.Quote) { q.Challenges = q.Challenges[:1] },
		"boundary":      func(q *binding.Quote) { q.Ledger.Consortium, q.Ledger.ChainID = "netc", "hain-1" },
	}
	seen := map[[32]byte]string{mustQuote(t, sample()): "the original"}
	for name, change := range changes {
		q := sample()
		change(&q)
		sum := mustQuote(t, q)
		if other, twice := seen[sum]; twice {
			t.Errorf("%s gives the same as %s", name, other)
		}
		seen[sum] = name
	}
}

func TestA016_PurposesDiffer(t *testing.T) {
	c := binding.Certification{Verifier: "a", Node: "org-a/validator-1", Nonce: [32]byte{1}}
	seen := map[[32]byte]binding.Purpose{mustQuote(t, sample()): "a quote"}
	for _, p := range []binding.Purpose{binding.PurposeAKCreation, binding.PurposeNodeKey, binding.PurposeConsensusKey} {
		sum, err := c.QualifyingData(p)
		if err != nil {
			t.Fatal(err)
		}
		if other, twice := seen[sum]; twice {
			t.Errorf("%s gives the same as %s", p, other)
		}
		seen[sum] = p
	}
	for _, bad := range []binding.Certification{
		{Node: c.Node, Nonce: c.Nonce}, {Verifier: "a", Nonce: c.Nonce}, {Verifier: "a", Node: c.Node},
	} {
		if _, err := bad.QualifyingData(binding.PurposeNodeKey); err == nil {
			t.Errorf("%+v has qualifying data", bad)
		}
	}
}

func TestChallengesHaveOneOrder(t *testing.T) {
	good := sample().Challenges
	many := make([]binding.Challenge, binding.MaxChallenges+1)
	for i := range many {
		many[i] = binding.Challenge{Verifier: fmt.Sprintf("v%02d", i), Nonce: [32]byte{1}}
	}
	for name, list := range map[string][]binding.Challenge{
		"none":            nil,
		"unsorted":        {good[1], good[0]},
		"same verifier":   {good[0], {Verifier: "a", Nonce: [32]byte{99}}},
		"without nonce":   {{Verifier: "a"}},
		"without name":    {{Nonce: [32]byte{1}}},
		"more than fit":   many,
		"repeated whole":  {good[0], good[0]},
		"nonce, unsorted": {good[1], good[1]},
	} {
		q := sample()
		q.Challenges = list
		if _, err := q.QualifyingData(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	mixed := []binding.Challenge{good[1], good[0]}
	binding.SortChallenges(mixed)
	if !slices.Equal(mixed, good) {
		t.Errorf("sorted to %+v", mixed)
	}
	q := sample()
	q.Challenges = many[:binding.MaxChallenges]
	mustQuote(t, q)
}
