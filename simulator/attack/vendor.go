package attack

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/quorate/quorate/simulator/vendorca"
)

// vendorFile is a made-up vendor between two runs: all that its keys are made of.
type vendorFile struct {
	Seed string    `json:"seed"`
	Made time.Time `json:"made"`
}

// Names of a vendor's files in its folder.
const (
	secretName = "vendor.json"
	RootName   = "vendor.pem" // what a verifier has to trust
)

// NewVendor makes a vendor and writes it into a new folder: its secret, which only
// the owner can read, and its root certificate.
func NewVendor(dir string, now time.Time) error {
	f := vendorFile{Seed: rand.Text() + rand.Text(), Made: now.UTC().Truncate(time.Second)}
	vendor, err := f.vendor()
	if err != nil {
		return err
	}
	secret, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("attack: vendor: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, secretName), append(secret, '\n'), 0o600); err != nil {
		return fmt.Errorf("attack: vendor: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, RootName), vendor.RootPEM(), 0o600)
}

// ReadVendor reads a vendor from the folder that NewVendor wrote.
func ReadVendor(dir string) (*vendorca.CA, error) {
	raw, err := os.ReadFile(filepath.Join(dir, secretName))
	if err != nil {
		return nil, fmt.Errorf("attack: vendor: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	var f vendorFile
	if err := d.Decode(&f); err != nil {
		return nil, fmt.Errorf("attack: %s: %w", filepath.Join(dir, secretName), err)
	}
	if _, err := d.Token(); err != io.EOF || f.Seed == "" || f.Made.IsZero() {
		return nil, fmt.Errorf("attack: %s is not what quorate-sim attack vendor wrote", filepath.Join(dir, secretName))
	}
	return f.vendor()
}

func (f vendorFile) vendor() (*vendorca.CA, error) {
	return vendorca.New(vendorca.Options{Seed: f.Seed, Now: f.Made})
}
