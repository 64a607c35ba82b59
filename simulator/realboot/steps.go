package realboot

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"
)

// step is one boot, what is done in it, and what the verifier must say.
type step struct {
	title       string
	story       string // why it is done
	commandLine string
	secureBoot  bool
	act         func(context.Context, *scenario, *Guest) error // before the verifier is asked; may be nil
	state       string                                         // the node's state afterwards
	check       string                                         // that must be among the findings, or ""
	mentions    []string                                       // what the explanation must name
}

// extraArgument is harmless. What matters is that nobody approved it.
const extraArgument = "mitigations=off"

var steps = []step{
	{
		title: "First boot: the host joins, and a policy is learned from it",
		story: "Nobody has approved a policy yet, so the evidence is archived and refused.\n" +
			"The operator looks at it, learns a policy from it, and approves that policy.",
		commandLine: CommandLine, secureBoot: true, act: joinAndLearn, state: "admitted",
	},
	{
		title:       "Second boot: same image, same TPM",
		story:       "The host proves its new boot against the policy.",
		commandLine: CommandLine, secureBoot: true, state: "admitted",
	},
	{
		title:       "Third boot: one more kernel argument",
		story:       "Somebody adds " + extraArgument + " to the kernel command line.",
		commandLine: CommandLine + " " + extraArgument, secureBoot: true, state: "suspended",
		check: "boot.command-line", mentions: []string{CommandLine + " " + extraArgument, CommandLine},
	},
	{
		title:       "Fourth boot: the old command line, then an unlisted program runs",
		story:       "The mended host is admitted again. Then somebody runs " + unlistedProgram + " on it.",
		commandLine: CommandLine, secureBoot: true, act: runUnlisted, state: "suspended",
		check: "runtime.ima-unlisted", mentions: []string{unlistedProgram, fmt.Sprintf("%x", sha256.Sum256([]byte(unlistedScript)))},
	},
	{
		title:       "Fifth boot: Secure Boot off",
		story:       "Debian's GRUB then starts the kernel in a way that loses the boot log.",
		commandLine: CommandLine, secureBoot: false, state: "suspended",
		check: "bootlog.missing", mentions: []string{"Secure Boot"},
	},
}

// perform does one step and reports it; an error is a step that did not pass.
func (s *scenario) perform(ctx context.Context, number int, st step) Report {
	s.story.title(number, st.title)
	s.story.say("%s", st.story)
	report := Report{Step: number, Title: st.title, SecureBoot: st.secureBoot, CommandLine: st.commandLine}
	if err := s.try(ctx, st, &report); err != nil {
		report.Problem = err.Error()
		if ctx.Err() == nil {
			s.story.say("PROBLEM: %v", err)
		}
		return report
	}
	report.Passed = true
	return report
}

func (s *scenario) try(ctx context.Context, st step, report *Report) error {
	guest, err := s.boot(ctx, st)
	if err != nil {
		return err
	}
	defer guest.Kill()
	report.BootSeconds = seconds(guest.BootTime)
	s.story.say("Booted in %.1f seconds.", report.BootSeconds)
	if st.act == nil {
		err = startAgent(ctx, guest)
	} else {
		err = st.act(ctx, s, guest)
	}
	if err != nil {
		return err
	}
	if err := s.judge(ctx, st, report); err != nil {
		return err
	}
	return guest.Shutdown(ctx)
}

func (s *scenario) boot(ctx context.Context, st step) (*Guest, error) {
	if err := s.image.SetCommandLine(ctx, st.commandLine); err != nil {
		return nil, err
	}
	return s.machine.Boot(ctx, s.image, BootOptions{SecureBoot: st.secureBoot, Forward: s.site.Ports})
}

// patience is how long the verifier may take to come to a decision: more than
// one challenge interval of the learned policy.
const patience = 60 * time.Second

// judge waits for the decision that the step wants and checks what was said.
func (s *scenario) judge(ctx context.Context, st step, report *Report) error {
	before := s.lastEpoch()
	node, err := s.await(ctx, func(n nodeView) bool {
		return n.State == st.state && (st.check != "" && n.found(st.check) || st.check == "" && n.Epoch != before)
	})
	report.State, report.Epoch, report.Findings = node.State, node.Epoch, node.Findings
	if err != nil {
		return err
	}
	s.story.say("The verifier says: %s. TPM boot epoch: %s (resetCount/restartCount).", node.State, node.Epoch)
	if st.check == "" {
		return advanced(before, node.Epoch)
	}
	explained, err := s.explain(ctx)
	if err != nil {
		return err
	}
	report.Findings, report.Differences, report.CommandLines = explained.Node.Findings, explained.Differences, explained.CommandLine
	s.story.say("quorate node explain %s prints:\n\n%s", nodeID, explained.text)
	return st.namesCause(report)
}

// lastEpoch is the newest boot epoch that an earlier step saw, or "".
func (s *scenario) lastEpoch() string {
	if len(s.result.Steps) == 0 {
		return ""
	}
	return s.result.Steps[len(s.result.Steps)-1].Epoch
}

// advanced checks that the TPM counted a reset between two boots.
func advanced(before, after string) error {
	if before == "" {
		return nil
	}
	var was, is, restart uint32
	if _, err := fmt.Sscanf(before, "%d/%d", &was, &restart); err != nil {
		return fmt.Errorf("boot epoch %q: %w", before, err)
	}
	if _, err := fmt.Sscanf(after, "%d/%d", &is, &restart); err != nil {
		return fmt.Errorf("boot epoch %q: %w", after, err)
	}
	if is <= was {
		return fmt.Errorf("boot epoch %s after %s: resetCount did not advance", after, before)
	}
	return nil
}

// namesCause checks that the refusal says what a person needs to know.
func (st step) namesCause(r *Report) error {
	said := fmt.Sprintf("%+v %+v %+v", r.Findings, r.Differences, r.CommandLines)
	for _, f := range r.Findings {
		if f.Check != st.check {
			continue
		}
		if f.Got == "" || f.Want == "" || f.Remedy == "" {
			return fmt.Errorf("finding %s lacks got, want or remedy: %+v", st.check, f)
		}
		for _, text := range st.mentions {
			if !strings.Contains(said, text) {
				return fmt.Errorf("the refusal does not mention %q: %s", text, said)
			}
		}
		return nil
	}
	return fmt.Errorf("no finding %s: %s", st.check, said)
}

const asAgent = "su quorate -c 'exec quorate-agent %s --config /etc/quorate/agent.yaml'"

func startAgent(ctx context.Context, guest *Guest) error {
	_, err := guest.Exec(ctx, fmt.Sprintf(asAgent, "run")+" >/dev/console 2>&1 &")
	return err
}

// joinAndLearn is what people do once for a new host: invite, join, approve the
// node, learn a policy and approve that too.
func joinAndLearn(ctx context.Context, s *scenario, guest *Guest) error {
	token, err := s.invite(ctx)
	if err != nil {
		return err
	}
	join := fmt.Sprintf("echo %s >/run/quorate/token && chown quorate /run/quorate/token && "+asAgent+" && rm /run/quorate/token",
		token, "join --token-file /run/quorate/token")
	if _, err := guest.Exec(ctx, join); err != nil {
		return err
	}
	s.story.say("The agent joined: the verifier checked the TPM's EK certificate and that the keys live in that TPM.")
	if err := startAgent(ctx, guest); err != nil {
		return err
	}
	node, err := s.await(ctx, func(n nodeView) bool { return n.Evidence != "" })
	if err != nil {
		return err
	}
	s.story.say("The first evidence is archived: %s", node.Evidence)
	if err := s.learn(ctx); err != nil {
		return err
	}
	s.story.say("A policy is learned from it and approved, and the node is approved.")
	return nil
}

func runUnlisted(ctx context.Context, s *scenario, guest *Guest) error {
	if err := startAgent(ctx, guest); err != nil {
		return err
	}
	before := s.lastEpoch()
	node, err := s.await(ctx, func(n nodeView) bool { return n.State == "admitted" && n.Epoch != before })
	if err != nil {
		return err
	}
	s.story.say("Admitted again, boot epoch %s. Now %s runs.", node.Epoch, unlistedProgram)
	_, err = guest.Exec(ctx, unlistedProgram)
	return err
}
