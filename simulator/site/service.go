package site

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// Service is a program that is started again whenever it ends, as a service
// manager does, until Stop. It is safe for concurrent use.
type Service struct {
	Program string
	Args    []string
	Log     string       // file that its output is appended to
	Before  func() error // runs before each start; may be nil

	mu      sync.Mutex
	process *Process // the latest one
	starts  int
	log     *os.File
	cancel  context.CancelFunc
	done    chan struct{}
}

// restartAfter is the pause before a service is started again.
const restartAfter = 300 * time.Millisecond

// Start runs the program until Stop is called or ctx is done. The first start
// has to succeed.
func (s *Service) Start(ctx context.Context) error {
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	s.log = log
	ctx, cancel := context.WithCancel(ctx)
	if err := s.start(ctx); err != nil {
		cancel()
		return errors.Join(err, log.Close())
	}
	s.cancel, s.done = cancel, make(chan struct{})
	go s.keep(ctx)
	return nil
}

func (s *Service) start(ctx context.Context) error {
	if s.Before != nil {
		if err := s.Before(); err != nil {
			return err
		}
	}
	p, err := Start(ctx, s.log, s.Program, s.Args...)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process = p
	s.starts++
	return nil
}

// keep starts the program again until the context ends. A start that fails is
// tried again, too.
func (s *Service) keep(ctx context.Context) {
	defer close(s.done)
	defer s.log.Close()
	for {
		<-s.latest().Done()
		select {
		case <-ctx.Done():
			return
		case <-time.After(restartAfter):
		}
		_ = s.start(ctx) // the old process stays the latest, and is done
	}
}

func (s *Service) latest() *Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

// Starts returns how often the program was started.
func (s *Service) Starts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.starts
}

// Running reports whether the program runs now.
func (s *Service) Running() bool {
	p := s.latest()
	return p != nil && p.Running()
}

// Kill ends the program without warning, as a crash does; it is started again.
func (s *Service) Kill() { s.latest().Stop() }

// Stop ends the program for good, or until Start. It is no error to stop what
// was not started.
func (s *Service) Stop() {
	if s.cancel == nil {
		return
	}
	s.cancel()
	s.Kill()
	<-s.done
	s.cancel = nil
}

// Output returns the last of what the program wrote.
func (s *Service) Output() string { return s.latest().output.String() }
