package policy

import "testing"

// Facts that no rule reads are left out, so a rule that could see the difference
// has to count as one that reads everything.
func TestReads(t *testing.T) {
	for rule, want := range map[string]map[string]bool{
		"boot.images.exists(i, i.pcr == 2)":                              {"images": true, "pcr": true, "digest": false, "kernels": false},
		"!boot.commands.all(c, c.text.startsWith('set'))":                {"commands": true, "text": true, "files": false},
		"has(tpm.vendor) && secureBoot.variables[0].data == 'x'":         {"data": true, "variables": true, "blobs": false},
		"size([boot]) == 2":                                              {"images": true, "digest": true},
		"type(boot) == type(firmware)":                                   {"images": true},
		"boot.images == boot.kernels && boot.files[0] in boot.initrds":   {"images": true, "kernels": true, "files": true, "initrds": true, "lists": false},
		"tpm.class == 'virtual' || [boot, boot].exists(b, b.sbat == '')": {"lists": true},
	} {
		set := &Set{reads: reads{}}
		if _, err := (&compiler{}).compile(rule, set.reads); err != nil {
			t.Errorf("%s: %v", rule, err)
			continue
		}
		for field, reads := range want {
			if set.Reads(field) != reads {
				t.Errorf("%s: reads %s is %v", rule, field, !reads)
			}
		}
	}
}
