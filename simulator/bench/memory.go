package bench

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/site"
	"github.com/quorate/quorate/simulator/swtpm"
)

// agentMemory runs the real agent on a host with a software TPM until it has been
// admitted and challenged for some seconds, and reads the most memory it had.
func (f *fleet) agentMemory(ctx context.Context) (row Row, err error) {
	row = Row{Operation: "agent, peak resident memory", Unit: "MiB", Gate: 30}
	dir, id := filepath.Join(f.Dir, "host"), member+"/real"
	machine, err := bootlog.NewHost(ctx, dir, swtpm.Options{Vendor: f.Vendor})
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, machine.Close()) }()
	if err := boot(machine); err != nil {
		return row, err
	}
	invited, err := f.admin.InviteNode(ctx, &pb.InviteNodeRequest{NodeId: id, PreApprove: true})
	if err != nil {
		return row, err
	}
	config, token := filepath.Join(dir, "agent.yaml"), filepath.Join(dir, "token")
	text := fmt.Sprintf("node: %s\nconsortium: %s\nstateDir: state\ndevice: %s\nbootLog: %s\nimaList: %s\nbootId: %s\n",
		id, f.ConsortiumFile(), machine.Device(), machine.BootLogPath(), machine.IMAPath(), machine.BootIDPath())
	if err := errors.Join(os.WriteFile(config, []byte(text), 0o600), os.WriteFile(token, []byte(invited.JoinToken+"\n"), 0o600)); err != nil {
		return row, err
	}
	if err := f.Run(ctx, "quorate-agent", "join", "--config", config, "--token-file", token); err != nil {
		return row, err
	}
	agent, err := site.Start(ctx, nil, f.Program("quorate-agent"), "run", "--config", config)
	if err != nil {
		return row, err
	}
	defer agent.Interrupt(2 * time.Second)
	if err := f.awaitHeartbeats(ctx, id, agent); err != nil {
		return row, err
	}
	row.Ours, err = peakMemory(agent.PID())
	return row, err
}

func boot(machine *bootlog.Host) error {
	if err := machine.Boot(bootlog.Debian()); err != nil {
		return err
	}
	for _, p := range programs {
		if err := machine.Exec(p, sha256.Sum256([]byte(p))); err != nil {
			return err
		}
	}
	return nil
}

// awaitHeartbeats waits until the node is admitted and was seen again some
// challenges later.
func (f *fleet) awaitHeartbeats(ctx context.Context, id string, agent *site.Process) error {
	var node *pb.Node
	var admitted time.Time
	return site.Poll(ctx, func() bool {
		r, err := f.admin.GetNode(ctx, &pb.GetNodeRequest{NodeId: id})
		if err != nil || r.Node.State != "admitted" {
			return false
		}
		node = r.Node
		if admitted.IsZero() {
			admitted = node.LastEvidence.AsTime()
		}
		return node.LastEvidence.AsTime().Sub(admitted) > 5*time.Second
	}, agent)
}

// peakMemory returns the most resident memory that a process ever had, in MiB.
func peakMemory(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			fields := bytes.Fields(value)
			kib, err := strconv.ParseFloat(string(fields[0]), 64)
			return kib / 1024, err
		}
	}
	return 0, errors.New("no VmHWM in /proc/PID/status")
}
