package attack

import (
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/verdict"
)

// logChecks are the checks that refuse each defect of a boot log.
var logChecks = map[bootlog.Mutation][]verdict.CheckID{}

// bootChecks are the checks that refuse each boot that no policy lists.
var bootChecks = map[bootlog.Mutation][]verdict.CheckID{}

// listChecks are the checks that refuse each defect of an IMA list.
var listChecks = map[bootlog.Mutation][]verdict.CheckID{}
