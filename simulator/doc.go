// Package simulator holds everything that stands in for hosts with TPMs. It has no
// code of its own; this page says which of its packages to use for what. None of
// them is ever part of a shipped program.
//
// # Which one
//
// From the fastest to the most real:
//
//   - corpus: evidence with known verdicts, as files. For a program that decides
//     by evidence, or parses it. No process, microseconds a case.
//   - papertpm: signs TPM structures with keys in memory, any field of them wrong
//     on purpose. With bootlog's logs and lists, a test has thousands of nodes.
//   - paperhost: a papertpm with a certificate, a boot and an IMA list, which
//     enrols and answers challenges as an agent does.
//   - reftpm: the reference TPM in this process. One at a time; needs cgo.
//   - swtpm: software TPMs as processes, any number, with power to cut and state
//     that survives. bootlog.Host adds the files that an agent reads.
//   - site: a verifier and its operator, both the shipped programs, beside such hosts.
//   - realboot: Debian boots for real in a virtual machine. 15 seconds a boot.
//
// vendorca issues the EK certificates that all of them carry. Its root counts only
// where the consortium file says "test: true" and the root lies in a folder of the
// trust bundle named test-virtual, test-discrete or test-firmware.
//
// # In continuous integration
//
// A job needs the Debian package swtpm for simulated hosts, and those that
// `.ci/packages realboot` installs for real boots; neither KVM nor root rights
// while it runs. Tests call swtpm.Require, or package need for other programs:
// what is missing is a skip on a developer's machine and a failure where the
// environment has CI set, so that no job is green because it tested nothing.
//
// A host with a TPM, a boot log and an IMA list is ten lines, see the example
// Host. Point an agent's configuration at the files:
//
//	device: swtpm:/path/of/socket    # host.Device()
//	bootLog: /path                   # host.BootLogPath()
//	imaList: /path                   # host.IMAPath()
//	bootId: /path                    # host.BootIDPath()
//
// Every boot.Log can be altered, with named mutations or by hand; the TPM is
// extended to match, so that a verifier has to refuse the boot for what it is and
// not for a signature that does not fit.
//
// To test your own policy, put evidence of your hosts beside it (quorate evidence
// get) and run quorate appraise on each: exit code 0 is admitted, 1 refused. The
// corpus is the same idea with expectations; its package documentation has the
// layout.
package simulator
