package site

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestServiceStartsAgain(t *testing.T) {
	s := &Service{Program: "sh", Args: []string{"-c", "echo up; sleep 1000"}, Log: filepath.Join(t.TempDir(), "log")}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	said := func(times int) {
		t.Helper()
		up := func() bool { text, _ := os.ReadFile(s.Log); return strings.Count(string(text), "up") == times }
		if err := Poll(ctx, up); err != nil {
			t.Fatalf("said not %d times that it is up: %v", times, err)
		}
	}
	said(1)
	first := s.latest().PID()
	s.Kill()
	said(2)
	second := s.latest().PID()
	s.Stop()
	if first == second || s.Starts() != 2 || s.Running() {
		t.Errorf("processes %d and %d, %d starts, running %t", first, second, s.Starts(), s.Running())
	}
	gone(t, second)
}

func TestServiceThatCannotStart(t *testing.T) {
	want := errors.New("no disk")
	s := &Service{Program: "true", Log: filepath.Join(t.TempDir(), "log"), Before: func() error { return want }}
	if err := s.Start(t.Context()); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
	s.Stop()
}
