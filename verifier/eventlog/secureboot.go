package eventlog

import (
	"fmt"

	"github.com/quorate/quorate/verifier/verdict"
)

// secureOrder is the order in which firmware measures its Secure Boot state.
var secureOrder = [...]struct {
	name string
	guid *GUID
}{
	{"SecureBoot", &guidGlobal}, {"PK", &guidGlobal}, {"KEK", &guidGlobal}, {"db", &guidSecurity}, {"dbx", &guidSecurity},
}

// driverConfig files a configuration variable of PCR 7 or PCR 1. The digest has
// to cover the whole variable, and none may occur twice.
func driverConfig(x *extractor, e *Event) error {
	if err := x.mustCover(e, e.Data); err != nil {
		return err
	}
	v, err := ParseVariable(e.Data)
	if err != nil {
		return malformed(e, "no exact EFI variable", "an EFI variable and nothing else")
	}
	key := nameKey{e.PCR, v.GUID, v.Name}
	if x.names[key] {
		return verdict.Refuse(verdict.BootlogSecureBoot, e.Where(), "a second variable "+v.Name, "every variable once")
	}
	x.names[key] = true
	if e.PCR != 7 {
		x.f.Firmware.Config = append(x.f.Firmware.Config, x.measurement(e))
	} else if handled, err := x.secureVariable(e, v); handled || err != nil {
		return err
	}
	return x.modeVariable(e, v)
}

// secureVariable files one of the five variables of secureOrder and proves that
// it comes in its place. Other variables are not handled.
func (x *extractor) secureVariable(e *Event, v EFIVariable) (handled bool, err error) {
	for place, want := range secureOrder {
		if v.Name != want.name {
			continue
		}
		if v.GUID != *want.guid || place != x.secure {
			return true, verdict.Refuse(verdict.BootlogSecureBoot, e.Where(), fmt.Sprintf("%s-%s in place %d", v.Name, v.GUID, x.secure+1), "SecureBoot, PK, KEK, db, dbx, in this order")
		}
		x.secure++
		return true, x.fileSecure(e, v, place)
	}
	return false, nil
}

func (x *extractor) fileSecure(e *Event, v EFIVariable, place int) error {
	sb := &x.f.SecureBoot
	if place == 0 {
		sb.Event = e.Index
		value, known, err := flag(e, v)
		sb.Enabled, sb.Known = value, known
		if !known {
			x.oddity(oddEmptySecureBoot)
		}
		return err
	}
	if err := walkSignatureLists(v.Data, nil); err != nil {
		return verdict.Refuse(verdict.BootlogSignatureList, fmt.Sprintf("%s, variable %s", e.Where(), v.Name), err.Error(), "whole signature lists, each with its type's entry size")
	}
	*[...]*Variable{1: &sb.PK, &sb.KEK, &sb.DB, &sb.DBX}[place] = x.variable(e, v)
	return nil
}

// modeVariable files the other variables: the known modes by value, and all by digest.
func (x *extractor) modeVariable(e *Event, v EFIVariable) error {
	sb := &x.f.SecureBoot
	if mode := sb.mode(v.Name); mode != nil && v.GUID == guidGlobal {
		value, known, err := flag(e, v)
		if err != nil || !known {
			return err
		}
		if *mode != nil && **mode != value {
			return verdict.Refuse(verdict.BootlogSecureBoot, e.Where(), "another value of "+v.Name, "one value for each mode")
		}
		*mode = &value
	}
	if e.PCR == 7 {
		sb.Others = append(sb.Others, x.variable(e, v))
	}
	return nil
}

// mode returns where a mode's value belongs, nil for any other variable.
func (sb *SecureBoot) mode(name string) **bool {
	switch name {
	case "SetupMode":
		return &sb.SetupMode
	case "AuditMode":
		return &sb.AuditMode
	case "DeployedMode":
		return &sb.Deployed
	}
	return nil
}

func (x *extractor) variable(e *Event, v EFIVariable) Variable {
	return Variable{Measurement: x.measurement(e), Name: v.Name, GUID: v.GUID.String(), Data: Content{bytes: v.Data}, Size: len(v.Data), Empty: len(v.Data) == 0}
}

// flag reads a variable that is one byte, 0 or 1. An empty one is not known.
func flag(e *Event, v EFIVariable) (value, known bool, err error) {
	if len(v.Data) == 0 {
		return false, false, nil
	}
	if len(v.Data) != 1 || v.Data[0] > 1 {
		return false, false, malformed(e, fmt.Sprintf("%s = %x", v.Name, v.Data[:min(8, len(v.Data))]), "one byte, 0 or 1")
	}
	return v.Data[0] == 1, true, nil
}

// authority files what vouched for an image. Old versions of shim log a record
// that is longer than what they measured; then only the digest counts.
func authority(x *extractor, e *Event) error {
	v, rest, err := splitVariable(e.Data)
	if err != nil {
		return malformed(e, "no EFI variable", "an EFI variable")
	}
	if v.GUID == guidGlobal {
		return verdict.Refuse(verdict.BootlogLabel, e.Where(), "the firmware's variable "+v.Name+" as an authority", "a variable of the signature databases or of shim")
	}
	a := Authority{Measurement: x.measurement(e), NameClaimed: v.Name, Data: Content{bytes: v.Data}}
	switch {
	case len(rest) == 0 && x.covers(e, e.Data):
		a.From = Measured
	case len(rest) > 0 && x.covers(e, e.Data[:len(e.Data)-1]):
		x.oddity(oddShimAuthority)
	default:
		return x.mustCover(e, e.Data)
	}
	x.f.SecureBoot.Authorities = append(x.f.SecureBoot.Authorities, a)
	if a.From == Measured && v.GUID == guidShim && v.Name == "SbatLevel" {
		x.f.Shim.SBAT = string(v.Data)
	}
	return nil
}

// shimList files what shim measured into PCR 14: the content of its lists, by
// digest, beside their claimed names.
func shimList(x *extractor, e *Event) error {
	x.f.Shim.Present = true
	x.f.Shim.Lists = append(x.f.Shim.Lists, Blob{x.measurement(e), looseText(e.Data)})
	return nil
}
