package main

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// shaped documents what the command prints with --json: the shape of v, in its
// help and in docs/cli.md.
func shaped(cmd *cobra.Command, v any) *cobra.Command {
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	cmd.Annotations["json"] = "  " + shapeOf(reflect.TypeOf(v), "  ", nil)
	return cmd
}

// shapeOfError documents errors.
func shapeOfError() string { return shapeOf(reflect.TypeFor[errorView](), "", nil) }

// shapeOf describes a type's JSON: names, and beside each what it holds. An
// optional field has a "?" behind its name.
func shapeOf(t reflect.Type, indent string, outer []reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if _, texts := reflect.New(t).Interface().(interface{ UnmarshalText([]byte) error }); texts && t != reflect.TypeFor[time.Time]() {
		return "string"
	}
	switch t.Kind() {
	case reflect.Struct:
		return structShape(t, indent, outer)
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return "base64"
		}
		return "[" + shapeOf(t.Elem(), indent, outer) + "]"
	case reflect.Map:
		return "{" + shapeOf(t.Key(), indent, outer) + ": " + shapeOf(t.Elem(), indent, outer) + "}"
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "true or false"
	case reflect.Interface:
		return "any"
	}
	return "number"
}

func structShape(t reflect.Type, indent string, outer []reflect.Type) string {
	if t == reflect.TypeFor[time.Time]() {
		return "time"
	}
	for _, o := range outer {
		if o == t {
			return "{…}"
		}
	}
	var b strings.Builder
	b.WriteString("{\n")
	writeFields(&b, t, indent+"  ", append(outer, t))
	b.WriteString(indent + "}")
	return b.String()
}

func writeFields(b *strings.Builder, t reflect.Type, indent string, outer []reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			writeFields(b, f.Type, indent, outer)
			continue
		}
		if name == "" || name == "-" {
			continue
		}
		optional := ""
		if strings.Contains(options, "omit") {
			optional = "?"
		}
		fmt.Fprintf(b, "%s%s%s: %s", indent, name, optional, shapeOf(f.Type, indent, outer))
		if doc := f.Tag.Get("doc"); doc != "" {
			fmt.Fprintf(b, "  // %s", doc)
		}
		b.WriteString("\n")
	}
}
