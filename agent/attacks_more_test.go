package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/swtpm"
)

// Everything that an agent keeps, on another host with another genuine TPM: there
// is no session, so no evidence and no admission. At home it goes on working.
func TestA161_StateCarriedOff(t *testing.T) {
	s := newSite(t, 1, 1)
	s.join()
	thief := *s
	thief.cfg.StateDir = filepath.Join(t.TempDir(), "state")
	if err := os.CopyFS(thief.cfg.StateDir, os.DirFS(s.cfg.StateDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(thief.cfg.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	other, err := bootlog.NewHost(t.Context(), t.TempDir(), swtpm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	if err := other.Boot(bootlog.Debian()); err != nil {
		t.Fatal(err)
	}
	thief.host = other
	thief.cfg.Device, thief.cfg.BootLog, thief.cfg.IMAList = other.Device(), other.BootLogPath(), other.IMAPath()
	done := make(chan error, 1)
	a := thief.agent(thief.device(nil))
	go func() { done <- a.Run(t.Context()) }()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "another TPM") {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("the agent runs with another TPM")
	}

	s.start(s.device(nil))
	v := s.verifiers[0]
	v.challenges <- nil
	if r := v.next(); r.err != nil {
		t.Error("twin:", r.err)
	}
	eventually(t, "admitted", func() bool { return s.status().Standing(time.Now()) == agent.Admitted })
}
