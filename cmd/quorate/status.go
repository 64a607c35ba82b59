package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/quorate/quorate/proto/quorate/v1"
)

// statusView is what `status` prints.
type statusView struct {
	Verifier    string            `json:"verifier"`
	Version     string            `json:"version"`
	Consortium  string            `json:"consortium"`
	Ledger      string            `json:"ledger"`
	Now         *time.Time        `json:"now" doc:"the verifier's clock"`
	ClockOff    float64           `json:"clockOffSeconds" doc:"how far it is ahead of this machine's"`
	JournalSize uint64            `json:"journalSize" doc:"entries"`
	Policy      string            `json:"policy,omitempty" doc:"in force for validators: name and digest"`
	States      map[string]uint32 `json:"states" doc:"nodes by state"`
	Sessions    uint32            `json:"sessions" doc:"agents that are connected"`
	Alarms      []string          `json:"alarms" doc:"what a person should look at"`
}

func (c *cli) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say how the verifier is: nodes, policy, journal, alarms",
		Long: `Status asks a verifier how it is.

Exit code 0: well. 1: it has alarms that a person should look at.`,
		Example: "  quorate status\n  quorate status --verifier org-b.verifier.example-net --json",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var v statusView
			err := c.online(cmd, "asking", func(ctx context.Context, s *session) error {
				r, err := s.admin.GetStatus(ctx, &pb.GetStatusRequest{})
				v = statusOf(r, time.Now())
				return err
			})
			if err != nil {
				return err
			}
			if err := c.show(v, func() { c.printStatus(v) }); err != nil {
				return err
			}
			if len(v.Alarms) > 0 {
				return answered{exitRefused}
			}
			return nil
		},
	}
	return shaped(cmd, statusView{})
}

func statusOf(r *pb.GetStatusResponse, now time.Time) statusView {
	v := statusView{
		Verifier: r.GetVerifier(), Version: r.GetVersion(), Consortium: r.GetConsortium(), Ledger: r.GetLedger(), Now: timeOf(r.GetNow()),
		JournalSize: r.GetJournalSize(), Policy: r.GetPolicy(), States: map[string]uint32{}, Sessions: r.GetSessions(),
		Alarms: append([]string{}, r.GetAlarms()...),
	}
	for state, n := range r.GetStates() {
		v.States[state] = n
	}
	if v.Now != nil {
		v.ClockOff = v.Now.Sub(now).Round(time.Second).Seconds()
	}
	return v
}

func (c *cli) printStatus(v statusView) {
	l := labels{c, "", 10}
	l.paint("verifier", bold, v.Verifier)
	l.row("version", v.Version)
	l.row("ledger", v.Ledger+" of "+v.Consortium)
	l.row("policy", orNone(v.Policy))
	l.row("journal", count(int(v.JournalSize), "entry", "entries"))
	l.row("sessions", count(int(v.Sessions), "agent connected", "agents connected"))
	if v.ClockOff > 5 || v.ClockOff < -5 {
		l.paint("clock", yellow, fmt.Sprintf("%+.0f s from this machine's", v.ClockOff))
	}
	for _, state := range []string{"admitted", "pending", "late", "suspended", "quarantined", "retired"} {
		if n := v.States[state]; n > 0 {
			l.paint(state, stateStyle(state), fmt.Sprint(n))
		}
	}
	for _, alarm := range v.Alarms {
		l.paint("ALARM", red, alarm)
	}
}
