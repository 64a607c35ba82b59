package verifier

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"
)

// Config is the file that `quorate-verifier run` reads. Relative paths are
// relative to the file. Unknown keys are refused.
type Config struct {
	Name       string `yaml:"name"`       // the verifier's name in the consortium file
	Consortium string `yaml:"consortium"` // path of the consortium file
	Data       string `yaml:"data"`       // folder of the database, the journal and the archive
	Trust      string `yaml:"trust"`      // folder of TPM vendor roots: <class>/*.pem
	Keys       Keys   `yaml:"keys"`
	Listen     Listen `yaml:"listen"`
	Beacon     string `yaml:"beacon"` // RPC address of a CometBFT node whose blocks challenges name; empty: they name none
	Limits     Limits `yaml:"limits"`
}

// Keys are paths of the verifier's private keys. Files that others can read are
// refused.
type Keys struct {
	Admission string `yaml:"admission"` // note signer: admissions and rosters
	Log       string `yaml:"log"`       // note signer: journal checkpoints
	TLS       string `yaml:"tls"`       // PKCS #8 PEM: the TLS server key
	Grant     string `yaml:"grant"`     // PKCS #8 PEM, P-256: grants to sealed signers; may be empty
}

// Listen are the addresses to listen on.
type Listen struct {
	Attest string `yaml:"attest"` // mutual TLS: agents, operators, gates
	Enroll string `yaml:"enroll"` // server TLS: enrolment with a join token
}

// Limits bound what a peer can make the verifier do. Zero is not "none": it is
// refused, so every limit is stated.
type Limits struct {
	MessageBytes   int           `yaml:"messageBytes"`   // one gRPC message
	IMABytes       uint64        `yaml:"imaBytes"`       // IMA list of one round
	Connections    int           `yaml:"connections"`    // open connections per listener
	PerSource      int           `yaml:"perSource"`      // open connections per source address
	EnrollPerHour  int           `yaml:"enrollPerHour"`  // enrolment attempts per source address
	Handshake      time.Duration `yaml:"handshake"`      // TLS and HTTP/2 handshake
	Idle           time.Duration `yaml:"idle"`           // connection without a stream
	AnswerWithin   time.Duration `yaml:"answerWithin"`   // life of a challenge
	RequestTimeout time.Duration `yaml:"requestTimeout"` // one enrolment, one unary call
}

// DefaultLimits are what `quorate-verifier init` writes.
func DefaultLimits() Limits {
	return Limits{
		MessageBytes: 4 << 20, IMABytes: 64 << 20, Connections: 20000, PerSource: 256, EnrollPerHour: 120,
		Handshake: 10 * time.Second, Idle: 5 * time.Minute, AnswerWithin: 60 * time.Second, RequestTimeout: 60 * time.Second,
	}
}

// ReadConfig reads and checks a configuration file.
func ReadConfig(path string) (*Config, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w (quorate-verifier init writes one)", err)
	}
	c, err := parseConfig(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	c.resolve(filepath.Dir(path))
	return c, nil
}

func parseConfig(raw []byte) (*Config, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	decoder.KnownFields(true)
	c := Config{Limits: DefaultLimits()}
	if err := decoder.Decode(&c); err != nil {
		return nil, err
	}
	if err := decoder.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document in the file")
	}
	return &c, c.check()
}

func (c *Config) check() error {
	var problems []error
	for _, field := range []struct{ name, value string }{
		{"name", c.Name}, {"consortium", c.Consortium}, {"data", c.Data}, {"trust", c.Trust},
		{"keys.admission", c.Keys.Admission}, {"keys.log", c.Keys.Log}, {"keys.tls", c.Keys.TLS},
		{"listen.attest", c.Listen.Attest}, {"listen.enroll", c.Listen.Enroll},
	} {
		if field.value == "" {
			problems = append(problems, fmt.Errorf("%s is missing", field.name))
		}
	}
	return errors.Join(append(problems, c.Limits.check())...)
}

func (l Limits) check() error {
	var problems []error
	for _, field := range []struct {
		name     string
		value    int64
		min, max int64
	}{
		{"messageBytes", int64(l.MessageBytes), 64 << 10, 64 << 20},
		{"imaBytes", int64(l.IMABytes), 1 << 20, 1 << 30},
		{"connections", int64(l.Connections), 1, 1 << 20},
		{"perSource", int64(l.PerSource), 1, 1 << 20},
		{"enrollPerHour", int64(l.EnrollPerHour), 1, 1 << 20},
		{"handshake", int64(l.Handshake), int64(time.Second), int64(time.Minute)},
		{"idle", int64(l.Idle), int64(time.Second), int64(24 * time.Hour)},
		{"answerWithin", int64(l.AnswerWithin), int64(time.Second), int64(60 * time.Second)},
		{"requestTimeout", int64(l.RequestTimeout), int64(time.Second), int64(10 * time.Minute)},
	} {
		if field.value < field.min || field.value > field.max {
			problems = append(problems, fmt.Errorf("limits.%s is %d, want %d to %d", field.name, field.value, field.min, field.max))
		}
	}
	return errors.Join(problems...)
}

func (c *Config) resolve(dir string) {
	for _, path := range []*string{&c.Consortium, &c.Data, &c.Trust, &c.Keys.Admission, &c.Keys.Log, &c.Keys.TLS, &c.Keys.Grant} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
}
