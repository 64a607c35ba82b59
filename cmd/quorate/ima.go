package main

import (
	"crypto"
	"encoding/hex"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/verifier/ima"
)

func (c *cli) imaCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ima",
		Short: "Read IMA lists: what a host has run since it booted",
		Args:  cobra.ArbitraryArgs, RunE: group,
	}
	cmd.AddCommand(c.imaShow())
	return cmd
}

// imaEntryView is one entry of an IMA list.
type imaEntryView struct {
	Index     uint64 `json:"index"`
	Offset    uint64 `json:"offset" doc:"byte of the list where it starts"`
	Kind      string `json:"kind" doc:"file, boot-aggregate, buffer, kexec or violation"`
	Template  string `json:"template"`
	Digest    string `json:"digest" doc:"of the file"`
	Path      string `json:"path" doc:"with unprintable bytes escaped"`
	Signature string `json:"signature,omitempty" doc:"hex"`
}

// imaView is what `ima show` prints.
type imaView struct {
	Entries []imaEntryView    `json:"entries"`
	PCR10   map[string]string `json:"pcr10" doc:"value that the list leads to, in hex, by bank"`
}

func (c *cli) imaShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show FILE",
		Short: "List what was measured, and the PCR 10 it leads to",
		Long: `Show reads the kernel's binary IMA list with the verifier's own strict parser:
every file that was executed, mapped or read, with its digest. The PCR 10 that
the list leads to is computed for each bank; compare it with the TPM's.

Exit code 0: well-formed. 1: malformed, and at which byte and why.`,
		Example: "  quorate ima show /sys/kernel/security/ima/binary_runtime_measurements",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := os.ReadFile(args[0])
			if err != nil {
				return unknown(err, "")
			}
			list, err := ima.Read(raw, ima.DefaultLimits)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			v := imaOf(list)
			return c.show(v, func() { c.printIMA(v) })
		},
	}
	return shaped(cmd, imaView{})
}

// imaBanks are the banks whose PCR 10 is computed.
var imaBanks = []struct {
	name string
	hash crypto.Hash
}{{"sha1", crypto.SHA1}, {"sha256", crypto.SHA256}, {"sha384", crypto.SHA384}}

func imaOf(list *ima.Unverified) imaView {
	v := imaView{Entries: make([]imaEntryView, 0, list.Entries), PCR10: map[string]string{}}
	for e := range list.All() {
		v.Entries = append(v.Entries, imaEntryView{
			e.Index, e.Offset, e.Kind.String(), e.Template, e.DigestText(), printable(string(e.Path)), hex.EncodeToString(e.Signature),
		})
	}
	for _, bank := range imaBanks {
		v.PCR10[bank.name] = hex.EncodeToString(list.PCR10(bank.hash))
	}
	return v
}

func (c *cli) printIMA(v imaView) {
	var t table
	t.head("ENTRY", "OFFSET", "KIND", "TEMPLATE", "DIGEST", "PATH")
	for _, e := range v.Entries {
		colour := plain
		if e.Kind == "violation" || e.Kind == "kexec" {
			colour = red
		}
		t.add(cell{fmt.Sprint(e.Index), plain}, cell{fmt.Sprint(e.Offset), plain}, cell{e.Kind, colour}, cell{e.Template, plain},
			cell{e.Digest, plain}, cell{e.Path, plain})
	}
	t.print(c)
	c.say("\n%s. PCR 10 after them:", count(len(v.Entries), "entry", "entries"))
	for _, bank := range imaBanks {
		c.say("  %-6s  %s", bank.name, v.PCR10[bank.name])
	}
}
