package main

import (
	"fmt"
	"time"
)

// instant is a point in time as a flag; unset, it is now.
type instant struct{ at time.Time }

func (i *instant) String() string {
	if i.at.IsZero() {
		return ""
	}
	return i.at.Format(time.RFC3339)
}

// Type names the flag's value in help texts.
func (i *instant) Type() string { return "time" }

func (i *instant) Set(text string) (err error) {
	if i.at, err = time.Parse(time.RFC3339, text); err != nil {
		return fmt.Errorf("a time looks like 2026-11-23T16:00:00Z")
	}
	i.at = i.at.UTC()
	return nil
}

func (i instant) now() time.Time { return i.or(time.Now()) }

func (i instant) or(other time.Time) time.Time {
	if i.at.IsZero() {
		return other
	}
	return i.at
}
