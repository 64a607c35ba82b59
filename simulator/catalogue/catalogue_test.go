package catalogue

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

const root = "../.."

func scanned(t *testing.T) Tests {
	t.Helper()
	tests, err := Scan(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	if len(tests) == 0 {
		t.Fatal("no test answers a row")
	}
	return tests
}

func threatModel(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(root + "/docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A check can get lost in a change; a row without its test shows that it did.
func TestA158_EveryRowIsAnswered(t *testing.T) {
	for _, problem := range Check(Rows(), scanned(t), threatModel(t)) {
		t.Error(problem)
	}
}

func TestRowsAreComplete(t *testing.T) {
	rows := Rows()
	if len(rows) != Size {
		t.Errorf("%d rows, want %d", len(rows), Size)
	}
	for i, r := range rows {
		if r.Number != i+1 || r.Name == "" || r.Refused == "" || len(r.By) == 0 || strings.ContainsAny(r.Name+r.Refused, "|\n") {
			t.Errorf("row %d: %+v", i+1, r)
		}
		if r.Due != "" && r.Due != Console {
			t.Errorf("%s waits for %q", r.ID(), r.Due)
		}
		for _, c := range r.By {
			if info, err := os.Stat(root + "/" + string(c)); err != nil || !info.IsDir() {
				t.Errorf("%s: no component %s", r.ID(), c)
			}
		}
	}
}

func module(source string) fstest.MapFS {
	return fstest.MapFS{"verifier/ima/x_test.go": {Data: []byte("package ima\n" + source)}}
}

func TestScan(t *testing.T) {
	files := module("func TestA002_B() {}\nfunc TestA001_B() {}\nfunc TestA001_A() {}\nfunc TestA005_A006_E() {}\n// func TestA003_C() {}\nfunc TestAllocations() {}\n")
	files["verifier/ima/x.go"] = &fstest.MapFile{Data: []byte("package ima\nfunc TestA004_D() {}\n")}
	files["verifier/testdata/y_test.go"] = &fstest.MapFile{Data: []byte("not Go")}
	tests, err := Scan(files)
	if err != nil {
		t.Fatal(err)
	}
	want := []Test{{lists, "TestA001_A"}, {lists, "TestA001_B"}}
	if len(tests) != 4 || !slices.Equal(tests[1], want) || len(tests[2]) != 1 || tests[5][0] != tests[6][0] {
		t.Errorf("%v", tests)
	}
	for _, source := range []string{"func TestA18_X() {}", "func TestA0018_X() {}", "func TestA000_X() {}", "func TestA189_X() {}", "func TestA001_A2_X() {}", "func {"} {
		if _, err := Scan(module(source)); err == nil {
			t.Errorf("%s: scanned", source)
		}
	}
}

func TestCheck(t *testing.T) {
	row := Row{Number: 7, Name: "name", Refused: "refused", By: by(lists)}
	line := []byte("| <a id=\"a007\"></a>A007 | by whoever runs it |\n")
	tested := func(c Component) Tests { return Tests{7: {{c, "TestA007_X"}}} }
	with := func(change func(*Row)) Row {
		r := row
		change(&r)
		return r
	}
	met, due := with(func(r *Row) { r.Met = true }), with(func(r *Row) { r.Due = Console })
	for name, c := range map[string]struct {
		row   Row
		tests Tests
		model []byte
		want  int
	}{
		"tested":               {row, tested(lists), nil, 0},
		"tested below":         {row, tested(lists + "/x"), nil, 0},
		"tested elsewhere":     {row, tested("verifier/imaginary"), nil, 1},
		"nothing":              {row, nil, nil, 1},
		"met":                  {met, nil, line, 0},
		"met and tested":       {met, tested(lists), line, 0},
		"met without a line":   {met, nil, nil, 1},
		"met by an empty line": {met, nil, []byte("| <a id=\"a007\"></a>A007 |  |\n"), 1},
		"line not claimed":     {row, tested(lists), line, 1},
		"due":                  {due, nil, nil, 0},
		"due and tested":       {due, tested(lists), nil, 1},
	} {
		if got := Check([]Row{c.row}, c.tests, c.model); len(got) != c.want {
			t.Errorf("%s: %q, want %d problems", name, got, c.want)
		}
	}
}

func TestWrite(t *testing.T) {
	var a, b bytes.Buffer
	if err := Write(&a, scanned(t)); err != nil {
		t.Fatal(err)
	}
	if err := Write(&b, scanned(t)); err != nil || !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Errorf("two runs differ: %v", err)
	}
	for _, want := range []string{"| A018 |", "verifier/evidence `TestA018_SelectionExactlyAsAsked`", "threat-model.md#a067", "due with: console"} {
		if !strings.Contains(a.String(), want) {
			t.Errorf("the document does not say %q", want)
		}
	}
	var open bytes.Buffer
	if err := Write(&open, nil); err != nil || !strings.Contains(open.String(), "| open |") {
		t.Errorf("rows without an answer are not shown as open: %v", err)
	}
}
