package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	cmted25519 "github.com/cometbft/cometbft/crypto/ed25519"
	cmtlog "github.com/cometbft/cometbft/libs/log"
	"github.com/cometbft/cometbft/privval"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/agent/device"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/issuer"
	"github.com/quorate/quorate/simulator/swtpm"
)

// maxResident is what the signer may take of its host's memory, in bytes.
const maxResident = 40 << 20

// machine is a booted host with the shipped program on it.
type machine struct {
	t      *testing.T
	dir    string
	host   *bootlog.Host
	net    *issuer.Network
	binary string
	client *privval.SignerClient
	link   *privval.SignerListenerEndpoint
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	swtpm.Require(t)
	dir, err := os.MkdirTemp("", "signer") // short: sockets have short paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &machine{t: t, dir: dir, binary: filepath.Join(dir, "quorate-signer")}
	build := exec.Command("go", "build", "-o", m.binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	if m.net, err = issuer.New(issuer.Setup{Threshold: 2, Ledger: admission.Ledger{ID: "example-1", Genesis: sha256.Sum256([]byte("genesis"))}}); err != nil {
		t.Fatal(err)
	}
	if m.host, err = bootlog.NewHost(context.Background(), filepath.Join(dir, "h"), swtpm.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.host.Close() })
	m.boot()
	m.write("consortium.yaml", m.net.File)
	m.write("agent.yaml", fmt.Appendf(nil, "node: org-a/validator-1\nstateDir: state\nconsortium: consortium.yaml\ndevice: %s\nsigner: {address: 'unix://%s/node.sock'}\n", m.host.Device(), dir))
	m.listen()
	return m
}

func (m *machine) boot() {
	m.t.Helper()
	if err := m.host.Boot(bootlog.Debian()); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) write(name string, data []byte) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), data, 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// listen is the node's side of the link.
func (m *machine) listen() {
	m.t.Helper()
	l, err := net.Listen("unix", filepath.Join(m.dir, "node.sock"))
	if err != nil {
		m.t.Fatal(err)
	}
	m.link = privval.NewSignerListenerEndpoint(cmtlog.NewNopLogger(), privval.NewUnixListener(l))
	if m.client, err = privval.NewSignerClient(m.link, "example-1"); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { m.link.Stop() })
}

// do runs a command of the program.
func (m *machine) do(args ...string) []byte {
	m.t.Helper()
	cmd := exec.Command(m.binary, append(args, "--config", filepath.Join(m.dir, "agent.yaml"))...)
	cmd.Dir = m.dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		m.t.Fatalf("%v: %v\n%s%s", args, err, out, stderr.Bytes())
	}
	return out
}

// prepare imports a key that CometBFT made, approves the state, and admits the
// host as its agent would have it.
func (m *machine) prepare() cmted25519.PrivKey {
	m.t.Helper()
	private := cmted25519.GenPrivKey()
	pv := privval.NewFilePV(private, filepath.Join(m.dir, "key.json"), filepath.Join(m.dir, "pv.json"))
	pv.LastSignState.Height = 9
	pv.Save()
	m.do("keygen", "authority.pem")
	m.do("import", "--authority", "authority.pub.pem", "--key", "key.json", "--state", "pv.json")
	m.write("state.json", m.do("predict"))
	m.write("approval.json", m.do("approve", "--key", "authority.pem", "state.json"))
	m.do("accept", "approval.json")
	m.admit(ed25519.PublicKey(private.PubKey().Bytes()))
	return private
}

func (m *machine) admit(key ed25519.PublicKey) {
	m.t.Helper()
	m.write("state/identity.json", []byte(`{"node":"org-a/validator-1"}`))
	cfg := agent.DefaultConfig()
	cfg.Node, cfg.StateDir = "org-a/validator-1", filepath.Join(m.dir, "state")
	dev, err := device.Open(m.t.Context(), m.host.Device())
	if err != nil {
		m.t.Fatal(err)
	}
	defer dev.Close()
	nodeKey, err := agent.NodeKey(m.t.Context(), cfg, dev)
	if err != nil {
		m.t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	bundle, err := m.net.Bundle(issuer.Node{ID: cfg.Node, NodeKey: nodeKey, ConsensusKey: key, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour)})
	if err != nil {
		m.t.Fatal(err)
	}
	m.write("state/admission.bundle", bundle)
}

// start runs the signer.
func (m *machine) start() *exec.Cmd {
	m.t.Helper()
	cmd := exec.Command(m.binary, "--config", filepath.Join(m.dir, "agent.yaml"))
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
		if m.t.Failed() {
			m.t.Log(log.String())
		}
	})
	return cmd
}

func vote(height int64, block string) *cmtproto.Vote {
	hash := sha256.Sum256([]byte(block))
	return &cmtproto.Vote{
		Type: cmtproto.PrevoteType, Height: height, Timestamp: time.Now(), ValidatorAddress: make([]byte, 20),
		BlockID: cmtproto.BlockID{Hash: hash[:], PartSetHeader: cmtproto.PartSetHeader{Total: 1, Hash: hash[:]}},
	}
}

// until signs a vote again and again until the outcome is the wanted one.
func (m *machine) until(height int64, block string, ok func(v *cmtproto.Vote, err error) bool) {
	m.t.Helper()
	var err error
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		v := vote(height, block)
		if err = m.client.SignVote("example-1", v); ok(v, err) {
			return
		}
	}
	m.t.Fatalf("height %d: %v", height, err)
}

func (m *machine) signs(key ed25519.PublicKey, height int64) {
	m.t.Helper()
	m.until(height, "a", func(v *cmtproto.Vote, err error) bool {
		return err == nil && ed25519.Verify(key, types.VoteSignBytes("example-1", v), v.Signature)
	})
}

func (m *machine) refuses(height int64, block, why string) {
	m.t.Helper()
	m.until(height, block, func(_ *cmtproto.Vote, err error) bool {
		var remote *privval.RemoteSignerError
		return errors.As(err, &remote) && strings.Contains(err.Error(), why)
	})
}

// TestProcess is the shipped program's life: it signs, is killed, is started again
// in the same boot and after a reboot.
func TestProcess(t *testing.T) {
	m := newMachine(t)
	private := m.prepare()
	key := ed25519.PublicKey(private.PubKey().Bytes())
	p := m.start()
	m.refuses(8, "a", "height regression") // the imported signing state counts
	m.signs(key, 10)
	m.isLocked(p.Process.Pid)
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.Wait()

	p = m.start() // a key is released once in a boot, and nobody was named who could grant more
	m.refuses(11, "a", "seal.capped")
	if !m.link.IsConnected() {
		t.Error("the signer hung up")
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Errorf("end on SIGTERM: %v", err)
	}

	m.boot()
	m.start()
	m.signs(key, 10) // the same vote again, as a node asks after a crash
	m.refuses(10, "b", "conflicting data")
	m.signs(key, 11)
	m.noSecretOnDisk(private)
}

// TestKilledWhileSigning kills the program in the middle of a stream of votes. What
// was acknowledged is never contradicted by the next start.
func TestKilledWhileSigning(t *testing.T) {
	m := newMachine(t)
	private := m.prepare()
	key := ed25519.PublicKey(private.PubKey().Bytes())
	height := int64(10)
	for range 3 {
		p := m.start()
		m.signs(key, height)
		at, killed := height+1+rand.Int64N(50), make(chan struct{})
		last := height
		for next := height + 1; ; next++ {
			if next == at {
				go func() {
					defer close(killed)
					p.Process.Kill()
					p.Wait()
				}()
			}
			if m.client.SignVote("example-1", vote(next, "a")) != nil {
				break
			}
			last = next
		}
		<-killed
		m.boot()
		p = m.start()
		m.refuses(last, "b", "conflicting data")
		m.signs(key, last+2) // last+1 may have been signed and not acknowledged
		height = last + 3
		p.Process.Kill()
		p.Wait()
		m.boot()
	}
}

// isLocked checks what keeps the key in memory there.
func (m *machine) isLocked(pid int) {
	m.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		m.t.Fatal(err)
	}
	number := func(name string) int {
		found := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+) kB`).FindSubmatch(status)
		if found == nil {
			m.t.Fatalf("no %s in\n%s", name, status)
		}
		n, _ := strconv.Atoi(string(found[1]))
		return n << 10
	}
	if number("VmLck") < os.Getpagesize() {
		m.t.Error("no page is locked")
	}
	m.t.Logf("resident %d KiB, peak %d KiB", number("VmRSS")>>10, number("VmHWM")>>10)
	if number("VmHWM") > maxResident {
		m.t.Errorf("more than %d KiB resident", maxResident>>10)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		m.t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^Max core file size\s+0\s+0`).Match(limits) {
		m.t.Errorf("core dumps are allowed:\n%s", limits)
	}
}

// noSecretOnDisk looks for the seed in every form in which programs write it.
func (m *machine) noSecretOnDisk(private cmted25519.PrivKey) {
	m.t.Helper()
	seed := private[:32]
	forms := [][]byte{seed, []byte(hex.EncodeToString(seed)), []byte(base64.StdEncoding.EncodeToString(private)[:40])}
	if original, err := os.ReadFile(filepath.Join(m.dir, "key.json")); err != nil || !bytes.Contains(original, forms[2]) {
		m.t.Fatal("twin: the seed is not found in the file it came from", err)
	}
	files := 0
	err := filepath.WalkDir(filepath.Join(m.dir, "state"), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		if info, err := d.Info(); err != nil || info.Mode().Perm() != 0o600 {
			m.t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
		data, err := os.ReadFile(path)
		for _, f := range forms {
			if bytes.Contains(data, f) {
				m.t.Errorf("%s holds the seed", path)
			}
		}
		return err
	})
	if err != nil || files < 5 {
		m.t.Errorf("%d files read: %v", files, err)
	}
}
