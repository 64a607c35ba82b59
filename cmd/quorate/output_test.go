package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/verifier/verdict"
)

func newCLI(env map[string]string) (*cli, *bytes.Buffer) {
	var out bytes.Buffer
	return &cli{out: &out, err: &out, env: func(name string) string { return env[name] }}, &out
}

// hostile is what a host could put into a path or a boot entry.
const hostile = "ok\x1b[2J\u202eevil\x9b31m\x7f\xff"

// Nothing that came from elsewhere reaches the terminal unescaped, in words or in
// JSON, and JSON keeps the value.
func TestHostileTextIsEscaped(t *testing.T) {
	c, out := newCLI(nil)
	var tab table
	tab.add(cell{hostile, red}, cell{"next", plain})
	tab.print(c)
	labels{c, "", 4}.row("path", hostile)
	c.findingBlock("", verdict.Finding{Check: "boot.image", Got: hostile, Where: hostile, Message: hostile, Remedy: hostile})
	c.printNode(nodeView{ID: hostile, State: hostile, Reason: hostile, Findings: []verdict.Finding{{Got: hostile}}}, time.Now())
	c.printExplanation(explainView{
		Node:        nodeView{ID: hostile, State: "suspended", Findings: []verdict.Finding{{Check: verdict.BootCommandLine, Got: hostile, Want: "ok"}}},
		CommandLine: compareLines("ok", hostile), Differences: []differenceView{{hostile, hostile, hostile, hostile, hostile}},
	}, time.Now())
	c.say("%s", hostile)
	valid := strings.ToValidUTF8(hostile, "")
	if err := (&cli{out: out, json: true, env: c.env}).show(map[string]string{"path": valid + "\U000e0001"}, nil); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"\x1b", "\u202e", "\x9b", "\x7f", "\xff", "\U000e0001"} {
		if strings.Contains(strings.ReplaceAll(out.String(), "\ufffd", ""), bad) {
			t.Errorf("%q got through:\n%q", bad, out)
		}
	}
}

func TestEscapedJSONKeepsItsValue(t *testing.T) {
	want := "a\u202eb\u0085\U000e0001ü"
	raw, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got string
	if err := json.Unmarshal(escapeJSON(raw), &got); err != nil || got != want {
		t.Errorf("%q became %q, %v", want, got, err)
	}
}

func TestTableAligns(t *testing.T) {
	c, out := newCLI(nil)
	var tab table
	tab.head("A", "B")
	tab.add(cell{"grüße", bold}, cell{"x", plain})
	tab.add(cell{"i", plain}, cell{"y", plain})
	tab.print(c)
	if want := "A      B\ngrüße  x\ni      y\n"; out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

func TestCommandLinesAreCompared(t *testing.T) {
	v := compareLines("root=/dev/vda2 ro quiet", "root=/dev/vda2 rw quiet quiet init=/bin/sh")
	if strings.Join(v.Added, " ") != "rw quiet init=/bin/sh" || strings.Join(v.Missing, " ") != "ro" {
		t.Errorf("added %q, missing %q", v.Added, v.Missing)
	}
	got := marksUnder("ro quiet init=/bin/sh", []string{"init=/bin/sh"})
	if want := strings.Repeat(" ", 9) + strings.Repeat("^", 12); got != want {
		t.Errorf("marks %q, want %q", got, want)
	}
	if marksUnder("ro", []string{"elsewhere"}) != "" {
		t.Error("a word that is not there was marked")
	}
}

// Every kind of error has its exit code.
func TestExitCodes(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want int
	}{
		"none":              {nil, exitGood},
		"usage":             {usagef("", "wrong"), exitUsage},
		"answered":          {answered{exitRefused}, exitRefused},
		"a check":           {verdict.Refuse(verdict.QuoteNonce, "", "a", "b"), exitRefused},
		"an admission":      {&admission.Refusal{Check: admission.Expired}, exitRefused},
		"no file":           {fs.ErrNotExist, exitUnknown},
		"interrupted":       {context.Canceled, exitUnknown},
		"unknown":           {errors.New("something"), exitUnknown},
		"unlisted key":      {status.Error(codes.Unauthenticated, "who"), exitRefused},
		"wrong role":        {status.Error(codes.PermissionDenied, "no"), exitRefused},
		"not possible now":  {status.Error(codes.FailedPrecondition, "no"), exitRefused},
		"not acceptable":    {status.Error(codes.InvalidArgument, "no"), exitRefused},
		"verifier is down":  {status.Error(codes.Unavailable, "down"), exitUnknown},
		"verifier is slow":  {status.Error(codes.DeadlineExceeded, "slow"), exitUnknown},
		"verifier's defect": {status.Error(codes.Internal, "oops"), exitUnknown},
	} {
		for _, asJSON := range []bool{false, true} {
			c, out := newCLI(nil)
			c.json = asJSON
			if got := c.report(test.err); got != test.want {
				t.Errorf("%s: exit code %d, want %d", name, got, test.want)
			}
			if asJSON && out.Len() > 0 && !json.Valid(out.Bytes()) {
				t.Errorf("%s: not JSON: %s", name, out)
			}
		}
	}
}

func TestSpans(t *testing.T) {
	for d, want := range map[time.Duration]string{
		5 * time.Second: "5s", 65 * time.Second: "1m05s", 3 * time.Hour: "3h00m", 72 * time.Hour: "3d",
	} {
		if got := span(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
	later := time.Unix(100, 0)
	if ago(nil, later) != "never" || ago(&later, time.Unix(90, 0)) != "in 10s" {
		t.Error("ago")
	}
}
