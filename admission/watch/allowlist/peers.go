package allowlist

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/quorate/quorate/admission"
)

// Limits of the peers' file.
const (
	maxPeersFile = 8 << 20 // bytes
	maxPeer      = 512     // bytes of one peer
)

// Peers tells how a ledger's network knows the nodes: node id to enode URL or
// whatever else names a peer there. Only nodes in it are ever added.
type Peers map[string]string

// ParsePeers reads the peers' file, one YAML document with the one key "peers".
// Unknown and repeated keys, two nodes with one peer, and names that are not
// plain words are refused.
func ParsePeers(data []byte) (Peers, error) {
	if len(data) > maxPeersFile {
		return nil, fmt.Errorf("allowlist: the peers' file has %d bytes, at most %d are allowed", len(data), maxPeersFile)
	}
	var file struct {
		Peers Peers `yaml:"peers"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil {
		return nil, fmt.Errorf("allowlist: peers' file: %w", err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("allowlist: the peers' file holds more than one document")
	}
	if err := file.Peers.check(); err != nil {
		return nil, err
	}
	return file.Peers, nil
}

// check names the first line that cannot work.
func (p Peers) check() error {
	if len(p) == 0 {
		return errors.New("allowlist: the peers' file names no node; under \"peers:\", write lines like org-a/validator-1: enode://…")
	}
	owners := map[string]string{}
	for _, node := range slices.Sorted(maps.Keys(p)) {
		peer := p[node]
		if !admission.ValidNodeID(node) {
			return fmt.Errorf("allowlist: peers' file: %q is not a node id like org-a/validator-1", node)
		}
		if !validPeer(peer) {
			return fmt.Errorf("allowlist: peers' file: %s: %q is not one printable word of at most %d bytes that does not begin with -", node, peer, maxPeer)
		}
		if other, taken := owners[peer]; taken {
			return fmt.Errorf("allowlist: peers' file: %s and %s have the same peer", other, node)
		}
		owners[peer] = node
	}
	return nil
}

// validPeer keeps out what a command could take for an option, or for two words.
func validPeer(s string) bool {
	if s == "" || len(s) > maxPeer || s[0] == '-' {
		return false
	}
	return !bytes.ContainsFunc([]byte(s), func(r rune) bool { return r <= ' ' || r > '~' })
}
