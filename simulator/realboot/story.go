package realboot

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"
)

// story tells people what happens, each line with the time since the start.
type story struct {
	out   io.Writer
	began time.Time
}

func newStory(out io.Writer) *story { return &story{out, time.Now()} }

func (s *story) elapsed() time.Duration { return time.Since(s.began) }

func (s *story) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintf(s.out, "%6.1fs  %s\n", s.elapsed().Seconds(), strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n         "))
}

func (s *story) title(number int, title string) {
	fmt.Fprintf(s.out, "\n%d. %s\n", number, title)
}

func (s *story) end(r *Result, dir string) {
	verdict := "All five steps went as they must."
	if !r.Passed {
		verdict = "NOT PASSED."
		for _, step := range r.Steps {
			if !step.Passed {
				problem, _, _ := strings.Cut(step.Problem, "\n")
				verdict = fmt.Sprintf("NOT PASSED at step %d: %s.", step.Step, problem)
			}
		}
	}
	fmt.Fprintf(s.out, "\n%s %.0f seconds; result in %s, consoles and logs in %s.\n",
		verdict, r.Seconds, filepath.Join(dir, "realboot.json"), filepath.Join(dir, "realboot"))
}
