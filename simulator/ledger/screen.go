package ledger

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// row is what the table says of one machine.
type row struct {
	id, power, until, reason string
	out                      bool // has no power
}

// screen tells the story above a table of validators. In a terminal the table
// stays below the text and changes in place; elsewhere each change is a line.
type screen struct {
	mu     sync.Mutex
	out    io.Writer
	live   bool
	width  int
	number int // of chapters
	title  string
	rows   []row
	drawn  int // lines of the table that are on the screen
}

func newScreen(out io.Writer) *screen {
	s := &screen{out: out}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		width, _, err := term.GetSize(int(f.Fd()))
		s.live, s.width = err == nil, width
	}
	return s
}

const (
	bold  = "1"
	red   = "31"
	green = "32"
	grey  = "90"
)

func (s *screen) paint(colour, text string) string {
	if !s.live || os.Getenv("NO_COLOR") != "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (s *screen) chapter(title, text string) {
	s.number++
	s.print(fmt.Sprintf("\n%s\n   %s\n\n", s.paint(bold, fmt.Sprintf("%d. %s", s.number, title)), strings.ReplaceAll(text, "\n", "\n   ")))
}

func (s *screen) good(format string, args ...any) { s.say("+", green, format, args...) }
func (s *screen) bad(format string, args ...any)  { s.say("-", red, format, args...) }
func (s *screen) note(format string, args ...any) { s.say("*", grey, format, args...) }

func (s *screen) say(mark, colour, format string, args ...any) {
	s.print("   " + s.paint(colour, mark) + " " + fmt.Sprintf(format, args...) + "\n")
}

// print writes text above the table.
func (s *screen) print(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	fmt.Fprint(s.out, text)
	s.draw()
}

// show has the table say something else.
func (s *screen) show(title string, rows []row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.rows
	s.title, s.rows = title, rows
	if s.live {
		s.erase()
		s.draw()
		return
	}
	for i, r := range rows {
		if i >= len(before) || before[i].power != r.power || before[i].out != r.out {
			fmt.Fprintf(s.out, "     %s: %s has power %s, %s\n", title, r.id, r.power, r.reason)
		}
	}
}

func (s *screen) erase() {
	if s.drawn > 0 {
		fmt.Fprintf(s.out, "\x1b[%dA\x1b[J", s.drawn)
		s.drawn = 0
	}
}

func (s *screen) draw() {
	if !s.live || len(s.rows) == 0 {
		return
	}
	lines := []string{"", s.paint(bold, s.cut(s.title)), s.paint(grey, s.cut(fmt.Sprintf("%-22s %-9s %-10s %s", "VALIDATOR", "POWER", "UNTIL", "WHY")))}
	for _, r := range s.rows {
		colour := green
		if r.out {
			colour = red
		}
		lines = append(lines, s.paint(colour, s.cut(fmt.Sprintf("%-22s %-9s %-10s %s", r.id, r.power, r.until, r.reason))))
	}
	s.drawn = len(lines)
	fmt.Fprintln(s.out, strings.Join(lines, "\n"))
}

// cut keeps a line from wrapping, which would move the table.
func (s *screen) cut(line string) string {
	line = "   " + line
	if r := []rune(line); len(r) >= s.width {
		return string(r[:max(s.width-1, 0)])
	}
	return line
}

// close leaves the table as it is.
func (s *screen) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drawn, s.rows = 0, nil
}
