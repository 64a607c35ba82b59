package values

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	const cost = 1000
	most := Slack / cost
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"nothing":                 {"", true},
		"a document":              {"a: 1\nb: [x, y]\n", true},
		"as many as there may be": {strings.Repeat("a,", most), true},
		"more":                    {strings.Repeat("a,", most+most/20), false},
		"more in longer texts":    {strings.Repeat("a,", most+most/20) + strings.Repeat(" ", 100_000), true},
		"one long value":          {strings.Repeat("a", 10<<20), true},
		"lists":                   {strings.Repeat("- a\n", most), false},
		"dashes in words":         {strings.Repeat("a-b", 10*most), true},
		"the deepest":             {strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth), true},
		"deeper":                  {strings.Repeat("[", MaxDepth+1), false},
		"deeper by mappings":      {strings.Repeat("{", MaxDepth+1), false},
		"side by side":            {strings.Repeat("[]", 3*MaxDepth), true},
		"lists on a line":         {strings.Repeat("- ", MaxDepth), true},
		"too many on a line":      {strings.Repeat("- ", MaxDepth+1), false},
		"keys on a line":          {strings.Repeat("? ", MaxDepth+1), false},
		"tabs":                    {strings.Repeat("-\t", MaxDepth+1), false},
		"lists on lines":          {strings.Repeat("- a\n", 3*MaxDepth), true},
		"closed and never open":   {strings.Repeat("]", 100) + strings.Repeat("[", MaxDepth), true},
	} {
		if err := Check([]byte(c.text), cost); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	text := []byte(strings.Repeat("a: [x, y]\n", 100))
	if n := testing.AllocsPerRun(10, func() { _ = Check(text, cost) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestCheckJSON(t *testing.T) {
	const cost = 1000
	most := Slack / cost
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"nothing":                 {"", true},
		"a document":              {`{"a":[1,2],"b":"x"}`, true},
		"as many as there may be": {"[" + strings.Repeat("1,", most-1) + "1]", true},
		"more":                    {"[" + strings.Repeat("1,", most+most/20) + "1]", false},
		"objects":                 {"[" + strings.Repeat("{}", most+most/20) + "]", false},
		"a text of commas":        {`"` + strings.Repeat(",[{", most) + `"`, true},
		"an escaped quote":        {`"\"` + strings.Repeat(",[{", most) + `"`, true},
		"an escaped backslash":    {`"\\"` + strings.Repeat(",", most+most/20), false},
		"the deepest":             {strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth), true},
		"deeper":                  {strings.Repeat(`{"a":`, MaxDepth+1), false},
		"side by side":            {strings.Repeat("[],", 3*MaxDepth), true},
	} {
		if err := CheckJSON([]byte(c.text), cost); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What counts, exactly.
func TestCounts(t *testing.T) {
	for text, want := range map[string][2]int{ // values, depth
		"":                 {0, 0},
		"a":                {0, 0},
		"a: 1\n":           {2, 0},
		"a,b":              {1, 0},
		"[a]":              {1, 1},
		"{a: [b, c]}":      {4, 2},
		"[[[]]]]]][":       {4, 3},
		"[][[":             {3, 2},
		"][":               {1, 1},
		"[[][[":            {4, 3},
		"{}{}":             {2, 1},
		"-":                {1, 0},
		"?":                {1, 0},
		"- a\n- b":         {3, 1},
		"-a ?b":            {0, 0},
		"a-\n":             {2, 1},
		"- - - a":          {3, 3},
		"? ? - a":          {3, 3},
		"- - a - - - b":    {5, 3},
		"- -\n- - - a":     {6, 3},
		"-  -   - a":       {3, 3},
		"-\t-\ta":          {2, 2},
		"- -":              {2, 1},
		"- a - b":          {2, 1},
		"- \n- ":           {3, 1},
		"--- a":            {1, 1},
		"- !x - a":         {2, 1},
		"- {- a}":          {3, 1},
		"- a\n- [- - - x]": {7, 3},
	} {
		if n, deep := count([]byte(text)), depth([]byte(text)); n != want[0] || deep != want[1] {
			t.Errorf("%q: %d values, %d deep; want %v", text, n, deep, want)
		}
	}
	for text, want := range map[string][2]int{
		"":                     {0, 0},
		"1":                    {0, 0},
		"[1,2]":                {2, 1},
		`{"a":[{}]}`:           {3, 3},
		`[[],[]]`:              {4, 2},
		`[[[]],[[]]]`:          {6, 3},
		`"[,{"`:                {0, 0},
		`["\",[",1]`:           {2, 1},
		`["\\",1]`:             {2, 1},
		`["\\\"",1,"]",[]]`:    {5, 2},
		`{"a":"}","b":[1,[]]}`: {5, 3},
		`]]][`:                 {1, 0},
		`{}{}`:                 {2, 1},
		`\"[,"`:                {0, 0},
	} {
		if n, deep := structure([]byte(text)); n != want[0] || deep != want[1] {
			t.Errorf("%q: %d values, %d deep; want %v", text, n, deep, want)
		}
	}
}

// The bounds themselves are within what they bound.
func TestBounds(t *testing.T) {
	at := func(n, size int) error { return check(size, n, MaxDepth, 100) }
	for _, size := range []int{0, 1000} {
		most := (Slack + Factor*size) / 100
		if err := at(most, size); err != nil {
			t.Error(err)
		}
		if at(most+1, size) == nil {
			t.Errorf("%d values in %d bytes", most+1, size)
		}
	}
	if check(0, 0, MaxDepth+1, 100) == nil {
		t.Error("too deep")
	}
}
