package attestedtls

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/simulator/issuer"
)

var start = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// clock is a clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// network is a consortium of three members, two of whom admit.
type network struct {
	*issuer.Network
	t *testing.T
	*clock
}

func newNetwork(t *testing.T) *network {
	return &network{consortium(t, "example-1", ""), t, &clock{now: start}}
}

func consortium(t *testing.T, id, salt string) *issuer.Network { return named(t, "", id, salt) }

func named(t *testing.T, name, id, salt string) *issuer.Network {
	t.Helper()
	n, err := issuer.New(issuer.Setup{Name: name, Threshold: 2, Salt: salt, Ledger: admission.Ledger{ID: id, Genesis: sha256.Sum256([]byte(id))}})
	check(t, err)
	return n
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return key
}

func digest(t *testing.T, key crypto.Signer) admission.Digest {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	check(t, err)
	return sha256.Sum256(spki)
}

// host is a node with its endpoint.
type host struct {
	*Endpoint
	n      *network
	key    crypto.Signer
	node   issuer.Node
	mu     sync.Mutex
	bundle []byte
	rule   func(*admission.Admission) error
	heard  []error
}

func (n *network) host(name string) *host { return n.hostWith(name, newKey(n.t)) }

func (n *network) hostWith(name string, key crypto.Signer) *host {
	n.t.Helper()
	h := &host{n: n, key: key, rule: ExpiryAlone}
	h.node = issuer.Node{ID: "org-a/" + name, NodeKey: digest(n.t, h.key), NotBefore: start, NotAfter: start.Add(time.Hour)}
	h.renew(h.node)
	var err error
	h.Endpoint, err = New(Config{
		Consortium: n.Consortium, Role: "validator", Key: h.key, Bundle: h.current, Stands: h.stands, Report: h.report, Now: n.Now,
	})
	check(n.t, err)
	return h
}

func (h *host) renew(node issuer.Node) {
	h.n.t.Helper()
	bundle, err := h.n.Bundle(node)
	check(h.n.t, err)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bundle = bundle
}

func (h *host) current() ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bundle, nil
}

func (h *host) stands(a *admission.Admission) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rule(a)
}

func (h *host) report(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard = append(h.heard, err)
}

// reported waits until the host has heard of the check.
func (h *host) reported(id admission.CheckID) {
	h.n.t.Helper()
	h.n.eventually(string(id), func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return slices.ContainsFunc(h.heard, func(err error) bool { return is(err, id) })
	})
}

func is(err error, id admission.CheckID) bool {
	var r *admission.Refusal
	return errors.As(err, &r) && r.Check == id
}

func (n *network) eventually(what string, done func() bool) {
	n.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			n.t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// echo serves the host on an address: it sends back what it gets.
func (h *host) echo() string {
	h.n.t.Helper()
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	check(h.n.t, err)
	l := h.Listener(raw)
	h.n.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return raw.Addr().String()
}

// speak sends a word and waits for it to come back.
func speak(c net.Conn) error {
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write([]byte("word")); err != nil {
		return err
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != "word" {
		return errors.New("another word")
	}
	return nil
}

// connect dials and speaks.
func (h *host) connect(address string) (*Conn, error) {
	c, err := h.Dial(h.n.t.Context(), "tcp", address)
	if err != nil {
		return nil, err
	}
	h.n.t.Cleanup(func() { _ = c.Close() })
	return c, speak(c)
}

func TestAdmittedNodesConnect(t *testing.T) {
	n := newNetwork(t)
	a, b := n.host("a"), n.host("b")
	c, err := a.connect(b.echo())
	check(t, err)
	if c.Peer().Node() != "org-a/b" || a.Open() != 1 || b.Open() != 1 {
		t.Errorf("%s, %d and %d open", c.Peer().Node(), a.Open(), b.Open())
	}
	check(t, c.Close())
	n.eventually("both ends closed", func() bool { return a.Open() == 0 && b.Open() == 0 })
}

// Each bundle is refused, by the server and by the client, for what is wrong with it.
func TestOtherBundles(t *testing.T) {
	n := newNetwork(t)
	good := n.host("good")
	address := good.echo()
	change := func(f func(*issuer.Node)) func(h *host) []byte {
		return func(h *host) []byte {
			node := h.node
			f(&node)
			bundle, err := n.Bundle(node)
			check(t, err)
			return bundle
		}
	}
	for name, row := range map[string]struct {
		check  admission.CheckID
		bundle func(h *host) []byte
	}{
		"another node's": {admission.OtherNodeKey, func(*host) []byte { b, _ := good.current(); return b }},
		"another role":   {admission.OtherRole, change(func(n *issuer.Node) { n.Role = "observer" })},
		"expired":        {admission.Expired, change(func(n *issuer.Node) { n.NotBefore, n.NotAfter = start.Add(-time.Hour), start })},
		"future":         {admission.NotYet, change(func(n *issuer.Node) { n.NotBefore = start.Add(time.Minute) })},
		"one member's": {admission.Threshold, func(h *host) []byte {
			b, err := n.Bundle(h.node, "org-a")
			check(t, err)
			return b
		}},
		"other verifiers'": {admission.BadSignature, func(h *host) []byte {
			b, err := consortium(t, "example-1", "other").Bundle(h.node)
			check(t, err)
			return b
		}},
		"another ledger's": {admission.OtherLedger, func(h *host) []byte {
			b, err := consortium(t, "example-2", "").Bundle(h.node)
			check(t, err)
			return b
		}},
		"another consortium's": {admission.UnknownVerifier, func(h *host) []byte {
			b, err := named(t, "other-net", "example-1", "").Bundle(h.node)
			check(t, err)
			return b
		}},
		"garbage": {admission.Malformed, func(*host) []byte { return []byte("bundle") }},
	} {
		t.Run(name, func(t *testing.T) {
			bad := n.host("bad")
			if _, err := bad.connect(address); err != nil {
				t.Fatalf("the twin: %v", err)
			}
			bad.bundle = row.bundle(bad)
			if _, err := bad.connect(address); err == nil {
				t.Error("a server took it")
			}
			good.reported(row.check)
			if _, err := good.connect(bad.echo()); !is(err, row.check) {
				t.Errorf("as a server: %v, want %s", err, row.check)
			}
		})
	}
}

// present dials with a certificate of one's own making.
func (h *host) present(address string, extensions ...pkix.Extension) error {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), ExtraExtensions: extensions}
	der, err := x509.CreateCertificate(rand.Reader, template, template, h.key.Public(), h.key)
	check(h.n.t, err)
	return h.handshake(address, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: h.key}}, InsecureSkipVerify: true})
}

func (h *host) handshake(address string, config *tls.Config) error {
	c, err := tls.Dial("tcp", address, config)
	if err != nil {
		return err
	}
	defer c.Close()
	return speak(c)
}

func TestCertificatesWithoutOneBundle(t *testing.T) {
	n := newNetwork(t)
	good, other := n.host("good"), n.host("other")
	address := good.echo()
	bundle, _ := other.current()
	one := pkix.Extension{Id: bundleOID, Value: bundle}
	check(t, other.present(address, one))
	for name, extensions := range map[string][]pkix.Extension{
		"none":      nil,
		"empty":     {{Id: bundleOID, Value: []byte{}}},
		"too long":  {{Id: bundleOID, Value: make([]byte, admission.MaxBundle+1)}},
		"elsewhere": {{Id: append(slices.Clone(bundleOID), 1), Value: bundle}},
	} {
		if other.present(address, extensions...) == nil {
			t.Errorf("%s: taken", name)
		}
	}
	good.reported(NoAttestation)
	// Go refuses to parse a certificate with the same extension twice; this package
	// would too.
	for _, values := range [][]pkix.Extension{{one, one}, nil} {
		if _, err := bundleOf(&x509.Certificate{Extensions: values}); !is(err, NoAttestation) {
			t.Errorf("%d extensions: %v", len(values), err)
		}
	}
}

func TestOldTLSAndNoCertificate(t *testing.T) {
	n := newNetwork(t)
	good, other := n.host("good"), n.host("other")
	address := good.echo()
	cert, err := other.certificate()
	check(t, err)
	own := []tls.Certificate{*cert}
	check(t, other.handshake(address, &tls.Config{Certificates: own, InsecureSkipVerify: true}))
	for name, config := range map[string]*tls.Config{
		"TLS 1.2":        {Certificates: own, InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12},
		"no certificate": {InsecureSkipVerify: true},
		"two certificates": {InsecureSkipVerify: true, Certificates: []tls.Certificate{
			{Certificate: [][]byte{cert.Certificate[0], cert.Certificate[0]}, PrivateKey: cert.PrivateKey}}},
	} {
		if other.handshake(address, config) == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// A client that offers a session gets a whole handshake.
func TestNoResumption(t *testing.T) {
	n := newNetwork(t)
	good, other := n.host("good"), n.host("other")
	address := good.echo()
	cert, err := other.certificate()
	check(t, err)
	config := &tls.Config{Certificates: []tls.Certificate{*cert}, InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	for range 2 {
		c, err := tls.Dial("tcp", address, config)
		check(t, err)
		check(t, speak(c))
		if c.ConnectionState().DidResume {
			t.Error("a session was resumed")
		}
		_ = c.Close()
	}
	if _, err := good.verify(tls.ConnectionState{Version: tls.VersionTLS13, DidResume: true}); !is(err, NoAttestation) {
		t.Errorf("a resumed session: %v", err)
	}
}

// A relay that leads a node to itself shows it its own attestation.
func TestA160_OwnAttestationSentBack(t *testing.T) {
	n := newNetwork(t)
	a, b := n.host("a"), n.host("b")
	address := a.echo()
	_, err := b.connect(address)
	check(t, err)
	if _, err := a.connect(address); !is(err, OwnKey) {
		t.Errorf("a node connected to itself: %v", err)
	}
}

// from dials from an address of the loopback network.
func (h *host) from(source, address string) (*Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	raw, err := d.DialContext(h.n.t.Context(), "tcp", address)
	check(h.n.t, err)
	c, err := h.Client(h.n.t.Context(), raw)
	if err != nil {
		return nil, err
	}
	h.n.t.Cleanup(func() { _ = c.Close() })
	return c, speak(c)
}

// One node key on two hosts: both lose their connections, and it is reported.
func TestA174_TwoHostsWithOneCredential(t *testing.T) {
	n := newNetwork(t)
	server, node := n.host("server"), n.host("node")
	copied := n.hostWith("node", node.key)
	address := server.echo()
	first, err := node.from("127.0.0.2", address)
	check(t, err)
	if _, err := node.from("127.0.0.2", address); err != nil {
		t.Fatalf("the twin, again from the same host: %v", err)
	}
	if _, err := copied.from("127.0.0.3", address); err == nil {
		t.Error("a second host with the key is served")
	}
	server.reported(TwoHosts)
	if speak(first) == nil {
		t.Error("the first host is served on")
	}
	n.eventually("all closed", func() bool { return server.Open() == 0 })
}

// A connection ends with the peer's admission, on both sides, without traffic.
func TestConnectionsEndWithTheAdmission(t *testing.T) {
	n := newNetwork(t)
	a, b := n.host("a"), n.host("b")
	short := b.node
	short.NotAfter = start.Add(2 * time.Second)
	b.renew(short)
	c, err := a.connect(b.echo())
	check(t, err)
	if speak(c) != nil {
		t.Fatal("closed too early")
	}
	n.set(start.Add(2 * time.Second))
	n.eventually("closed by the client", func() bool { return a.Open() == 0 })
	a.reported(Ended)
	if err := speak(c); !is(err, Ended) {
		t.Errorf("%v, want %s", err, Ended)
	}
	if _, err := a.connect(b.echo()); !is(err, admission.Expired) {
		t.Errorf("a new connection: %v", err)
	}
	b.renew(b.node)
	if _, err := a.connect(b.echo()); err != nil {
		t.Errorf("with a renewed admission: %v", err)
	}
}

func TestServersEndConnectionsToo(t *testing.T) {
	n := newNetwork(t)
	a, b := n.host("a"), n.host("b")
	short := a.node
	short.NotAfter = start.Add(2 * time.Second)
	a.renew(short)
	c, err := a.connect(b.echo())
	check(t, err)
	n.set(start.Add(2 * time.Second))
	b.reported(Ended)
	n.eventually("closed by the server", func() bool { return b.Open() == 0 })
	if speak(c) == nil {
		t.Error("the client can still speak")
	}
}

func TestRostersEndConnections(t *testing.T) {
	n := newNetwork(t)
	a, b := n.host("a"), n.host("b")
	address := b.echo()
	c, err := a.connect(address)
	check(t, err)
	b.Recheck()
	check(t, speak(c))
	roster, err := n.Roster("org-a", start, nil, []admission.Barred{
		{Node: "org-a/a", State: admission.StateSuspended, Since: start, Check: "runtime.ima-unlisted", Reason: "a program"},
	})
	check(t, err)
	verified, err := n.VerifyRoster(roster, admission.RosterWant{Verifier: n.Verifiers[0].Name, MaxAge: time.Hour}, start)
	check(t, err)
	b.mu.Lock()
	b.rule = func(a *admission.Admission) error { return admission.CheckAgainstRoster(a, verified) }
	b.mu.Unlock()
	b.Recheck()
	b.reported(admission.NodeSuspended)
	if speak(c) == nil {
		t.Error("the barred node can still speak")
	}
	if _, err := a.connect(address); err == nil {
		t.Error("the barred node connects again")
	}
}

// A roster that arrives between the look at the peer and the connection's place
// among the open ones is not missed.
func TestRosterWithinTheHandshake(t *testing.T) {
	n := newNetwork(t)
	a, b := n.host("a"), n.host("b")
	address := b.echo()
	_, err := a.connect(address)
	check(t, err)
	barred, asked := errors.New("barred meanwhile"), 0
	a.mu.Lock()
	a.rule = func(*admission.Admission) error {
		if asked++; asked > 1 {
			return barred
		}
		return nil
	}
	a.mu.Unlock()
	if _, err := a.connect(address); !errors.Is(err, barred) || asked != 2 {
		t.Errorf("%v after %d looks", err, asked)
	}
	if a.Open() != 1 {
		t.Errorf("%d connections are open", a.Open())
	}
}

// A new bundle is shown from the next handshake on; open connections stay.
func TestRotation(t *testing.T) {
	n := newNetwork(t)
	a, b := n.host("a"), n.host("b")
	address := b.echo()
	old, err := a.connect(address)
	check(t, err)
	first, err := b.certificate()
	check(t, err)
	if again, _ := b.certificate(); again != first {
		t.Error("the key signs for every handshake")
	}
	later := b.node
	later.NotAfter = start.Add(2 * time.Hour)
	b.renew(later)
	fresh, err := a.connect(address)
	check(t, err)
	if got := fresh.Peer().NotAfter(); !got.Equal(later.NotAfter) {
		t.Errorf("the peer shows an admission until %v", got)
	}
	check(t, speak(old))
}

// A peer that says nothing holds up nobody.
func TestSilentPeers(t *testing.T) {
	n := newNetwork(t)
	a, b := n.host("a"), n.host("b")
	address := b.echo()
	silent, err := net.Dial("tcp", address)
	check(t, err)
	defer silent.Close()
	_, err = a.connect(address)
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer mute.Close()
	if _, err := a.Dial(ctx, "tcp", mute.Addr().String()); err == nil {
		t.Error("a handshake with nobody")
	}
}

func TestIncompleteConfigurations(t *testing.T) {
	n := newNetwork(t)
	whole := n.host("a").config
	if _, err := New(whole); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"consortium": func(c *Config) { c.Consortium = nil },
		"unparsed":   func(c *Config) { c.Consortium = &admission.Consortium{} },
		"role":       func(c *Config) { c.Role = "" },
		"key":        func(c *Config) { c.Key = nil },
		"bundle":     func(c *Config) { c.Bundle = nil },
		"stands":     func(c *Config) { c.Stands = nil },
		"report":     func(c *Config) { c.Report = nil },
		"now":        func(c *Config) { c.Now = nil },
	} {
		c := whole
		if spoil(&c); accepted(c) {
			t.Errorf("without %s: made", name)
		}
	}
	h := n.host("b")
	for name, bundle := range map[string][]byte{"no bundle": nil, "a long bundle": make([]byte, admission.MaxBundle+1)} {
		h.bundle = bundle
		if _, err := h.certificate(); err == nil {
			t.Errorf("%s: shown", name)
		}
	}
	if ExpiryAlone(nil) != nil {
		t.Error("ExpiryAlone refuses")
	}
}

func accepted(c Config) bool { _, err := New(c); return err == nil }

func TestChecksAreWhole(t *testing.T) {
	for _, c := range Checks() {
		if c.Title == "" || c.Protects == "" || c.Got == "" || c.Want == "" || c.Remedy == "" {
			t.Errorf("%s is not described", c.ID)
		}
	}
}

// FuzzBundleOf: a certificate gives a bundle exactly if it has one extension of
// bounded size, and then it is that extension's bytes.
func FuzzBundleOf(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	seeds := 0
	for _, bundle := range [][]byte{[]byte("a bundle"), make([]byte, 4000)} {
		cert, err := certificate(key, bundle, start)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(cert.Certificate[0])
		seeds++
	}
	if seeds == 0 {
		f.Fatal("no seeds")
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		var all [][]byte
		for _, e := range leaf.Extensions {
			if e.Id.Equal(bundleOID) {
				all = append(all, e.Value)
			}
		}
		bundle, err := bundleOf(leaf)
		if good := len(all) == 1 && len(all[0]) > 0 && len(all[0]) <= admission.MaxBundle; good != (err == nil) {
			t.Fatalf("%d extensions: %v", len(all), err)
		}
		if err == nil {
			sameWhenShownAgain(t, key, bundle, all[0])
		}
	})
}

// sameWhenShownAgain puts a bundle into a new certificate and reads it back.
func sameWhenShownAgain(t *testing.T, key crypto.Signer, bundle, want []byte) {
	t.Helper()
	cert, err := certificate(key, bundle, start)
	check(t, err)
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	check(t, err)
	again, err := bundleOf(leaf)
	check(t, err)
	if !bytes.Equal(bundle, want) || !bytes.Equal(again, want) {
		t.Fatal("another bundle")
	}
}
