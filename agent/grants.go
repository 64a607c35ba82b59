package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/agent/possession"
	"github.com/quorate/quorate/agent/seal"
	"github.com/quorate/quorate/agent/statedir"
	quoratev1 "github.com/quorate/quorate/proto/quorate/v1"
)

const (
	grantEvery  = time.Second      // between looks for a signer's request
	grantWithin = 20 * time.Second // for one verifier's answer
)

// grants has verifiers answer the requests that a waiting signer leaves in its
// directory, until ctx ends. The agent has the connections and the node key; the
// signer needs none of them, and nobody new has to listen. What is passed on is
// authenticated by the TPM.
func (r *runner) grants(ctx context.Context) {
	if !slices.ContainsFunc(r.agent.consortium.Verifiers, func(v admission.Verifier) bool { return v.GrantKey != "" }) {
		return // nobody to ask, ever
	}
	var asked, answered []byte // nonces
	wait := backOff{}
	for ctx.Err() == nil {
		request, err := r.wanted()
		if err != nil || bytes.Equal(request.Nonce, answered) {
			sleep(ctx, grantEvery)
			continue
		}
		if !bytes.Equal(request.Nonce, asked) {
			wait, asked = backOff{}, request.Nonce
		}
		if err := r.answerRequest(ctx, request); err == nil {
			answered = request.Nonce
			continue
		}
		if err := wait.pause(ctx); err != nil {
			return
		}
	}
}

// sleep waits, or returns early when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// wanted reads the request of a waiting signer, if a verifier can answer it.
func (r *runner) wanted() (seal.Request, error) {
	dir, err := statedir.Look(possession.Dir(r.agent.cfg.StateDir))
	if err != nil {
		return seal.Request{}, err
	}
	defer dir.Close()
	data, err := dir.Read(seal.RequestFile)
	if err != nil {
		return seal.Request{}, err
	}
	request, err := seal.ParseRequest(data)
	if err == nil && len(r.grantors(request)) == 0 {
		err = errors.New("agent: the request is for a person")
	}
	return request, err
}

// grantors are the verifiers that this host joined and whose grant key the sealed
// key accepts.
func (r *runner) grantors(request seal.Request) []admission.Verifier {
	var list []admission.Verifier
	for _, v := range r.agent.consortium.Verifiers {
		if v.GrantKey != "" && slices.Contains(request.Grantors, seal.PublicKey(v.GrantKey)) && r.enrolment(v.Name) != "not joined" {
			list = append(list, v)
		}
	}
	return list
}

// answerRequest asks one grantor after the other, and puts the first grant, or why
// there is none, beside the request.
func (r *runner) answerRequest(ctx context.Context, request seal.Request) error {
	var problems []string
	for _, v := range r.grantors(request) {
		grant, err := r.askGrant(ctx, v, request)
		if err == nil {
			r.agent.log.Info("the signer's key is granted", "verifier", v.Name, "seconds", grant.Seconds)
			return r.place(seal.GrantFile, grant.Marshal())
		}
		r.agent.log.Warn("no grant for the signer's key", "verifier", v.Name, "error", err)
		problems = append(problems, printable(err.Error()))
	}
	refused := fmt.Errorf("agent: no grant: %q", problems)
	return errors.Join(refused, r.place(seal.RefusalFile, seal.Unanswered{Nonce: request.Nonce, Problems: problems}.Marshal()))
}

// askGrant asks one verifier, over a connection of the node key.
func (r *runner) askGrant(ctx context.Context, v admission.Verifier, request seal.Request) (seal.Grant, error) {
	ctx, cancel := context.WithTimeout(ctx, grantWithin)
	defer cancel()
	conn, err := dial(v, v.Attest, &r.cert)
	if err != nil {
		return seal.Grant{}, err
	}
	defer conn.Close()
	response, err := quoratev1.NewAttestationServiceClient(conn).Grant(ctx, &quoratev1.GrantRequest{
		ConsensusKey: request.PublicKey, Nonce: request.Nonce,
	})
	if err != nil {
		return seal.Grant{}, rpcError(v.Name, err)
	}
	return request.Granted(seal.PublicKey(v.GrantKey), response.GetSeconds(), response.GetSignature())
}

// place writes a file into the signer's directory, beside the running signer.
func (r *runner) place(name string, data []byte) error {
	dir, err := statedir.Join(possession.Dir(r.agent.cfg.StateDir))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Write(name, data)
}
