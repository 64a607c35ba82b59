package cmd_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// documented are the documents whose commands people copy.
var documented = []string{"README.md", "docs/ledger.md", "docs/operations.md", "docs/policy.md", "docs/protocol.md", "docs/signer.md", "verifier/example/policy.yaml"}

var (
	shellBlock  = regexp.MustCompile("(?s)```sh\n(.*?)```")
	inlineCode  = regexp.MustCompile("`((?:quorate|quorate-agent|quorate-verifier|quorate-gate|quorate-sim|make) [^`]+)`")
	programCall = regexp.MustCompile(`^#?\s*(?:bin/)?(quorate(?:-agent|-verifier|-gate|-sim)?|make) (.*)$`)
	flag        = regexp.MustCompile(`--[a-z][a-z-]*`)
)

// Every command in the documents exists, with the flags that it is given there.
func TestDocumentedCommandsExist(t *testing.T) {
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin+"/", "./quorate", "./quorate-agent", "./quorate-signer", "./quorate-verifier", "./quorate-gate", "./quorate-sim")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	makefile := read(t, "Makefile")
	found := 0
	for _, document := range documented {
		for _, line := range commands(read(t, document)) {
			m := programCall.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			found++
			if m[1] == "make" {
				for _, target := range strings.Fields(m[2]) {
					if !strings.Contains(target, "=") && !strings.Contains(makefile, "\n"+target+":") {
						t.Errorf("%s: make %s: no such target", document, target)
					}
				}
				continue
			}
			checkCommand(t, document, filepath.Join(bin, m[1]), m[2])
		}
	}
	if found < 20 {
		t.Errorf("only %d commands found in the documents", found)
	}
}

// commands returns the commands of shell blocks and of inline code, comments
// and continuation lines joined or cut.
func commands(text string) []string {
	var lines []string
	for _, block := range shellBlock.FindAllStringSubmatch(text, -1) {
		joined := strings.ReplaceAll(block[1], "\\\n", " ")
		for _, line := range strings.Split(joined, "\n") {
			lines = append(lines, strings.TrimSpace(strings.Split(line, " #")[0]))
		}
	}
	for _, code := range inlineCode.FindAllStringSubmatch(text, -1) {
		lines = append(lines, code[1])
	}
	return lines
}

// checkCommand asks the program for help on the command and looks the flags up.
func checkCommand(t *testing.T, document, program, arguments string) {
	t.Helper()
	var words []string
	for _, word := range strings.Fields(arguments) {
		if !regexp.MustCompile(`^[a-z]+$`).MatchString(word) {
			break
		}
		words = append(words, word)
	}
	for len(words) > 0 {
		out, err := exec.Command(program, append(words, "--help")...).CombinedOutput()
		usage := strings.Join(append([]string{filepath.Base(program)}, words...), " ")
		if err == nil && strings.Contains(string(out), usage) {
			for _, f := range flag.FindAllString(arguments, -1) {
				if !strings.Contains(string(out), f) {
					t.Errorf("%s: %s %s: no flag %s", document, filepath.Base(program), arguments, f)
				}
			}
			return
		}
		words = words[:len(words)-1] // a lower-case argument, "policy"
	}
	t.Errorf("%s: %s %s: no such command", document, filepath.Base(program), arguments)
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// No paragraph stands twice in a document: a merge can leave one behind unseen.
func TestNoParagraphTwice(t *testing.T) {
	for _, document := range documented {
		seen := make(map[string]bool)
		for _, paragraph := range strings.Split(read(t, document), "\n\n") {
			if len(paragraph) > 120 && seen[paragraph] {
				t.Errorf("%s says twice: %.60s…", document, paragraph)
			}
			seen[paragraph] = true
		}
	}
}
