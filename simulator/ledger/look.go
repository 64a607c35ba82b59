package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/quorate/quorate/admission/power"
)

// Power asks the gates who has power, and returns the newest answer.
func (l *Ledger) Power(ctx context.Context) (power.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var newest power.Status
	var errs []error
	for _, node := range l.Chain.Nodes {
		status, err := node.Power(ctx)
		errs = append(errs, err)
		if err == nil && status.Height > newest.Height {
			newest = status
		}
	}
	if newest.Height == 0 {
		return newest, errors.Join(append(errs, errors.New("no gate answers"))...)
	}
	return newest, nil
}

// validator is what a status says of a machine.
func validator(s power.Status, m *Machine) power.ValidatorStatus {
	for _, v := range s.Validators {
		if v.Key == m.Node.Key() {
			return v
		}
	}
	return power.ValidatorStatus{Reason: "nobody asks for it"}
}

// table is a status for the screen.
func (l *Ledger) table(s power.Status) (string, []row) {
	ends := map[string]time.Time{}
	for _, n := range s.Nodes {
		ends[n.Node] = n.Ends
	}
	var rows []row
	for _, m := range l.Machines {
		v := validator(s, m)
		r := row{id: m.ID, power: fmt.Sprintf("%d of %d", v.Effective, v.Desired), until: "-", reason: v.Reason, out: v.Effective == 0}
		if end, ok := ends[m.ID]; ok {
			r.until = end.Format(time.TimeOnly)
		}
		if strings.HasPrefix(r.reason, "admitted until") {
			r.reason = "admitted"
		}
		rows = append(rows, r)
	}
	title := fmt.Sprintf("height %d", s.Height)
	if s.Frozen > 0 {
		title += fmt.Sprintf(", FROZEN since height %d", s.Frozen)
	}
	return title, rows
}

// signs waits for the first block after a height that the machine signed. Others
// know of it first.
func (l *Ledger) signs(ctx context.Context, m *Machine, after int64) (int64, error) {
	height := after + 1
	err := until(ctx, m.ID+" signs", func() bool {
		now, err := l.Chain.Nodes[0].Height(ctx)
		for ; err == nil && height < now; height++ { // the commit of a block is in the next one
			signed, failed := l.Chain.Nodes[0].Signed(ctx, height, m.Node)
			if err = failed; signed {
				return true
			}
		}
		return false
	})
	return height, err
}

// leaves waits until the machine is not in the set, and returns the height.
func (l *Ledger) leaves(ctx context.Context, m *Machine, height int64) (int64, error) {
	err := until(ctx, m.ID+" leaves the set", func() bool {
		now, err := l.Chain.Nodes[0].Height(ctx)
		for ; err == nil && height <= now; height++ {
			set, failed := l.Chain.Nodes[0].Validators(ctx, height)
			if err = failed; err == nil && set[m.Node.Key()] == 0 {
				return true
			}
		}
		return false
	})
	return height, err
}

func (l *Ledger) powerOf(ctx context.Context, m *Machine) (int64, error) {
	s, err := l.Power(ctx)
	return validator(s, m).Effective, err
}

// answer is what `quorate-gate submit --json` says.
type answer struct {
	Accepted bool  `json:"accepted"`
	Height   int64 `json:"height"`
	Refusal  struct {
		Check string `json:"check"`
	} `json:"refusal"`
}

// submit runs quorate-gate submit.
func (l *Ledger) submit(ctx context.Context, path string) (a answer, err error) {
	text, failed := l.Members.Sites[0].Output(ctx, "quorate-gate", "submit", "--json", "--node", l.Chain.Nodes[0].RPC, path)
	if err := json.Unmarshal(text, &a); err != nil {
		return a, errors.Join(failed, err)
	}
	return a, nil // exit code 1 is an answer
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
