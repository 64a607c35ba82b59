package demo

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// teller prints the story.
type teller struct {
	out    io.Writer
	colour bool
	number int
}

func newTeller(out io.Writer) *teller {
	t := &teller{out: out}
	if f, ok := out.(*os.File); ok && os.Getenv("NO_COLOR") == "" {
		t.colour = term.IsTerminal(int(f.Fd()))
	}
	return t
}

const (
	bold  = "1"
	red   = "31"
	green = "32"
	grey  = "90"
)

func (t *teller) paint(colour, text string) string {
	if !t.colour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (t *teller) chapter(title, text string) {
	t.number++
	fmt.Fprintf(t.out, "\n%s\n%s\n\n", t.paint(bold, fmt.Sprintf("%d. %s", t.number, title)), indent(text, "   "))
}

func (t *teller) line(mark, colour, what, text string) {
	fmt.Fprintf(t.out, "   %s %-34s %s\n", t.paint(colour, mark), what, strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", 40)))
}

func (t *teller) command(command, text string) { t.line("$", grey, command, text) }
func (t *teller) machine(id, text string)      { t.line("*", grey, id, text) }
func (t *teller) admitted(id, text string) {
	t.line("+", green, id, t.paint(green, "ADMITTED")+"  "+text)
}
func (t *teller) refused(id, text string)   { t.line("-", red, id, t.paint(red, "REFUSED")+"   "+text) }
func (t *teller) suspended(id, text string) { t.line("-", red, id, t.paint(red, "SUSPENDED")+" "+text) }

func (t *teller) finding(f Finding) {
	for _, row := range [][2]string{{"check", f.Check}, {"where", f.Where}, {"got", f.Got}, {"want", f.Want}, {"remedy", f.Remedy}} {
		if row[1] != "" {
			fmt.Fprintf(t.out, "       %s %s\n", t.paint(grey, fmt.Sprintf("%-7s", row[0])), row[1])
		}
	}
}

func (t *teller) more(command string) {
	fmt.Fprintf(t.out, "       %s %s\n", t.paint(grey, "more   "), command)
}

// excerpt shows the statement inside a bundle.
func (t *teller) excerpt(bundle string) {
	_, statement, found := strings.Cut(bundle, "quorate/admission/v1")
	if !found {
		return
	}
	statement, _, _ = strings.Cut(statement, "\n\n")
	for _, line := range strings.Split("quorate/admission/v1"+statement, "\n") {
		fmt.Fprintf(t.out, "       %s\n", t.paint(grey, line))
	}
	fmt.Fprintln(t.out)
}

func (t *teller) ending(r Result, path string) {
	fmt.Fprintf(t.out, "\n%s\n\n", t.paint(bold, "The end"))
	for _, n := range r.Nodes {
		reason := ""
		if len(n.Findings) > 0 {
			reason = n.Findings[0].Check
		}
		fmt.Fprintf(t.out, "   %-22s %-10s %s\n", n.ID, n.Outcome, reason)
	}
	fmt.Fprintf(t.out, `
   %.0f seconds; the same as JSON: %s

   Try next
     make realboot                 the same on a real boot: UEFI, Secure Boot, shim, GRUB, IMA
     make build && bin/quorate --help
     docs/policy.md                the policy language
     admission/                    the package that a ledger imports
`, r.Seconds, path)
}

func indent(text, by string) string { return by + strings.ReplaceAll(text, "\n", "\n"+by) }
