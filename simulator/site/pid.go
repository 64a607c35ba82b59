package site

// PID returns the process id, for measurements.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// VerifierPID returns the verifier's process id.
func (s *Site) VerifierPID() int { return s.verifier.PID() }
