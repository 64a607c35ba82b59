package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/quorate/quorate/verifier/verdict"
)

// style is an ANSI colour. It is used on terminals only, and never alone: the
// words say the same.
type style string

const (
	plain  style = ""
	bold   style = "1"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	faint  style = "2"
)

// colourful reports whether the output is a terminal whose owner wants colour.
func (c *cli) colourful() bool {
	return c.env("NO_COLOR") == "" && c.env("TERM") != "dumb" && isTerminal(c.out)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// paint makes text printable and gives it a colour.
func (c *cli) paint(s style, text string) string {
	text = verdict.Quote(text)
	if s == plain || text == "" || !c.colourful() {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// cell is one field of a table.
type cell struct {
	text  string
	style style
}

// table prints columns aligned by what is seen. Every text is made printable.
type table struct{ rows [][]cell }

func (t *table) head(names ...string) {
	row := make([]cell, len(names))
	for i, name := range names {
		row[i] = cell{name, faint}
	}
	t.rows = append(t.rows, row)
}

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

func (t *table) print(c *cli) {
	var widths []int
	for _, row := range t.rows {
		for i, f := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(verdict.Quote(f.text)))
		}
	}
	for _, row := range t.rows {
		line := ""
		for i, f := range row {
			pad := widths[i] - utf8.RuneCountInString(verdict.Quote(f.text)) + 2
			line += c.paint(f.style, f.text) + strings.Repeat(" ", pad)
		}
		fmt.Fprintln(c.out, strings.TrimRight(line, " "))
	}
}

// labels prints "label  text" lines and leaves out empty texts. A text of
// several lines goes on under itself.
type labels struct {
	c      *cli
	indent string
	width  int
}

func (l labels) row(label, text string) { l.paint(label, plain, text) }

func (l labels) paint(label string, s style, text string) {
	if text == "" {
		return
	}
	for line := range strings.Lines(text) {
		fmt.Fprintf(l.c.out, "%s%-*s  %s\n", l.indent, l.width, label, l.c.paint(s, strings.TrimSuffix(line, "\n")))
		label = ""
	}
}

// say prints one line of our own words with untrusted parts in it.
func (c *cli) say(format string, args ...any) {
	fmt.Fprintln(c.out, printable(fmt.Sprintf(format, args...)))
}

// printable escapes whatever a terminal could take for a command, and keeps lines.
func printable(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = verdict.Quote(line)
	}
	return strings.Join(lines, "\n")
}

// show prints the value as JSON with --json, and otherwise what tell prints.
func (c *cli) show(v any, tell func()) error {
	if !c.json {
		tell()
		return nil
	}
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "%s\n", escapeJSON(raw))
	return err
}

// escapeJSON escapes what JSON allows inside strings and a terminal should not
// get: DEL, C1 controls, direction marks. Outside strings JSON is ASCII.
func escapeJSON(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for _, r := range string(raw) {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

// stamp is a time as people read it, "" for none.
func stamp(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// ago is how long ago a time is, in one unit or two.
func ago(t *time.Time, now time.Time) string {
	if t == nil || t.IsZero() {
		return "never"
	}
	d := now.Sub(*t)
	if d < 0 {
		return "in " + span(-d)
	}
	return span(d) + " ago"
}

func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
