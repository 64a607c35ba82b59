package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/verifier/journal"
	"github.com/quorate/quorate/verifier/node"
)

// entryView is one journal entry.
type entryView struct {
	Index uint64     `json:"index"`
	Type  string     `json:"type" doc:"genesis, invitation, enrolment, approval, verdict, admission, …"`
	At    *time.Time `json:"at,omitempty"`
	Node  string     `json:"node,omitempty"`
	Text  string     `json:"text" doc:"in words"`
	Entry string     `json:"entry" doc:"the whole entry as it is in the tree"`
}

func entryOf(e journal.Entry) entryView {
	v := entryView{Index: e.Index, Entry: string(e.Data)}
	body, err := journal.Parse(e.Data)
	if err != nil {
		v.Type, v.Text = "unreadable", err.Error()
		return v
	}
	v.Type = string(body.Type())
	v.tell(body)
	return v
}

// tell puts the entry into words.
func (v *entryView) tell(body journal.Body) {
	switch b := body.(type) {
	case journal.Genesis:
		v.At, v.Text = &b.At, "begins, for "+b.Verifier+consortiumText(b.Consortium)
	case journal.Invitation:
		v.At, v.Node = &b.At, b.Node
		v.Text = fmt.Sprintf("%s invites it as %s until %s", b.By, b.Role, stamp(&b.NotAfter))
		if b.PreApproved {
			v.Text += ", approved in advance"
		}
	case journal.Admission:
		s := b.Statement
		v.At, v.Node = &s.NotBefore, s.Node
		v.Text = fmt.Sprintf("serial %d, %s until %s, policy %s", s.Serial, s.Role, stamp(&s.NotAfter), s.Policy)
	case journal.Policy:
		v.At, v.Text = &b.At, fmt.Sprintf("%s version %d for %s is proposed, %v", b.Name, b.Version, strings.Join(b.Roles, ", "), b.Digest)
	case journal.PolicyApproval:
		v.At, v.Text = &b.At, fmt.Sprintf("%s approves %v", b.Operator, b.Digest)
	case journal.PolicyActivation:
		v.At, v.Text = &b.At, fmt.Sprintf("%v is in force for %s", b.Digest, b.Role)
	case journal.Roster:
		v.At, v.Text = &b.At, fmt.Sprintf("roster %d is signed", b.Number)
	case journal.Grant:
		v.At, v.Node = &b.At, b.Node
		v.Text = fmt.Sprintf("its TPM may release the consensus key once, for %ds", b.Seconds)
	case journal.Change:
		v.At, v.Node, v.Text = &b.At, b.Node.ID, changeText(b)
	}
}

// consortiumText names the consortium file of a genesis entry.
func consortiumText(file string) string {
	parsed, err := admission.ParseConsortium([]byte(file))
	if err != nil {
		return ""
	}
	return fmt.Sprintf(", consortium %s, file %v", parsed.Name, parsed.Digest())
}

func changeText(c journal.Change) string {
	text := "is " + c.Node.State.String()
	if c.Decision != nil {
		text = c.Decision.String() + ": " + text
	}
	if c.By != "" {
		text = c.By + ": " + text
	}
	reason := c.Reason
	if reason == "" && c.Node.State != node.Admitted {
		reason = c.Node.Reason
	}
	if reason != "" {
		text += ", " + reason
	}
	return text
}
