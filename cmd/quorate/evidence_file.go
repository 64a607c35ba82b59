package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/verifier/evidence"
)

// readEvidence reads and parses an evidence file.
func readEvidence(path string) (*evidence.File, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, unknown(err, "quorate evidence get NODE --out FILE fetches one")
	}
	file, err := evidence.ParseFile(bytes.TrimSuffix(raw, []byte("\n")))
	if err != nil {
		return nil, refused(fmt.Errorf("%s: %w", path, err), "an evidence file is one exact line of JSON, as quorate evidence get writes it")
	}
	return file, nil
}

// maxEvidence bounds a fetched evidence file, in bytes.
const maxEvidence = 512 << 20

// fetchRaw fetches the evidence file of a digest, or the last of a node.
func fetchRaw(ctx context.Context, s *session, which string) ([]byte, error) {
	r := &pb.GetEvidenceRequest{NodeId: which}
	if strings.HasPrefix(which, "sha256:") {
		r = &pb.GetEvidenceRequest{Digest: which}
	}
	stream, err := s.admin.GetEvidence(ctx, r)
	if err != nil {
		return nil, err
	}
	var raw []byte
	for {
		part, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return raw, nil
		case status.Code(err) == codes.NotFound:
			return nil, refused(fmt.Errorf("the verifier has no evidence of %s", which), "quorate node list shows who has sent some")
		case err != nil:
			return nil, err
		case len(raw)+len(part.GetData()) > maxEvidence:
			return nil, refused(fmt.Errorf("the evidence of %s is larger than %d bytes", which, maxEvidence), "")
		}
		raw = append(raw, part.GetData()...)
	}
}

// fetchEvidence fetches and parses a node's last evidence.
func fetchEvidence(ctx context.Context, s *session, id string) (*evidence.File, error) {
	raw, err := fetchRaw(ctx, s, id)
	if err != nil {
		return nil, err
	}
	file, err := evidence.ParseFile(raw)
	if err != nil {
		return nil, refused(fmt.Errorf("the evidence of %s: %w", id, err), "")
	}
	if file.Record.Node != id {
		return nil, refused(fmt.Errorf("the verifier sent evidence of %q for %q", file.Record.Node, id), "")
	}
	return file, nil
}
