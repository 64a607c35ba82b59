package corpus_test

import (
	"bytes"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/verifier/policy"
)

// recipe makes one case out of an honest scene.
type recipe struct {
	name  string
	about string
	start func(testing.TB) *scene
	alter func(*scene) // nil: nothing
	check string       // of the first finding; "" if there is none
	admit bool
}

const commandLine = "root=/dev/vda2 ro console=ttyS0 ima_policy=tcb"

var (
	shimGrub  = genuine("shim-grub", "")
	efiStub   = genuine("efi-stub", commandLine+" initrd=initrd")
	unified   = genuine("uki", "")
	debian    = compose(bootlog.Debian())
	debianUKI = compose(chain(bootlog.UKI))
)

func chain(c bootlog.Chain) bootlog.Boot {
	b := bootlog.Debian()
	b.Chain = c
	return b
}

// reboot boots the composed machine once more, with something changed.
func reboot(change func(*bootlog.Boot)) func(*scene) { return rebootAs(bootlog.ShimGrub, change) }

func rebootAs(c bootlog.Chain, change func(*bootlog.Boot)) func(*scene) {
	return func(s *scene) {
		b := chain(c)
		change(&b)
		s.boot(b.Log())
		s.answer()
	}
}

// mutated boots the composed machine once more, with a named defect in its log.
func mutated(m bootlog.Mutation) func(*scene) {
	return func(s *scene) {
		log := bootlog.Debian().Log()
		s.must(log.Mutate(m))
		s.boot(log)
		s.answer()
	}
}

// measured adds entries to the IMA list.
func measured(entries ...bootlog.Entry) func(*scene) {
	return func(s *scene) {
		for _, e := range entries {
			s.measure(e)
		}
		s.answer()
	}
}

// quotes signs a quote that is not quite the honest one.
func quotes(change func(*scene, *papertpm.Attest)) func(*scene) {
	return func(s *scene) {
		a := s.node.Quote(s.qualifying(s.question()), quoted...)
		change(s, &a)
		s.sign(a)
	}
}

// asks signs an honest quote made for something else.
func asks(change func(*binding.Quote)) func(*scene) {
	return quotes(func(s *scene, a *papertpm.Attest) {
		q := s.question()
		change(&q)
		a.Extra = s.qualifying(q)
	})
}

// stranger is a program that no manifest lists.
var stranger = bootlog.FileEntry("/usr/local/bin/miner", sha256.Sum256([]byte("miner")))

// recipes is the corpus.
var recipes = []recipe{
	// Admitted.
	{"admitted-genuine-shim-grub", "a real boot of Debian: shim, GRUB, Secure Boot on", shimGrub, nil, "", true},
	{"admitted-genuine-efi-stub", "a real boot of Debian: firmware starts the kernel, Secure Boot off", efiStub, nil, "", true},
	{"admitted-genuine-uki", "a real boot of Debian: systemd-boot and a unified kernel image, Secure Boot off", unified, nil, "", true},
	{"admitted-composed-shim-grub", "a composed boot through shim and GRUB", debian, nil, "", true},
	{"admitted-composed-efi-stub", "a composed boot by the kernel's EFI stub", func(t testing.TB) *scene {
		s := newScene(t)
		s.boot(chain(bootlog.EFIStub).Log())
		s.answer()
		s.learn(bootlog.Debian().CommandLine)
		return s
	}, nil, "", true},
	{"admitted-composed-uki", "a composed boot of a unified kernel image", debianUKI, nil, "", true},
	{"admitted-continued", "the host was admitted before in this boot; a listed program has run again since", debian, func(s *scene) {
		s.pass()
		s.run("/usr/bin/cometbft")
		s.answer()
	}, "", true},
	{"admitted-rebooted", "the same image after a reboot of the host and its TPM", debian, func(s *scene) {
		s.pass()
		s.node.Reboot()
		s.raw.BootID = bootID(2)
		s.want.IMA.Bytes = 0 // the list starts anew
		s.boot(bootlog.Debian().Log())
		s.answer()
	}, "", true},
	{"admitted-two-verifiers", "one quote answers the challenges of two verifiers", debian, func(s *scene) {
		s.answer(binding.Challenge{Verifier: otherName, Nonce: [32]byte{1}, Exporter: [32]byte{2}})
	}, "", true},
	{"admitted-outdated-manifest", "the kernel is outdated, but not revoked yet", debian, func(s *scene) {
		m := s.manifest("boot")
		m.Status, m.Since = policy.Outdated, s.at.Add(-24*time.Hour)
	}, "policy.outdated", true},
	{"admitted-warned-command-line", "one more kernel argument, while the policy only warns of it", debian, func(s *scene) {
		s.policy.Boot.Mode = policy.Warn
		reboot(func(b *bootlog.Boot) { b.CommandLine += " mitigations=off" })(s)
	}, "boot.command-line", true},

	// The machine's firmware and Secure Boot.
	{"secure-boot-off", "Secure Boot was switched off; the loader is the same", debianUKI,
		rebootAs(bootlog.UKI, func(b *bootlog.Boot) { b.SecureBoot = false }), "secureboot.off", false},
	{"dbx-changed", "the list of forbidden loaders lost its entry", debian,
		reboot(func(b *bootlog.Boot) { b.DBX = bootlog.DigestList(sha256.Sum256([]byte("something harmless"))) }), "secureboot.dbx", false},
	{"db-changed", "somebody enrolled one more key for loaders", debian,
		reboot(func(b *bootlog.Boot) {
			b.DB = append(b.DB, bootlog.CertificateLists(bootlog.Certificate("Somebody Else"))...)
		}), "secureboot.db", false},
	{"setup-mode", "firmware was in setup mode", debian, mutated("setup-mode"), "secureboot.mode", false},
	{"debug-mode", "firmware was in debug mode", debian, mutated("debug-mode"), "secureboot.weakened", false},
	{"firmware-changed", "other firmware code ran", debian,
		reboot(func(b *bootlog.Boot) { b.Firmware[1] = []byte("firmware volume DXE with an implant") }), "firmware.blob", false},

	// What the machine loaded.
	{"command-line", "the kernel got one more argument", debian,
		reboot(func(b *bootlog.Boot) { b.CommandLine += " init=/bin/sh" }), "boot.command-line", false},
	{"command-line-genuine", "a real boot with a command line that the policy does not allow", shimGrub, func(s *scene) {
		s.policy.Boot.CommandLine = []string{"root=/dev/vda2 ro console=ttyS0 ima_policy=tcb lockdown=integrity"}
	}, "boot.command-line", false},
	{"unlisted-image", "another boot loader", debian,
		reboot(func(b *bootlog.Boot) { b.Loader.Content = []byte("grub 2.06 with a back door") }), "boot.image", false},
	{"unlisted-image-genuine", "a real boot whose GRUB no manifest lists", shimGrub, func(s *scene) {
		s.unlist("boot", "grubx64.efi")
	}, "boot.image", false},
	{"unlisted-kernel", "another kernel", debianUKI,
		rebootAs(bootlog.UKI, func(b *bootlog.Boot) { b.Kernel.Content = []byte("linux with a root kit") }), "boot.image", false},
	{"unlisted-initrd", "another initial RAM disk", debian,
		reboot(func(b *bootlog.Boot) { b.Initrd.Content = []byte("initrd with a key logger") }), "boot.initrd", false},
	{"option-rom", "an option ROM ran before the loader", debian,
		reboot(func(b *bootlog.Boot) {
			b.Drivers = []bootlog.Image{{Path: "option.rom", Content: []byte("network boot")}}
		}), "boot.image", false},
	{"other-chain", "the right kernel, but started by firmware without shim and GRUB", debian,
		rebootAs(bootlog.EFIStub, func(*bootlog.Boot) {}), "boot.profile", false},
	{"grub-command", "GRUB ran one more command", debian, mutated("grub-extra-command"), "boot.loader-command", false},
	{"stage-missing", "the log shows no kernel image, though a kernel runs", debian, mutated("kernel-image-gone"), "rule.denied", false},
	{"revoked-manifest", "the publisher has revoked what was booted", debian, func(s *scene) {
		m := s.manifest("boot")
		m.Status, m.Since = policy.Revoked, s.at.Add(-time.Hour)
	}, "boot.image", false},
	{"rule-denied", "a rule of the policy forbids what the manifests allow", debian, func(s *scene) {
		s.policy.Rules = append(s.policy.Rules, policy.Rule{ID: "no-serial-console", Deny: `boot.commandLines.exists(l, l.text.contains("console=ttyS0"))`,
			Message: "the kernel has a serial console", Remedy: "remove console=ttyS0 from the kernel command line"})
	}, "rule.denied", false},

	// What has run since.
	{"unlisted-program", "a program that no manifest lists has run", debian, measured(stranger), "runtime.ima-unlisted", false},
	{"unlisted-program-genuine", "a real boot in which a program ran that is not listed any more", unified, func(s *scene) {
		s.unlist("runtime", "/usr/local/bin/probe")
	}, "runtime.ima-unlisted", false},
	{"unlisted-program-later", "an admitted host runs a program that no manifest lists", debian, func(s *scene) {
		s.pass()
		measured(stranger)(s)
	}, "runtime.ima-unlisted", false},
	{"replaced-program", "a listed path with another content", debian,
		measured(bootlog.FileEntry("/usr/bin/cometbft", sha256.Sum256([]byte("cometbft with a back door")))), "runtime.ima-unlisted", false},
	{"ima-violation", "a file was written while the kernel measured it", debian,
		measured(bootlog.ViolationEntry("/usr/bin/cometbft")), "runtime.ima-violation", false},
	{"kexec", "another kernel was started past the firmware", debian,
		measured(bootlog.BufferEntry("kexec-cmdline", []byte("root=/dev/vda2 init=/bin/sh"))), "runtime.kexec", false},
	{"ima-hidden", "an entry was left out of the IMA list", debian, func(s *scene) {
		s.measure(stranger)
		s.list.Entries[len(s.list.Entries)-1].NotListed = true
		s.raw.IMA = s.list.Bytes()
		s.answer()
	}, "quote.in-motion", false},
	{"ima-of-another-boot", "an IMA list that does not start at this boot", debian, func(s *scene) {
		other := chain(bootlog.UKI).Log().PCRs()
		s.node.PCRs = s.log.PCRs()
		s.list = bootlog.NewList(other)
		s.list.Replay(&s.node.PCRs)
		s.raw.IMA = s.list.Bytes()
		s.answer()
	}, "ima.boot-aggregate", false},

	// The boot log.
	{"log-missing", "the host has no boot log", debian, func(s *scene) {
		s.raw.BootLog = nil
		s.answer()
	}, "bootlog.missing", false},
	{"log-not-replaying", "an event was extended that the log does not show", debian, mutated("extend-unlogged"), "bootlog.replay", false},
	{"log-of-another-boot", "a good log, sent for a bad boot", debian, func(s *scene) {
		reboot(func(b *bootlog.Boot) { b.CommandLine += " init=/bin/sh" })(s)
		s.raw.BootLog = bootlog.Debian().Log().Bytes()
		s.answer()
	}, "bootlog.replay", false},
	{"log-text-forged-genuine", "the text of a real log's kernel command line was changed", shimGrub, func(s *scene) {
		s.forge("kernel_cmdline: /vmlinuz root=/dev/vda2", "kernel_cmdline: /vmlinuz root=/dev/vdb2")
		s.answer()
	}, "bootlog.digest", false},
	{"log-not-named", "the log is not the one that the quote names", debian, func(s *scene) {
		s.raw.BootLog = append(bytes.Clone(s.raw.BootLog), 0)
	}, "quote.boot-log", false},

	// The quote.
	{"bad-signature", "one bit of the quote is flipped", debian, func(s *scene) {
		s.raw.Quote[len(s.raw.Quote)-1] ^= 1
	}, "quote.signature", false},
	{"other-key", "signed by another TPM", debian, func(s *scene) {
		s.node.AK = papertpm.NewNode("another").AK
		s.answer()
	}, "quote.signature", false},
	{"not-a-quote", "a certification by the right key, in place of a quote", debian, func(s *scene) {
		s.sign(s.node.Certify(s.node.NodeKey, s.qualifying(s.question())))
	}, "quote.type", false},
	{"not-of-a-tpm", "bytes that the key signed, but no TPM made", debian,
		quotes(func(_ *scene, a *papertpm.Attest) { a.Magic = 0 }), "quote.magic", false},
	{"wrong-nonce", "an old quote: it answers another nonce", debian, func(s *scene) { s.want.Challenge.Nonce = [32]byte{9} }, "quote.nonce", false},
	{"wrong-exporter", "a relayed quote: made over another connection", debian, func(s *scene) {
		s.want.Challenge.Exporter = [32]byte{9}
	}, "quote.channel", false},
	{"wrong-verifier", "a quote that answers only another verifier", debian, func(s *scene) {
		s.raw.Challenges[0].Verifier = otherName
		quotes(func(*scene, *papertpm.Attest) {})(s)
	}, "quote.nonce", false},
	{"wrong-node", "a quote made for another node", debian, asks(func(q *binding.Quote) { q.Node = "org-a/validator-2" }), "quote.binding", false},
	{"wrong-ledger", "a quote made for another ledger", debian, asks(func(q *binding.Quote) { q.Ledger.ChainID = "corpus-2" }), "quote.binding", false},
	{"wrong-node-key", "a quote made for another node key", debian, asks(func(q *binding.Quote) { q.NodeKey = [32]byte{9} }), "quote.binding", false},
	{"wrong-consensus-key", "a quote made for another consensus key", debian, asks(func(q *binding.Quote) { q.ConsensusKey = "" }), "quote.binding", false},
	{"stripped-selection", "a quote that leaves PCR 4 out", debian, func(s *scene) {
		s.sign(s.node.Quote(s.qualifying(s.question()), 0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14))
	}, "quote.selection", false},
	{"other-bank", "a quote of another bank", debian, quotes(func(s *scene, a *papertpm.Attest) {
		digest := sha256.Sum256(bytes.Join(s.raw.PCRValues, nil))
		a.Body = papertpm.QuoteBody(digest[:], papertpm.Select(tpm2.TPMAlgSHA1, quoted...))
	}), "quote.selection", false},
	{"other-values", "values that the quote does not cover", debian, func(s *scene) {
		s.raw.PCRValues[4] = bytes.Repeat([]byte{4}, 32)
	}, "quote.pcr-digest", false},
	{"rollback-clock", "the TPM's clock went back", debian, func(s *scene) {
		s.pass()
		s.node.Clock = 500
		s.answer()
	}, "quote.rollback", false},
	{"rollback-reset-count", "the TPM has seen fewer resets than before: a copy of its state", debian, func(s *scene) {
		s.node.Reset = 4
		s.answer()
		s.pass()
		s.node.Reset = 3
		s.answer()
	}, "quote.rollback", false},
	{"reset-without-boot", "the TPM was reset while the host kept running", debian, func(s *scene) {
		s.pass()
		s.node.Reboot()
		s.want.IMA.Bytes = 0
		s.boot(bootlog.Debian().Log())
		s.answer()
	}, "quote.reset-without-boot", false},

	// The TPM and the verifier itself.
	{"tpm-class", "a class of TPM that the policy does not accept", debian, func(s *scene) { s.history.TPM.Class = "firmware" }, "tpm.class", false},
	{"tpm-vendor", "a vendor of whose firmware the policy knows nothing", debian, func(s *scene) { s.history.TPM.Vendor = "XYZ" }, "tpm.vendor", false},
	{"tpm-firmware", "TPM firmware that is too old", debian, func(s *scene) {
		s.node.Firmware = 0x00010000_00000000
		s.answer()
	}, "tpm.firmware", false},
	{"tpm-firmware-rollback", "the TPM had newer firmware before", debian, func(s *scene) {
		s.node.Firmware++
		s.answer()
		s.pass()
		s.node.Firmware--
		s.answer()
	}, "tpm.firmware-rollback", false},
	{"verifier-clock", "the verifier's own clock went back", debian, func(s *scene) {
		s.pass()
		s.answer()
		s.at = s.at.Add(-time.Hour)
	}, "timing.clock", false},
	{"no-policy", "nobody has approved a policy", debian, func(s *scene) { s.policy, s.manifests = nil, nil }, "policy.none", false},
}
