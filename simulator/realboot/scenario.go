package realboot

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/quorate/quorate/simulator/site"
)

// Options say where the programs are and where to write.
type Options struct {
	Bin string // folder with quorate, quorate-agent and quorate-verifier, built with CGO_ENABLED=0
	Out string // folder for realboot.json and, below realboot/, images, consoles and logs
}

// Result is what the scenario showed, as realboot.json holds it.
type Result struct {
	Passed  bool     `json:"passed"`
	Kernel  string   `json:"kernel"` // release of the guest's kernel
	Seconds float64  `json:"seconds"`
	Steps   []Report `json:"steps"`
}

// Report is one step of the scenario.
type Report struct {
	Step         int           `json:"step"`
	Title        string        `json:"title"`
	Passed       bool          `json:"passed"`
	Problem      string        `json:"problem,omitempty"` // why it did not pass
	SecureBoot   bool          `json:"secureBoot"`
	CommandLine  string        `json:"commandLine"`
	BootSeconds  float64       `json:"bootSeconds"`
	State        string        `json:"state"` // of the node, as the verifier says
	Epoch        string        `json:"epoch"` // resetCount/restartCount of the TPM
	Findings     []Finding     `json:"findings,omitempty"`
	Differences  []Difference  `json:"differences,omitempty"`
	CommandLines *CommandLines `json:"commandLines,omitempty"` // accepted and found, when that is what was refused
}

// scenario is one run: one machine, one image, one verifier.
type scenario struct {
	site    *site.Site
	machine *Machine
	image   *Image
	story   *story
	result  *Result
}

// Run shows five boots of one computer to a verifier and checks what it
// decides: a first boot is learned from, the same boot is admitted, another
// command line is refused, an unlisted program suspends, and a boot without
// Secure Boot is refused. It writes the story to out and the result to a file.
// The error is about the run; a wrong decision is in Result.Passed.
// Nothing is left running, also when ctx ends.
func Run(ctx context.Context, o Options, out io.Writer) (*Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &scenario{story: newStory(out), result: &Result{}}
	defer s.close()
	if err := s.prepare(ctx, o); err != nil {
		return nil, fmt.Errorf("realboot: %w", err)
	}
	s.result.Passed = true
	for i, step := range steps {
		report := s.perform(ctx, i+1, step)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("realboot: interrupted in step %d: %w", i+1, ctx.Err())
		}
		s.result.Steps = append(s.result.Steps, report)
		if s.result.Passed = report.Passed; !report.Passed {
			break // the next steps build on this one
		}
	}
	s.result.Seconds = seconds(s.story.elapsed())
	s.story.end(s.result, o.Out)
	if err := s.save(o.Out); err != nil {
		return s.result, fmt.Errorf("realboot: %w", err)
	}
	return s.result, nil
}

// prepare makes everything that all steps share.
func (s *scenario) prepare(ctx context.Context, o Options) error {
	host, err := FindHost()
	if err != nil {
		return err
	}
	s.result.Kernel = host.KernelRelease
	dir, err := emptyFolder(filepath.Join(o.Out, "realboot"))
	if err != nil {
		return err
	}
	bin, err := filepath.Abs(o.Bin)
	if err != nil {
		return err
	}
	s.story.say("A verifier of a test consortium starts on this machine.")
	s.site, err = site.New(ctx, site.Options{Bin: bin, Dir: dir, Host: "localhost", Verifier: "verifier.realboot.test", Member: member,
		Consortium: "realboot-net", LedgerID: "realboot-1"})
	if err != nil {
		return err
	}
	s.story.say("A TPM is manufactured: swtpm, with certificates of a simulated vendor.")
	tpm := filepath.Join(dir, "tpm")
	if err := ManufactureTPM(ctx, tpm, s.site.Vendor); err != nil {
		return err
	}
	s.story.say("A disk image is built: Debian's shim, GRUB and kernel %s, an ext4 root with quorate-agent.", host.KernelRelease)
	files, err := s.guestFiles()
	if err != nil {
		return err
	}
	if s.image, err = BuildImage(ctx, host, dir, ImageSpec{Chain: ShimGrub, CommandLine: CommandLine, Files: files}); err != nil {
		return err
	}
	s.machine, err = NewMachine(host, dir, tpm)
	return err
}

func emptyFolder(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if err := os.RemoveAll(path); err != nil {
		return "", err
	}
	return path, os.MkdirAll(path, 0o700)
}

// The node. In the guest, the consortium file's name localhost means the way to
// this host, see GuestGateway.
const (
	member = "org-a"
	nodeID = member + "/guest"
)

// unlistedProgram is on the disk from the start, and is not run while the
// policy is learned.
const (
	unlistedProgram = "/usr/local/bin/unlisted"
	unlistedScript  = "#!/bin/sh\necho 'a program that no manifest lists'\n"
)

const guestConfig = `node: ` + nodeID + `
consortium: /etc/quorate/consortium.yaml
stateDir: /var/lib/quorate
`

// guestFiles are what the guest has besides busybox.
func (s *scenario) guestFiles() ([]File, error) {
	agent, err := os.ReadFile(s.site.Program("quorate-agent"))
	if err != nil {
		return nil, err
	}
	consortium, err := os.ReadFile(s.site.ConsortiumFile())
	if err != nil {
		return nil, err
	}
	return []File{
		{"/usr/local/bin/quorate-agent", 0o755, agent},
		{"/etc/quorate/agent.yaml", 0o644, []byte(guestConfig)},
		{"/etc/quorate/consortium.yaml", 0o644, consortium},
		{"/etc/hosts", 0o644, []byte(GuestGateway + " localhost\n")},
		{"/etc/nsswitch.conf", 0o644, []byte("hosts: files\n")},
		{unlistedProgram, 0o755, []byte(unlistedScript)},
	}, nil
}

func (s *scenario) close() {
	if s.machine != nil {
		s.machine.Close()
	}
	if s.site != nil {
		s.site.Close()
	}
}

func (s *scenario) save(dir string) error {
	raw, err := json.MarshalIndent(s.result, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "realboot.json"), append(raw, '\n'), 0o644)
}

func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }
