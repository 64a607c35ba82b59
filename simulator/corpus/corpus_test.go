package corpus_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/simulator/corpus"
	"github.com/quorate/quorate/verifier/appraise"
	"github.com/quorate/quorate/verifier/verdict"
)

var update = flag.Bool("update", false, "write the corpus anew")

func load(t testing.TB) []corpus.Case {
	t.Helper()
	cases, err := corpus.Load()
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

// TestVerdicts makes every decision again, twice: as the verifier made it, with
// the recorded history, and from the whole evidence, as anyone can.
func TestVerdicts(t *testing.T) {
	for _, c := range load(t) {
		t.Run(c.Name, func(t *testing.T) {
			recorded := c.Evidence.Record.Verdict
			if recorded.Decision != c.Expect.Decision || first(recorded) != c.Expect.Check {
				t.Errorf("recorded %v by %q, want %v by %q", recorded.Decision, first(recorded), c.Expect.Decision, c.Expect.Check)
			}
			for how, again := range map[string]func(corpus.Case) (verdict.Verdict, error){"as recorded": asRecorded, "from the whole": fromTheWhole} {
				v, err := again(c)
				if err != nil {
					t.Fatalf("%s: %v", how, err)
				}
				var want bytes.Buffer
				if err := json.Compact(&want, c.Expect.Verdict); err != nil {
					t.Fatal(err)
				}
				if got, err := json.Marshal(v); err != nil || !bytes.Equal(got, want.Bytes()) {
					t.Errorf("%s: %s\nwant %s, %v", how, got, &want, err)
				}
			}
		})
	}
}

func asRecorded(c corpus.Case) (verdict.Verdict, error) {
	r := c.Evidence.Record
	verified, err := c.Evidence.Verify()
	if refusal := (*verdict.Refusal)(nil); errors.As(err, &refusal) {
		return appraise.Again(c.Set, c.Evidence) // nothing is appraised, so there is no history
	} else if err != nil {
		return verdict.Verdict{}, err
	}
	history, err := appraise.Recorded(r)
	return appraise.Appraise(c.Set, verified, history, r.At), err
}

func fromTheWhole(c corpus.Case) (verdict.Verdict, error) { return appraise.Again(c.Set, c.Evidence) }

// first returns the check of the first finding.
func first(v verdict.Verdict) verdict.CheckID {
	if len(v.Findings) == 0 {
		return ""
	}
	return v.Findings[0].Check
}

// TestEveryCaseMatters: no two cases are the same, each names a check that exists,
// and each record names the policy that lies beside it.
func TestEveryCaseMatters(t *testing.T) {
	seen := map[string]string{}
	for _, c := range load(t) {
		if other := seen[string(c.Raw)]; other != "" {
			t.Errorf("%s is %s again", c.Name, other)
		}
		seen[string(c.Raw)] = c.Name
		if _, known := verdict.Lookup(c.Expect.Check); c.Expect.Check != "" && !known {
			t.Errorf("%s: check %s is not registered", c.Name, c.Expect.Check)
		}
		if c.Set != nil && c.Evidence.Record.PolicySet != c.Set.Digest() {
			t.Errorf("%s: judged by another policy", c.Name)
		}
	}
}

// TestCorpusIsCurrent makes all cases again and compares them with the files.
func TestCorpusIsCurrent(t *testing.T) {
	made := map[string][]byte{"consortium.yaml": consortium(t)}
	for _, r := range recipes {
		s := r.start(t)
		if r.alter != nil {
			r.alter(s)
		}
		maps.Copy(made, r.files(s))
	}
	if *update {
		write(t, made)
		return
	}
	stored := corpus.Files()
	for _, name := range slices.Sorted(maps.Keys(made)) {
		if text, err := fs.ReadFile(stored, name); err != nil || !bytes.Equal(text, made[name]) {
			t.Errorf("%s is not what the recipe makes, %v; if that is meant: go generate ./simulator/corpus", name, err)
		}
	}
	err := fs.WalkDir(stored, ".", func(path string, e fs.DirEntry, err error) error {
		if _, known := made[path]; err == nil && !e.IsDir() && !known {
			t.Errorf("no recipe makes %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// files returns the case's files, and demands that the verdict is the one that
// its recipe is for.
func (r recipe) files(s *scene) map[string][]byte {
	s.t.Helper()
	file := s.file()
	v := file.Record.Verdict
	if (v.Decision == verdict.Admitted) != r.admit || string(first(v)) != r.check {
		s.t.Errorf("%s: %v by %+v, want %q", r.name, v.Decision, v.Findings, r.check)
	}
	evidence, err := file.Marshal()
	s.must(err)
	whole, err := json.Marshal(v)
	s.must(err)
	expect, err := json.MarshalIndent(corpus.Expect{About: r.about, Decision: v.Decision, Check: first(v), Verdict: whole}, "", "  ")
	s.must(err)
	files := map[string][]byte{r.name + "/evidence.json": evidence, r.name + "/expect.json": append(expect, '\n')}
	if s.policy != nil {
		files[r.name+"/policy/policy.yaml"] = s.policy.Print()
		for _, m := range s.manifests {
			files[r.name+"/policy/manifests/"+m.Name+".yaml"] = m.Print()
		}
	}
	return files
}

func write(t *testing.T, files map[string][]byte) {
	t.Helper()
	if err := os.RemoveAll("testdata"); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		path := filepath.Join("testdata", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// consortium is the consortium file of all cases.
func consortium(t *testing.T) []byte {
	t.Helper()
	key := func(name string) string {
		seed := sha256.Sum256([]byte("corpus/" + name))
		public := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
		text, err := note.NewEd25519VerifierKey(name, public)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	c := admission.Consortium{
		Name: ledger.Consortium, Test: true, Ledger: admission.Ledger{ID: ledger.ChainID, Genesis: ledger.Genesis}, Threshold: 1,
		Approvals:   admission.Approvals{Policy: 1},
		Endorsement: admission.Endorsement{Templates: map[string]string{"virtual": "ecc-p256"}, Roots: sha256.Sum256([]byte("roots"))},
	}
	for _, name := range []string{verifierName, otherName} {
		member, _, _ := strings.Cut(name, ".")
		c.Verifiers = append(c.Verifiers, admission.Verifier{
			Name: name, Member: member, AdmissionKey: key(name), LogKey: key(name + "/journal"),
			TLSKey: sha256.Sum256([]byte(name)), Attest: "127.0.0.1:7600", Enroll: "127.0.0.1:7601",
		})
		c.Members = append(c.Members, admission.Member{Name: member, Operators: []admission.Operator{
			{Member: member, Key: key(member + "/operator"), Role: admission.RoleAdmin},
		}})
	}
	text, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admission.ParseConsortium(text); err != nil {
		t.Fatal(err)
	}
	return text
}
