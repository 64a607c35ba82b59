package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/proto/parts"
	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/policy"
)

func (c *cli) policyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Learn, check, show, approve and explain policies",
		Long: `A policy says which hosts the consortium accepts. It is a folder:

  policy.yaml        the rules, layer by layer: tpm, secureBoot, boot, runtime, timing
  manifests/*.yaml   the digests that the rules refer to: who published them, for what

Learn one from a host that you trust, read it, and approve it. It takes effect
when operators of enough members approved it. docs/policy.md is the manual.`,
		Args: cobra.ArbitraryArgs, RunE: group,
	}
	cmd.AddCommand(c.policyLearn(), c.policyLint(), c.policyShow(), c.policyApprove(), c.policyExplain())
	return cmd
}

// The files of a policy folder.
const (
	policyFile   = "policy.yaml"
	manifestsDir = "manifests"
)

// source is one file of a policy with its text.
type source struct {
	path string
	text []byte
}

// readPolicy reads a policy folder's files.
func readPolicy(dir string) (rules source, manifests []source, err error) {
	rules.path = filepath.Join(dir, policyFile)
	if rules.text, err = os.ReadFile(rules.path); err != nil {
		return rules, nil, unknown(err, "a policy folder holds policy.yaml and manifests/*.yaml")
	}
	names, err := filepath.Glob(filepath.Join(dir, manifestsDir, "*.yaml"))
	if err != nil {
		return rules, nil, unknown(err, "")
	}
	slices.Sort(names)
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return rules, nil, unknown(err, "")
		}
		manifests = append(manifests, source{name, text})
	}
	return rules, manifests, nil
}

// compile parses a policy's files and compiles them to a set. Problems name
// their file.
func compile(rules source, manifests []source) (*policy.Set, []*policy.Manifest, error) {
	p, err := policy.Parse(rules.text)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", rules.path, err)
	}
	var parsed []*policy.Manifest
	for _, m := range manifests {
		one, err := policy.ParseManifest(m.text)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", m.path, err)
		}
		parsed = append(parsed, one)
	}
	set, err := policy.NewSet(p, parsed)
	return set, parsed, err
}

const hintLint = "quorate policy lint DIR lists every problem"

// loadPolicy reads and compiles a policy folder.
func loadPolicy(dir string) (*policy.Set, []*policy.Manifest, error) {
	rules, manifests, err := readPolicy(dir)
	if err != nil {
		return nil, nil, err
	}
	set, parsed, err := compile(rules, manifests)
	if err != nil {
		return nil, nil, refused(err, hintLint)
	}
	return set, parsed, nil
}

// fetchPolicy gets the active policy of that name, or of the validators, and
// compiles it; nil if there is none.
func fetchPolicy(ctx context.Context, s *session, name string) (*policy.Set, []*policy.Manifest, error) {
	digest, rules, texts, err := receivePolicy(ctx, s, name)
	if status.Code(err) == codes.NotFound {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	var manifests []source
	for i, text := range texts {
		manifests = append(manifests, source{fmt.Sprintf("manifest %d", i+1), text})
	}
	set, parsed, err := compile(source{"policy", rules}, manifests)
	if err != nil {
		return nil, nil, refused(fmt.Errorf("the verifier's policy does not load: %w", err), "does this quorate have the verifier's version?")
	}
	if digestOf(set) != digest {
		return nil, nil, refused(errors.New("the verifier's policy is not the one whose digest it states"), "do not approve or trust it; look at the verifier")
	}
	return set, parsed, nil
}

// receivePolicy returns the active policy's files as the verifier sends them.
func receivePolicy(ctx context.Context, s *session, name string) (digest string, rules []byte, manifests [][]byte, err error) {
	stream, err := s.admin.GetPolicy(ctx, &pb.GetPolicyRequest{Name: name})
	if err != nil {
		return "", nil, nil, err
	}
	first, err := stream.Recv()
	if err != nil {
		return "", nil, nil, err
	}
	files := parts.Joiner{Limit: 2 * policy.MaxManifest}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", nil, nil, err
		}
		if err := files.Add(m.GetPart()); err != nil {
			return "", nil, nil, fmt.Errorf("the verifier's policy: %w", err)
		}
	}
	rules, manifests, err = files.Files()
	return first.GetDigest(), rules, manifests, err
}

func digestOf(set *policy.Set) string { return node.Digest(set.Digest()).String() }

// writePolicy writes a policy folder. It replaces one only if force is set.
func writePolicy(dir string, p *policy.Policy, manifests []*policy.Manifest, force bool) error {
	target := filepath.Join(dir, policyFile)
	if _, err := os.Lstat(target); err == nil && !force {
		return usagef("another --out, or --force to replace it", "%s exists already", target)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unknown(err, "")
	}
	old, err := filepath.Glob(filepath.Join(dir, manifestsDir, "*.yaml"))
	if err != nil {
		return unknown(err, "")
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			return unknown(err, "")
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, manifestsDir), 0o755); err != nil {
		return unknown(err, "")
	}
	for _, m := range manifests {
		if err := os.WriteFile(filepath.Join(dir, manifestsDir, m.Name+".yaml"), m.Print(), 0o644); err != nil {
			return unknown(err, "")
		}
	}
	if err := os.WriteFile(target, p.Print(), 0o644); err != nil {
		return unknown(err, "")
	}
	return nil
}

// manifestView is one manifest in short.
type manifestView struct {
	Name      string `json:"name"`
	Publisher string `json:"publisher"`
	Package   string `json:"package"`
	Version   string `json:"version"`
	Status    string `json:"status" doc:"good, outdated or revoked"`
	Entries   int    `json:"entries"`
}

// policyView is what commands print about a policy.
type policyView struct {
	Name      string         `json:"name"`
	Version   int            `json:"version"`
	Roles     []string       `json:"roles"`
	Digest    string         `json:"digest" doc:"of the policy with its manifests"`
	Manifests []manifestView `json:"manifests"`
	Text      string         `json:"text,omitempty" doc:"canonical policy.yaml"`
	Dir       string         `json:"dir,omitempty" doc:"folder that was written"`
}

func policyOf(set *policy.Set, manifests []*policy.Manifest) policyView {
	p := set.Policy()
	v := policyView{Name: p.Name, Version: p.Version, Roles: p.Roles, Digest: digestOf(set), Manifests: []manifestView{}}
	for _, m := range manifests {
		v.Manifests = append(v.Manifests, manifestView{m.Name, m.Publisher, m.Package, m.Version, m.Status.String(), len(m.Entries)})
	}
	return v
}

func (c *cli) policyShow() *cobra.Command {
	var name, out string
	var force bool
	cmd := &cobra.Command{
		Use:   "show [FILE|DIR]",
		Short: "Show a policy in its canonical form: a file's, a folder's, or the one in force",
		Long: `Show prints a policy in canonical form, every default written out, and the digest
of the set that approvals sign. Without an argument it asks the verifier for the
policy in force; --out saves that as a folder.`,
		Example: "  quorate policy show\n  quorate policy show --out policy\n  quorate policy show ./policy",
		Args:    between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && !isDir(args[0]) {
				return c.showPolicyFile(args[0])
			}
			set, manifests, err := c.policyAt(cmd, args, name)
			if err != nil {
				return err
			}
			v := policyOf(set, manifests)
			v.Text, v.Dir = string(set.Policy().Print()), out
			if out != "" {
				if err := writePolicy(out, set.Policy(), manifests, force); err != nil {
					return err
				}
			}
			return c.show(v, func() { c.printPolicy(v) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "`name` of the policy in force; default: the validators'")
	f.StringVar(&out, "out", "", "also write it as a policy `folder`")
	f.BoolVar(&force, "force", false, "replace the policy in that folder")
	return shaped(cmd, policyView{})
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// policyAt loads the policy of a folder argument, or the verifier's.
func (c *cli) policyAt(cmd *cobra.Command, args []string, name string) (set *policy.Set, manifests []*policy.Manifest, err error) {
	if len(args) == 1 {
		return loadPolicy(args[0])
	}
	err = c.online(cmd, "asking", func(ctx context.Context, s *session) error {
		set, manifests, err = fetchPolicy(ctx, s, name)
		return err
	})
	if err == nil && set == nil {
		err = refused(errors.New("the verifier has no such policy in force"), "learn and approve one: quorate policy learn NODE --out policy")
	}
	return set, manifests, err
}

// showPolicyFile shows a policy without its manifests, or a manifest.
func (c *cli) showPolicyFile(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return unknown(err, "")
	}
	if isManifest(text) {
		m, err := policy.ParseManifest(text)
		if err != nil {
			return refused(fmt.Errorf("%s: %w", path, err), "")
		}
		v := policyView{Roles: []string{}, Manifests: []manifestView{{m.Name, m.Publisher, m.Package, m.Version, m.Status.String(), len(m.Entries)}}, Text: string(m.Print())}
		return c.show(v, func() { fmt.Fprint(c.out, printable(v.Text)) })
	}
	p, err := policy.Parse(text)
	if err != nil {
		return refused(fmt.Errorf("%s: %w", path, err), "")
	}
	v := policyView{Name: p.Name, Version: p.Version, Roles: p.Roles, Manifests: []manifestView{}, Text: string(p.Print())}
	return c.show(v, func() { fmt.Fprint(c.out, printable(v.Text)) })
}

// isManifest tells a manifest from a policy by its first key.
func isManifest(text []byte) bool {
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(line, []byte("manifest:")) {
			return true
		}
	}
	return false
}

func (c *cli) printPolicy(v policyView) {
	fmt.Fprint(c.out, printable(v.Text))
	c.say("\n# set digest: %s", v.Digest)
	for _, m := range v.Manifests {
		c.say("# manifest %s: %s by %s, %s, %s", m.Name, strings.TrimSpace(m.Package+" "+m.Version), m.Publisher, m.Status, count(m.Entries, "entry", "entries"))
	}
	if v.Dir != "" {
		c.say("# written to %s", v.Dir)
	}
}
