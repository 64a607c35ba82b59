package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/verifier/appraise"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/policy"
)

// learnOptions are the flags of `policy learn`.
type learnOptions struct {
	lesson appraise.Lesson
	timing policy.Timing // zero fields keep what was learned
	out    string
	force  bool
}

const learnLong = `Learn writes the policy that admits exactly what the given hosts booted and ran,
and nothing else: TPM class and firmware, Secure Boot keys, every image, kernel,
initrd, loader file and kernel command line, and every program that IMA measured.
It says what the hosts are, not that they are good: learn from hosts that you
installed yourself and that nobody has used, and read the result.

Give nodes (the verifier has their last evidence) or evidence files. With nodes,
the version follows the one in force; with files only, no verifier is asked.`

func (c *cli) policyLearn() *cobra.Command {
	var o learnOptions
	cmd := &cobra.Command{
		Use:   "learn NODE|EVIDENCE-FILE... --out DIR",
		Short: "Write the policy that admits exactly what these hosts booted and ran",
		Long:  learnLong,
		Example: `  quorate policy learn org-a/validator-1 --out policy
  quorate policy learn first.json second.json --out policy --name validators --version 2`,
		Args: between(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.out == "" {
				return usagef("for example: --out policy", "no --out folder")
			}
			set, manifests, err := c.learn(cmd, o, args)
			if err != nil {
				return err
			}
			if err := writePolicy(o.out, set.Policy(), manifests, o.force); err != nil {
				return err
			}
			v := policyOf(set, manifests)
			v.Dir = o.out
			return c.show(v, func() { c.printLearned(v) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.out, "out", "", "policy `folder` to write")
	f.BoolVar(&o.force, "force", false, "replace the policy in that folder")
	f.StringVar(&o.lesson.Name, "name", "validators", "`name` of the policy")
	f.IntVar(&o.lesson.Version, "version", 0, "its `version`; default: one more than the one in force")
	f.StringSliceVar(&o.lesson.Roles, "role", []string{"validator"}, "`roles` it is for")
	f.StringVar(&o.lesson.Publisher, "publisher", "", "who publishes the manifests; default: the name of your key")
	f.StringArrayVar(&o.lesson.CommandLines, "command-line", nil, "a kernel command line whose `text` the log lacks, as in /proc/cmdline of the host")
	f.DurationVar(&o.timing.ChallengeEvery, "challenge-every", 0, "time between challenges (default 30s)")
	f.DurationVar(&o.timing.LateAfter, "late-after", 0, "without fresh evidence for so long, a node is late (default 90s)")
	f.DurationVar(&o.timing.AdmissionFor, "admission-for", 0, "validity of an admission (default 24h)")
	return shaped(cmd, policyView{})
}

// learn gathers the samples and makes the policy of them.
func (c *cli) learn(cmd *cobra.Command, o learnOptions, args []string) (*policy.Set, []*policy.Manifest, error) {
	files, nodes, err := readSamples(args)
	if err != nil {
		return nil, nil, err
	}
	if len(nodes) > 0 {
		err := c.online(cmd, "fetching evidence from", func(ctx context.Context, s *session) error {
			if o.lesson.Publisher == "" {
				o.lesson.Publisher = admission.NodeMember(s.key.Name())
			}
			if o.lesson.Version == 0 {
				if o.lesson.Version, err = nextVersion(ctx, s, o.lesson.Name); err != nil {
					return err
				}
			}
			for _, id := range nodes {
				file, err := fetchEvidence(ctx, s, id)
				if err != nil {
					return err
				}
				files = append(files, file)
			}
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return teach(o, files)
}

// readSamples reads the arguments that are files; the others must be node ids.
func readSamples(args []string) (files []*evidence.File, nodes []string, err error) {
	for _, arg := range args {
		info, err := os.Stat(arg)
		switch {
		case err == nil && info.Mode().IsRegular():
			file, err := readEvidence(arg)
			if err != nil {
				return nil, nil, err
			}
			files = append(files, file)
		case admission.ValidNodeID(arg):
			nodes = append(nodes, arg)
		default:
			return nil, nil, usagef("a node id is MEMBER/NAME; quorate evidence get NODE --out FILE makes evidence files", "%q is neither a file nor a node id", arg)
		}
	}
	return files, nodes, nil
}

// nextVersion is one more than that of the policy of this name, and of the
// validators', that is in force.
func nextVersion(ctx context.Context, s *session, name string) (int, error) {
	version := 1
	for _, which := range []string{name, ""} {
		set, _, err := fetchPolicy(ctx, s, which)
		if err != nil {
			return 0, err
		}
		if set != nil {
			version = max(version, set.Policy().Version+1)
		}
	}
	return version, nil
}

// teach makes a policy from evidence files.
func teach(o learnOptions, files []*evidence.File) (*policy.Set, []*policy.Manifest, error) {
	var samples []appraise.Sample
	for _, file := range files {
		verified, err := file.VerifyWhole()
		if err != nil {
			return nil, nil, refused(fmt.Errorf("the evidence of %s is not authentic: %w", file.Record.Node, err), "learn from evidence that verifies: quorate node explain "+file.Record.Node)
		}
		history, err := appraise.Recorded(file.Record)
		if err != nil {
			return nil, nil, refused(err, "")
		}
		samples = append(samples, appraise.Sample{Evidence: verified, TPM: history.TPM})
	}
	if o.lesson.Version == 0 {
		o.lesson.Version = 1
	}
	if o.lesson.Publisher == "" {
		o.lesson.Publisher = admission.NodeMember(files[0].Record.Node)
	}
	p, manifests, err := appraise.Learn(o.lesson, samples, time.Now())
	if err != nil {
		return nil, nil, refused(err, "learn from a boot that is as it should be")
	}
	if p, err = timed(p, o.timing); err != nil {
		return nil, nil, usage(err, "")
	}
	set, err := policy.NewSet(p, manifests)
	if err != nil {
		return nil, nil, refused(err, "")
	}
	return set, manifests, nil
}

// timed gives a policy other times and has it judged again by the parser.
func timed(p *policy.Policy, t policy.Timing) (*policy.Policy, error) {
	own := *p
	for _, f := range []struct{ to, from *time.Duration }{
		{&own.Timing.ChallengeEvery, &t.ChallengeEvery}, {&own.Timing.LateAfter, &t.LateAfter}, {&own.Timing.AdmissionFor, &t.AdmissionFor},
	} {
		if *f.from < 0 {
			return nil, errors.New("times must be positive")
		}
		if *f.from != 0 {
			*f.to = *f.from
		}
	}
	return policy.Parse(own.Print())
}

func (c *cli) printLearned(v policyView) {
	c.say("Learned policy %s version %d for %v:", v.Name, v.Version, v.Roles)
	for _, m := range v.Manifests {
		c.say("  manifest %-24s %s", m.Name, count(m.Entries, "digest", "digests"))
	}
	c.say("Written to %s. Read it, then:\n  quorate policy lint %s\n  quorate policy approve %s", v.Dir, v.Dir, v.Dir)
}
