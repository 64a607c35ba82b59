// Package attack tries the hostile set against a running verifier: broken frames,
// stolen and guessed tokens, false TPM certificates, replayed and malformed quotes,
// altered boot logs and IMA lists. Each attempt knows who has to refuse it, so the
// report tells a defence that held from an attempt that failed for another reason.
//
// What can be tried depends on what the operator gives. Everybody can try what
// needs no token. With a token a simulated host knocks, and with a vendor that the
// verifier trusts, as only a test consortium does, that host enrols, is admitted,
// and then lies in every way that this package knows.
package attack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/simulator/vendorca"
	"github.com/quorate/quorate/verifier/verdict"
)

// Options say whom to attack and as whom.
type Options struct {
	Consortium *admission.Consortium
	Verifier   admission.Verifier
	Node       string                            // node id that the token is for
	Token      string                            // join token; empty: only what needs none
	Vendor     *vendorca.CA                      // certifies the simulated TPM; nil: nobody the verifier trusts
	Progress   func(done, total int, now string) // nil: none
}

// Outcome is what became of one attempt.
type Outcome string

// Outcomes, the best first.
const (
	Refused   Outcome = "refused"          // by the check that has to
	Passed    Outcome = "passed"           // a control: something genuine was served
	Otherwise Outcome = "refused by other" // refused, but not by what was tried
	Unknown   Outcome = "unknown"          // no answer, or no control to compare with
	Failed    Outcome = "control failed"   // something genuine was refused
	Accepted  Outcome = "ACCEPTED"         // the attack worked
)

// Row is one attempt and what became of it.
type Row struct {
	Group    string   `json:"group" doc:"what kind of attempt"`
	Name     string   `json:"name" doc:"what was tried"`
	Attacks  []string `json:"attacks,omitempty" doc:"rows of docs/attacks.md"`
	Outcome  Outcome  `json:"outcome" doc:"refused, passed, refused by other, unknown, control failed or ACCEPTED"`
	By       string   `json:"by,omitempty" doc:"what refused it: a check, a gRPC status, a TLS or HTTP/2 error"`
	Expected []string `json:"expected" doc:"what has to refuse it; any of these"`
	Detail   string   `json:"detail,omitempty" doc:"in the verifier's words"`
}

// Report is everything that was tried.
type Report struct {
	Verifier string          `json:"verifier" doc:"name of the verifier"`
	Tried    int             `json:"tried" doc:"attempts and controls that were made"`
	Counts   map[Outcome]int `json:"counts" doc:"how many ended in each outcome"`
	Missing  []string        `json:"missing" doc:"what was not tried, and what it needs"`
	Rows     []Row           `json:"rows"`
}

// Result is the whole in one word: "refused" if everything that was tried was
// refused as expected, "accepted" if an attack worked or a genuine host was refused
// afterwards, "unknown" if an answer is missing.
func (r *Report) Result() string {
	switch {
	case r.Counts[Accepted]+r.Counts[Failed] > 0:
		return "accepted"
	case r.Counts[Unknown]+r.Counts[Otherwise] > 0 || r.Counts[Refused] == 0:
		return "unknown"
	}
	return "refused"
}

// answer is how the verifier took an attempt.
type answer struct {
	by   []string // what refused it; empty: nobody did
	text string   // in the verifier's words
}

// attempt is one attack.
type attempt struct {
	group, name string
	attacks     []string
	want        []string // any of these has to refuse it
	try         func(context.Context) (answer, error)
}

// Bounds of a run, so that it always ends.
const (
	perAttempt = 20 * time.Second
	perRun     = 20 * time.Minute
)

// ErrUnreachable says that there was nobody to attack.
var ErrUnreachable = errors.New("attack: the verifier cannot be reached")

// run is one run as it goes on.
type run struct {
	Options
	target
	report  *Report
	host    *liar // once it is enrolled
	limited bool  // the verifier takes no more enrolments from here just now
}

// errLimited says that the verifier counts enrolments by address, as it should.
var errLimited = errors.New("too many enrolments from this address; wait an hour, or raise limits.enrollPerHour of this verifier")

// Run tries everything that the options allow, one attempt after the other. The
// verifier keeps what a refused node leaves anywhere: its record, journal entries
// and evidence. An error means that the run could not begin or was cut short; the
// report has what was done until then.
func Run(ctx context.Context, o Options) (*Report, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, perRun)
	defer cancel()
	r := &run{Options: o, target: targetOf(o), report: &Report{Verifier: o.Verifier.Name, Counts: map[Outcome]int{}, Missing: []string{}, Rows: []Row{}}}
	if err := r.healthy(ctx); err != nil {
		return r.report, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	for _, part := range []func(context.Context){r.strangers, r.applicants, r.member} {
		part(ctx)
	}
	r.control(ctx, "answers a health check after it all", r.healthy)
	return r.report, ctx.Err()
}

// all makes the attempts, until the verifier takes no more.
func (r *run) all(ctx context.Context, attempts []attempt) {
	for i, a := range attempts {
		if ctx.Err() != nil || r.limited {
			return
		}
		if r.Progress != nil {
			r.Progress(i+1, len(attempts), a.group+": "+a.name)
		}
		row, err := a.make(ctx)
		r.report.add(row)
		if r.limited = errors.Is(err, errLimited); r.limited {
			r.miss(fmt.Sprintf("%d more of %s, and what comes after them", len(attempts)-i-1, a.group), errLimited.Error())
		}
	}
}

// make makes the attempt. The error says why there is no answer.
func (a attempt) make(ctx context.Context) (Row, error) {
	ctx, cancel := context.WithTimeout(ctx, perAttempt)
	defer cancel()
	row := Row{Group: a.group, Name: a.name, Attacks: a.attacks, Expected: a.want, Outcome: Unknown}
	got, err := a.try(ctx)
	if err != nil {
		row.Detail = clip(err.Error())
		return row, err
	}
	row.Detail = clip(got.text)
	row.Outcome, row.By = a.judge(got)
	return row, nil
}

// judge holds what refused the attempt against what has to.
func (a attempt) judge(got answer) (Outcome, string) {
	if len(got.by) == 0 {
		return Accepted, ""
	}
	for _, by := range got.by {
		if slices.Contains(a.want, by) {
			return Refused, by
		}
	}
	return Otherwise, got.by[0]
}

// control makes sure that something genuine is served.
func (r *run) control(ctx context.Context, name string, serve func(context.Context) error) bool {
	if ctx.Err() != nil {
		return false
	}
	row := Row{Group: "control", Name: name, Outcome: Passed, Expected: []string{string(Passed)}}
	if err := serve(ctx); err != nil {
		row.Outcome, row.Detail = Failed, clip(err.Error())
	}
	r.report.add(row)
	return row.Outcome == Passed
}

// miss says what was not tried, and what it takes.
func (r *run) miss(what, needs string) {
	r.report.Missing = append(r.report.Missing, what+": "+needs)
}

func (r *Report) add(row Row) {
	r.Rows = append(r.Rows, row)
	r.Counts[row.Outcome]++
	r.Tried++
}

// clip makes a text of the verifier's printable, on one line and not too long.
func clip(text string) string {
	const most = 300
	text = verdict.Quote(strings.Join(strings.Fields(text), " "))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
