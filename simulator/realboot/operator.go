package realboot

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Finding is one reason of a refusal, as quorate prints it.
type Finding struct {
	Check   string `json:"check"`
	Where   string `json:"where,omitempty"`
	Got     string `json:"got,omitempty"`
	Want    string `json:"want,omitempty"`
	Message string `json:"message,omitempty"`
	Remedy  string `json:"remedy,omitempty"`
}

// Difference is one boot event that differs from the last accepted boot, as
// quorate prints it.
type Difference struct {
	Where    string `json:"where"`
	What     string `json:"what"`
	Accepted string `json:"accepted"`
	Found    string `json:"found"`
}

// CommandLines are both kernel command lines of a refusal, as quorate prints them.
type CommandLines struct {
	Accepted string `json:"accepted"`
	Found    string `json:"found"`
}

// nodeView is what this package reads of quorate's view of a node.
type nodeView struct {
	State    string    `json:"state"`
	Reason   string    `json:"reason"`
	Epoch    string    `json:"epoch"`
	Evidence string    `json:"evidence"`
	Findings []Finding `json:"findings"`
}

func (n nodeView) found(check string) bool {
	return slices.ContainsFunc(n.Findings, func(f Finding) bool { return f.Check == check })
}

// await asks for the node until it is as wanted. The error says what it is
// instead.
func (s *scenario) await(ctx context.Context, wanted func(nodeView) bool) (node nodeView, err error) {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	polled := s.site.Await(waiting, func() bool {
		var now nodeView
		if _, err = s.site.Quorate(ctx, &now, "node", "show", nodeID); err != nil {
			cancel() // nothing that waiting would mend
			return false
		}
		node = now
		return wanted(node)
	})
	if polled != nil && err == nil {
		err = fmt.Errorf("%w; node is %s in boot epoch %s: %s", polled, node.State, node.Epoch, node.Reason)
	}
	return node, err
}

func (s *scenario) invite(ctx context.Context) (token string, err error) {
	var out struct {
		Token string `json:"joinToken"`
	}
	_, err = s.site.Quorate(ctx, &out, "node", "invite", nodeID)
	return out.Token, err
}

// challengeEvery is short so that nobody waits long for the suspension.
const challengeEvery = 10 * time.Second

// learn makes a policy from the node's evidence and approves policy and node.
func (s *scenario) learn(ctx context.Context) error {
	policy := s.site.Path("policy")
	for _, args := range [][]string{
		{"policy", "learn", nodeID, "--out", policy, "--challenge-every", challengeEvery.String()},
		{"policy", "approve", policy},
		{"node", "approve", nodeID},
	} {
		if _, err := s.site.Quorate(ctx, nil, args...); err != nil {
			return err
		}
	}
	return nil
}

// explanation is what `quorate node explain` says, for programs and for people.
type explanation struct {
	Node        nodeView      `json:"node"`
	CommandLine *CommandLines `json:"commandLine"`
	Differences []Difference  `json:"differences"`
	text        string
}

func (s *scenario) explain(ctx context.Context) (e explanation, err error) {
	if _, err := s.site.Quorate(ctx, &e, "node", "explain", nodeID); err != nil {
		return e, err
	}
	e.text, _, err = s.site.Operator(ctx, "node", "explain", nodeID)
	return e, err
}
