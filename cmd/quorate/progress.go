package main

import (
	"fmt"
	"time"
)

// patience is how long something may take before its progress is shown.
const patience = time.Second

// progress shows on a terminal what takes longer than a second, on one line of
// standard error that the returned function clears.
func (c *cli) progress(doing string) (done func()) {
	if !isTerminal(c.err) {
		return func() {}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		began, shown := time.Now(), false
		tick := time.NewTicker(patience)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				shown = true
				fmt.Fprintf(c.err, "\r%s … %ds", doing, int(time.Since(began).Seconds()))
			case <-stop:
				if shown {
					fmt.Fprint(c.err, "\r\x1b[K")
				}
				return
			}
		}
	}()
	return func() { close(stop); <-stopped }
}
