package swtpm

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/simulator/vendorca"
)

func newTPM(t *testing.T, dir string, o Options) *TPM {
	t.Helper()
	Require(t)
	tpm, err := New(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tpm.Close() })
	return tpm
}

func newVendor(t *testing.T) *vendorca.CA {
	t.Helper()
	ca, err := vendorca.New(vendorca.Options{Seed: "swtpm", Now: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// createAK makes the attestation key that agents use.
func createAK(t *testing.T, tpm transport.TPM) *tpm2.CreatePrimaryResponse {
	t.Helper()
	template := papertpm.NewNode("template").AK.Public
	template.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{})
	ak, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHEndorsement, InPublic: tpm2.New2B(template)}.Execute(tpm)
	if err != nil {
		t.Fatal(err)
	}
	return ak
}

// quote returns a quote's attestation structure over PCRs 0 to 14.
func quote(t *testing.T, tpm transport.TPM) *tpm2.TPMSAttest {
	t.Helper()
	ak := createAK(t, tpm)
	defer func() {
		if _, err := (tpm2.FlushContext{FlushHandle: ak.ObjectHandle}).Execute(tpm); err != nil {
			t.Error(err)
		}
	}()
	response, err := tpm2.Quote{
		SignHandle:     tpm2.AuthHandle{Handle: ak.ObjectHandle, Name: ak.Name, Auth: tpm2.PasswordAuth(nil)},
		QualifyingData: tpm2.TPM2BData{Buffer: []byte("nonce")},
		InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
		PCRSelect: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{
			{Hash: tpm2.TPMAlgSHA256, PCRSelect: []byte{0xff, 0x7f, 0x00}},
		}},
	}.Execute(tpm)
	if err != nil {
		t.Fatal(err)
	}
	attest, err := response.Quoted.Contents()
	if err != nil {
		t.Fatal(err)
	}
	return attest
}

func extend(t *testing.T, tpm transport.TPM) {
	t.Helper()
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: 4, Auth: tpm2.PasswordAuth(nil)},
		Digests: tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{
			{HashAlg: tpm2.TPMAlgSHA256, Digest: bytes.Repeat([]byte{1}, 32)},
		}},
	}.Execute(tpm)
	if err != nil {
		t.Fatal(err)
	}
}

func pcrDigest(t *testing.T, a *tpm2.TPMSAttest) []byte {
	t.Helper()
	q, err := a.Attested.Quote()
	if err != nil {
		t.Fatal(err)
	}
	return q.PCRDigest.Buffer
}

// The counters move as the TPM specification says, which the boot epoch relies on.
func TestPowerCycles(t *testing.T) {
	dir := t.TempDir()
	tpm := newTPM(t, dir, Options{})
	fresh := quote(t, tpm)
	extend(t, tpm)
	extended := quote(t, tpm)
	if bytes.Equal(pcrDigest(t, fresh), pcrDigest(t, extended)) {
		t.Fatal("extending changed nothing")
	}
	steps := []struct {
		name           string
		do             func() error
		reset, restart uint32 // how much they grow; restart is set, not added, when reset grows
		keeps          bool   // PCRs
	}{
		{"reset", tpm.Reset, 1, 0, false},
		{"power cut", func() error { tpm.PowerOff(); return tpm.PowerOn() }, 1, 0, false},
		{"resume", func() error { return errors.Join(tpm.Suspend(), tpm.Resume()) }, 0, 1, true},
		{"restart", func() error { return errors.Join(tpm.Suspend(), tpm.PowerOn()) }, 0, 2, false},
		{"new process", func() error { tpm.PowerOff(); tpm = newTPM(t, dir, Options{}); return nil }, 1, 0, false},
	}
	reset := fresh.ClockInfo.ResetCount
	for _, s := range steps {
		extend(t, tpm)
		before := quote(t, tpm)
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		after := quote(t, tpm)
		reset += s.reset
		if c := after.ClockInfo; c.ResetCount != reset || c.RestartCount != s.restart {
			t.Errorf("%s: epoch is %d/%d, want %d/%d", s.name, c.ResetCount, c.RestartCount, reset, s.restart)
		}
		if keeps := bytes.Equal(pcrDigest(t, before), pcrDigest(t, after)); keeps != s.keeps {
			t.Errorf("%s: PCRs kept is %v, want %v", s.name, keeps, s.keeps)
		}
	}
}

func TestOffIsAnError(t *testing.T) {
	tpm := newTPM(t, t.TempDir(), Options{})
	tpm.PowerOff()
	if _, err := tpm.Send([]byte("x")); !errors.Is(err, ErrOff) {
		t.Errorf("a TPM without power says %v", err)
	}
	if err := tpm.Shutdown(); !errors.Is(err, ErrOff) {
		t.Errorf("shutdown without power says %v", err)
	}
}

func readNV(t *testing.T, tpm transport.TPM, index uint32) []byte {
	t.Helper()
	name, err := nvName(tpm, index)
	if err != nil {
		t.Fatal(err)
	}
	public, err := tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(index)}.Execute(tpm)
	if err != nil {
		t.Fatal(err)
	}
	info, err := public.NVPublic.Contents()
	if err != nil {
		t.Fatal(err)
	}
	var data []byte
	for len(data) < int(info.DataSize) {
		part, err := tpm2.NVRead{
			AuthHandle: tpm2.AuthHandle{Handle: name.Handle, Name: name.Name, Auth: tpm2.PasswordAuth(nil)},
			NVIndex:    name, Size: uint16(min(512, int(info.DataSize)-len(data))), Offset: uint16(len(data)),
		}.Execute(tpm)
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, part.Data.Buffer...)
	}
	return data
}

func TestCertificatesInNV(t *testing.T) {
	vendor := newVendor(t)
	tpm := newTPM(t, t.TempDir(), Options{Vendor: vendor, RSA: true})
	if !bytes.Equal(readNV(t, tpm, NVIntermediate), vendor.Intermediate) {
		t.Error("the intermediate in NV is not the vendor's")
	}
	for index, template := range map[uint32]tpm2.TPMTPublic{
		NVCertificateECC: tpm2.ECCEKTemplate, NVCertificateRSA: tpm2.RSAEKTemplate,
	} {
		certificate, err := x509.ParseCertificate(readNV(t, tpm, index))
		if err != nil {
			t.Fatal(err)
		}
		ek, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHEndorsement, InPublic: tpm2.New2B(template)}.Execute(tpm)
		if err != nil {
			t.Fatal(err)
		}
		public, err := ek.OutPublic.Contents()
		if err != nil {
			t.Fatal(err)
		}
		key, err := tpm2.Pub(*public)
		if err != nil {
			t.Fatal(err)
		}
		if !key.(interface{ Equal(crypto.PublicKey) bool }).Equal(certificate.PublicKey) {
			t.Errorf("%#x: the certificate is for another key", index)
		}
	}
}

func TestMuxSharesOneTPM(t *testing.T) {
	tpm := newTPM(t, t.TempDir(), Options{})
	mux, err := Listen(filepath.Join(t.TempDir(), "tpm.sock"), tpm)
	if err != nil {
		t.Fatal(err)
	}
	defer mux.Close()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			client, err := Dial(mux.Path())
			if err != nil {
				t.Error(err)
				return
			}
			defer client.Close()
			for range 20 {
				response, err := tpm2.GetRandom{BytesRequested: 16}.Execute(client)
				if err != nil || len(response.RandomBytes.Buffer) != 16 {
					t.Errorf("random bytes: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// Three objects fill the TPM; every client has room for more, and a client that
// leaves without flushing locks out nobody.
func TestMuxGivesEachClientASpace(t *testing.T) {
	tpm := newTPM(t, t.TempDir(), Options{})
	mux, err := Listen(filepath.Join(t.TempDir(), "tpm.sock"), tpm)
	if err != nil {
		t.Fatal(err)
	}
	defer mux.Close()
	for range 3 {
		client, err := Dial(mux.Path())
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			createAK(t, client)
		}
		last := createAK(t, client)
		if _, err := (tpm2.ReadPublic{ObjectHandle: last.ObjectHandle}).Execute(client); err != nil {
			t.Errorf("the fourth object: %v", err)
		}
		if _, err := (tpm2.FlushContext{FlushHandle: last.ObjectHandle}).Execute(client); err != nil {
			t.Error(err)
		}
		if _, err := (tpm2.ReadPublic{ObjectHandle: last.ObjectHandle}).Execute(client); !errors.Is(err, tpm2.TPMRCReferenceH0) {
			t.Errorf("a flushed object: %v", err)
		}
		if _, _, err := tpm2.HMACSession(client, tpm2.TPMAlgSHA256, 16); err != nil {
			t.Errorf("a session: %v", err)
		}
		client.Close()
	}
	deadline := time.Now().Add(10 * time.Second)
	for loadedHandles(t, tpm) > 0 {
		if time.Now().After(deadline) {
			t.Fatal("objects or sessions are still loaded")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func loadedHandles(t *testing.T, tpm *TPM) int {
	t.Helper()
	count := 0
	for _, first := range []uint32{0x80000000, 0x02000000} {
		rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 8}.Execute(tpm)
		if err != nil {
			t.Fatal(err)
		}
		list, err := rsp.CapabilityData.Data.Handles()
		if err != nil {
			t.Fatal(err)
		}
		count += len(list.Handle)
	}
	return count
}

func TestMuxDisconnectsAtReboot(t *testing.T) {
	tpm := newTPM(t, t.TempDir(), Options{})
	mux, err := Listen(filepath.Join(t.TempDir(), "tpm.sock"), tpm)
	if err != nil {
		t.Fatal(err)
	}
	defer mux.Close()
	client, err := Dial(mux.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := (tpm2.GetRandom{BytesRequested: 1}).Execute(client); err != nil {
		t.Fatal(err)
	}
	mux.Disconnect()
	if _, err := (tpm2.GetRandom{BytesRequested: 1}).Execute(client); err == nil {
		t.Error("a connection outlived the reboot")
	}
	again, err := Dial(mux.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, err := (tpm2.GetRandom{BytesRequested: 1}).Execute(again); err != nil {
		t.Errorf("after the reboot: %v", err)
	}
}

// scripted answers with prepared responses.
type scripted struct {
	io.Writer
	io.Reader
}

func TestRetryIsRepeated(t *testing.T) {
	retry := []byte{0x80, 1, 0, 0, 0, 10, 0, 0, 0x09, 0x22}
	done := []byte{0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0}
	var sent bytes.Buffer
	got, err := roundTrip(scripted{&sent, io.MultiReader(bytes.NewReader(retry), bytes.NewReader(done))}, []byte("command"))
	if err != nil || !bytes.Equal(got, done) {
		t.Errorf("got %x, %v", got, err)
	}
	if sent.String() != "commandcommand" {
		t.Errorf("sent %q", sent.String())
	}
}

// Structures made without a TPM have to be those that a TPM makes.
func TestPaperMatchesTPM(t *testing.T) {
	tpm := newTPM(t, t.TempDir(), Options{})
	ak, paper := createAK(t, tpm), papertpm.NewNode("paper")
	if got, want := ak.CreationData.Bytes(), paper.AKCreation().Bytes(); !bytes.Equal(got, want) {
		t.Errorf("creation data is %x, on paper %x", got, want)
	}
	attest := quote(t, tpm)
	public, err := ak.OutPublic.Contents()
	if err != nil {
		t.Fatal(err)
	}
	key := papertpm.Key{Public: *public}
	if !bytes.Equal(key.Name(), ak.Name.Buffer) || !bytes.Equal(key.QualifiedName(), attest.QualifiedSigner.Buffer) {
		t.Errorf("names are %x and %x, on paper %x and %x", ak.Name.Buffer, attest.QualifiedSigner.Buffer, key.Name(), key.QualifiedName())
	}
	q, err := attest.Attested.Quote()
	if err != nil {
		t.Fatal(err)
	}
	onPaper := paper.Quote([]byte("nonce"), 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14)
	if !bytes.Equal(tpm2.Marshal(q), onPaper.Body) {
		t.Errorf("quote of fresh PCRs is %x, on paper %x", tpm2.Marshal(q), onPaper.Body)
	}
}

// A test that is killed must not leave processes behind.
func TestProcessEndsWithItsParent(t *testing.T) {
	if dir := os.Getenv("QUORATE_SWTPM_CHILD"); dir != "" {
		tpm, err := New(t.Context(), dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("pid=%d\n", tpm.cmd.Process.Pid)
		select {} // until killed
	}
	Require(t)
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProcessEndsWithItsParent$")
	child.Env = append(os.Environ(), "QUORATE_SWTPM_CHILD="+t.TempDir())
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscanf(out, "pid=%d\n", &pid); err != nil {
		t.Fatal(err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // "signal: killed"
	deadline := time.Now().Add(10 * time.Second)
	for running(pid) {
		if time.Now().After(deadline) {
			t.Fatalf("swtpm (process %d) outlived its parent", pid)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// running reports whether the process exists and is not just waiting to be reaped.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}
