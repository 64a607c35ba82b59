package rpc

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/proto/parts"
	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/verifier"
	"github.com/quorate/quorate/verifier/policy"
)

const longPolicy = `policy: quorate/v1
name: validators
version: 1
roles: [validator]
tpm: {classes: [virtual]}
secureBoot: {required: true}
boot:
  profile: efi-stub
  images: {manifests: [distribution]}
  kernel: {manifests: [distribution]}
  commandLine: {allow: ["root=/dev/vda2 ro"]}
runtime: {ima: {manifests: [distribution], unknown: deny}}
timing: {challengeEvery: 30s, lateAfter: 90s, admissionFor: 24h}
`

// longSet is a policy whose manifest is several times longer than any message
// that the verifier takes.
func longSet(t *testing.T) (*policy.Set, [][]byte) {
	t.Helper()
	m := &policy.Manifest{Name: "distribution", Publisher: "example", Package: "all", Version: "12"}
	for i := range 60_000 {
		digest := fmt.Sprintf("sha256:%x", sha256.Sum256(fmt.Append(nil, i)))
		m.Entries = append(m.Entries, policy.Entry{Kind: policy.KindFile, Path: fmt.Sprintf("/usr/lib/package/libexample-%06d.so.1", i), Digest: digest})
	}
	for i, kind := range []policy.Kind{policy.KindImage, policy.KindKernel} {
		m.Entries = append(m.Entries, policy.Entry{Kind: kind, Digest: fmt.Sprintf("sha256:%064x", i+1)})
	}
	m, err := policy.ParseManifest(m.Print())
	must(t, err)
	p, err := policy.Parse([]byte(longPolicy))
	must(t, err)
	set, err := policy.NewSet(p, []*policy.Manifest{m})
	must(t, err)
	return set, [][]byte{p.Print(), m.Print()}
}

func TestLongPoliciesTravelInParts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	set, files := longSet(t)
	if len(files[1]) < w.config.Limits.MessageBytes {
		t.Fatalf("a manifest of %d bytes is not long", len(files[1]))
	}
	approval, err := note.Sign(&note.Note{Text: verifier.ApprovalText(w.consortium.Name, set)}, w.key)
	must(t, err)
	result, err := w.approve(approval, files...)
	must(t, err)
	if !result.Active {
		t.Fatalf("%+v", result)
	}
	stream, err := w.admin.GetPolicy(t.Context(), &pb.GetPolicyRequest{})
	must(t, err)
	first, err := stream.Recv()
	must(t, err)
	if first.GetDigest() != result.Digest {
		t.Errorf("digest %s, want %s", first.GetDigest(), result.Digest)
	}
	got := parts.Joiner{Limit: len(files[0]) + len(files[1])}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		must(t, got.Add(m.GetPart()))
	}
	rules, manifests, err := got.Files()
	must(t, err)
	if !bytes.Equal(rules, files[0]) || len(manifests) != 1 || !bytes.Equal(manifests[0], files[1]) {
		t.Error("the files came back changed")
	}
}

func TestPoliciesInBadOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	part := &pb.ApprovePolicyRequest{Step: &pb.ApprovePolicyRequest_Part{Part: &pb.PolicyPart{Data: []byte("policy: x")}}}
	second := &pb.ApprovePolicyRequest{Step: &pb.ApprovePolicyRequest_Part{Part: &pb.PolicyPart{File: 2, Data: []byte("x")}}}
	approval := &pb.ApprovePolicyRequest{Step: &pb.ApprovePolicyRequest_Approval{Approval: []byte("x")}}
	for name, messages := range map[string][]*pb.ApprovePolicyRequest{
		"no approval":       {part},
		"approval only":     {approval},
		"approval twice":    {approval, approval},
		"an empty approval": {{Step: &pb.ApprovePolicyRequest_Approval{}}, part},
		"a file left out":   {approval, part, second},
		"no policy":         {approval, part},
	} {
		stream, err := w.admin.ApprovePolicy(t.Context())
		must(t, err)
		for _, m := range messages {
			if stream.Send(m) != nil {
				break
			}
		}
		if _, err := stream.CloseAndRecv(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}
