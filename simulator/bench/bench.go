// Package bench measures Quorate against the bare operations that no
// implementation can do without, in one run, so that a slow or busy machine slows
// both sides alike. What matters are the ratios and their gates.
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
)

// Options say what to measure.
type Options struct {
	Bin  string // folder with quorate, quorate-agent and quorate-verifier
	Core bool   // only what needs no other process
	JSON bool   // print JSON instead of the table
}

// Row is one line of the result. Ours and Bare are in Unit; without a bare
// operation the gate is a limit for Ours itself.
type Row struct {
	Operation string   `json:"operation"`
	Against   string   `json:"against,omitempty"` // the bare operation
	Ours      float64  `json:"ours"`
	Bare      float64  `json:"bare,omitempty"`
	Unit      string   `json:"unit"`
	Ratio     float64  `json:"ratio,omitempty"`
	Gate      float64  `json:"gate"`
	Allocs    *float64 `json:"allocations,omitempty"`    // for each operation
	MaxAllocs *float64 `json:"allocationGate,omitempty"` //
	Pass      bool     `json:"pass"`
}

// ErrGate reports that a gate was missed. The table says which.
var ErrGate = errors.New("bench: a gate was missed")

// judge sets Pass.
func (r *Row) judge() {
	value := r.Ours
	if r.Against != "" {
		value = r.Ratio
	}
	r.Pass = value > 0 && value <= r.Gate && (r.MaxAllocs == nil || r.Allocs != nil && *r.Allocs <= *r.MaxAllocs)
}

// limitAllocs sets how many allocations an operation may make.
func (r *Row) limitAllocs(n float64) { r.MaxAllocs = &n }

// Run measures everything and prints the result. The error is ErrGate if
// something was measured that is too slow or too large.
func Run(ctx context.Context, o Options, out io.Writer) error {
	rows, err := measureCore(ctx)
	if err != nil {
		return err
	}
	if !o.Core {
		more, err := measurePrograms(ctx, o.Bin)
		if err != nil {
			return err
		}
		rows = append(rows, more...)
	}
	missed := false
	for i := range rows {
		rows[i].judge()
		missed = missed || !rows[i].Pass
	}
	if err := write(out, rows, o.JSON); err != nil {
		return err
	}
	if missed {
		return ErrGate
	}
	return nil
}

// measureCore measures what is a function call.
func measureCore(ctx context.Context) ([]Row, error) {
	var rows []Row
	for _, group := range []func() ([]Row, error){quoteRows, fullRows, logRows, imaRows, bundleRow, gateRows, peerRow} {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		more, err := group()
		if err != nil {
			return nil, fmt.Errorf("bench: %w", err)
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// measurePrograms measures the shipped programs from outside.
func measurePrograms(ctx context.Context, bin string) ([]Row, error) {
	dir, err := os.MkdirTemp("", "quorate-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	rows, err := fleetRows(ctx, bin, dir)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	return rows, nil
}

func write(out io.Writer, rows []Row, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(struct {
			Rows []Row `json:"rows"`
		}{rows})
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join([]string{"operation", "ours", "bare operation", "bare", "ratio", "gate", "allocations", ""}, "\t"))
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r.cells(), "\t"))
	}
	return t.Flush()
}

func (r *Row) cells() []string {
	against, bare, ratio, gate := "-", "-", "-", fmt.Sprintf("%s %s", number(r.Gate), r.Unit)
	if r.Against != "" {
		against, bare, ratio, gate = r.Against, number(r.Bare)+" "+r.Unit, fmt.Sprintf("%.3f", r.Ratio), number(r.Gate)
	}
	allocs := "-"
	if r.Allocs != nil {
		allocs = number(*r.Allocs)
	}
	if r.MaxAllocs != nil {
		allocs += fmt.Sprintf(" (gate %s)", number(*r.MaxAllocs))
	}
	pass := "pass"
	if !r.Pass {
		pass = "MISSED"
	}
	return []string{r.Operation, number(r.Ours) + " " + r.Unit, against, bare, ratio, gate, allocs, pass}
}

// number prints three digits that count, and whole numbers whole.
func number(v float64) string {
	switch {
	case v == float64(int64(v)) && v < 1e6:
		return fmt.Sprint(int64(v))
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
