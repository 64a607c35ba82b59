package mutate

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

//go:embed runtime.go.txt
var runtime string

// binary is the compiled tests of one package with all of its mutants in it.
type binary struct {
	path, dir, scratch string
}

// compile builds the tests of s with its files replaced by files. Nothing is
// written outside scratch.
func compile(ctx context.Context, s *source, module, scratch string, files map[string]string) (*binary, error) {
	files[filepath.Join(s.dir, "quorate_mutants.go")] = strings.Replace(runtime, "PACKAGE", s.name, 1)
	overlay := map[string]string{}
	for path, text := range files {
		copied := filepath.Join(scratch, filepath.Base(path))
		if err := os.WriteFile(copied, []byte(text), 0o600); err != nil {
			return nil, err
		}
		overlay[path] = copied
	}
	table, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		return nil, err
	}
	replace := filepath.Join(scratch, "overlay.json")
	if err := os.WriteFile(replace, table, 0o600); err != nil {
		return nil, err
	}
	b := &binary{path: filepath.Join(scratch, "mutants.test"), dir: s.dir, scratch: scratch}
	build := exec.CommandContext(ctx, "go", "test", "-c", "-overlay", replace, "-o", b.path, s.dir)
	build.Dir = module
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile the mutants of %s: %w\n%s", s.name, err, out)
	}
	return b, nil
}

// memory bounds a test process's address space, in KiB, since a mutant may
// allocate without end.
const memory = 6 << 20

// run runs the tests that match the pattern, and nothing for longer than limit.
func (b *binary) run(ctx context.Context, limit time.Duration, env string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", fmt.Sprintf(`ulimit -v %d && exec "$0" "$@"`, memory), b.path}, args...)...)
	cmd.Dir = b.dir
	cmd.Env = append(os.Environ(), env)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	return cmd.CombinedOutput()
}

// test is one test, example or fuzz target with its seeds.
type test struct {
	name    string
	took    time.Duration
	reaches map[int]bool
}

// tests runs every test once without a mutant, which has to pass, and returns
// which mutants each of them reaches.
func (b *binary) tests(ctx context.Context) ([]test, error) {
	out, err := b.run(ctx, time.Minute, "QUORATE_MUTANT=", "-test.list", "^(Test|Fuzz|Example)")
	if err != nil {
		return nil, fmt.Errorf("list the tests: %w\n%s", err, out)
	}
	var tests []test
	for name := range strings.Lines(string(out)) {
		t, err := b.record(ctx, strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		tests = append(tests, t)
	}
	return tests, nil
}

func (b *binary) record(ctx context.Context, name string) (test, error) {
	trace := filepath.Join(b.scratch, "reached")
	if err := os.RemoveAll(trace); err != nil {
		return test{}, err
	}
	start := time.Now()
	out, err := b.run(ctx, 10*time.Minute, "QUORATE_MUTANTS_REACHED="+trace, "-test.run", "^"+name+"$")
	if err != nil {
		return test{}, fmt.Errorf("%s fails without any mutant: %w\n%s", name, err, out)
	}
	t := test{name: name, took: time.Since(start), reaches: map[int]bool{}}
	reached, err := os.ReadFile(trace)
	if err != nil && !os.IsNotExist(err) {
		return test{}, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(reached)); lines.Scan(); {
		id, err := strconv.Atoi(lines.Text())
		if err != nil {
			return test{}, err
		}
		t.reaches[id] = true
	}
	return t, nil
}
