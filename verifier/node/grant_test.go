package node_test

import (
	"errors"
	"testing"
	"time"

	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/verdict"
)

func TestGrant(t *testing.T) {
	now := time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC)
	const key = "ed25519:mine"
	good := node.Record{
		Identity: node.Identity{ID: "org-a/validator-1", ConsensusKey: key}, State: node.Admitted, Required: 1, Approvals: []string{"org-a/ana"},
		LastPass: now.Add(-time.Second), FreshUntil: now.Add(time.Minute), NotAfter: now.Add(time.Hour), Serial: 7,
	}
	for name, c := range map[string]struct {
		change func(*node.Record)
		key    string
		wanted time.Duration
		recent int
		want   time.Duration
		check  verdict.CheckID
	}{
		"most":              {want: node.MaxGrant},
		"less":              {wanted: 90*time.Second + time.Millisecond, want: 90 * time.Second},
		"more":              {wanted: time.Hour, want: node.MaxGrant},
		"negative":          {wanted: -time.Hour, want: node.MaxGrant},
		"a moment":          {wanted: time.Millisecond, want: time.Second},
		"what is left":      {change: func(r *node.Record) { r.NotAfter = now.Add(7500 * time.Millisecond) }, want: 7 * time.Second},
		"last one":          {recent: node.GrantsPerHour - 1, want: node.MaxGrant},
		"too many":          {recent: node.GrantsPerHour, check: verdict.GrantRate},
		"admission ended":   {change: func(r *node.Record) { r.NotAfter = now }, check: verdict.GrantAdmission},
		"no admission":      {change: func(r *node.Record) { r.NotAfter = time.Time{} }, check: verdict.GrantAdmission},
		"another key":       {key: "ed25519:other", check: verdict.GrantKey},
		"no enrolled key":   {change: func(r *node.Record) { r.ConsensusKey = "" }, check: verdict.GrantKey},
		"neither has a key": {change: func(r *node.Record) { r.ConsensusKey = "" }, key: "none", check: verdict.GrantKey},
		"late":              {change: func(r *node.Record) { r.FreshUntil = now.Add(-time.Second) }, check: verdict.NodeLate},
		"clock set back":    {change: func(r *node.Record) { r.LastPass = now.Add(time.Hour) }, check: verdict.NodeLate},
		"pending":           {change: func(r *node.Record) { r.State = node.Pending }, check: verdict.NodeUnproven},
		"suspended":         {change: func(r *node.Record) { r.State = node.Suspended }, check: verdict.NodeSuspended},
		"quarantined":       {change: func(r *node.Record) { r.State = node.Quarantined }, check: verdict.NodeQuarantined},
		"retired":           {change: func(r *node.Record) { r.State = node.Retired }, check: verdict.NodeRetired},
		"zero record":       {change: func(r *node.Record) { *r = node.Record{} }, check: verdict.NodeNotApproved},
	} {
		t.Run(name, func(t *testing.T) {
			rec, asked := good, key
			if c.change != nil {
				c.change(&rec)
			}
			if c.key == "none" {
				asked = ""
			} else if c.key != "" {
				asked = c.key
			}
			got, err := node.Grant(rec, asked, c.wanted, make([]time.Time, c.recent), now)
			var refusal *verdict.Refusal
			switch {
			case c.check == "" && (err != nil || got != c.want):
				t.Errorf("got %s, %v, want %s", got, err, c.want)
			case c.check != "" && (!errors.As(err, &refusal) || refusal.Check != c.check || got != 0):
				t.Errorf("got %s, %v, want a refusal by %s", got, err, c.check)
			}
		})
	}
}
