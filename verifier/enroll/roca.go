package enroll

import "math/big"

// rocaPrimes are the odd primes up to 167. Keys of the weak Infineon library are
// products of primes of the form k·M + (65537^a mod M), where M is divisible by
// all of these, so that modulo each of them the modulus is a power of 65537.
var rocaPrimes = []int64{
	3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
	101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
}

// hasROCAFingerprint reports whether the modulus is a power of 65537 modulo
// every one of the primes (CVE-2017-15361). A sound modulus passes by chance
// less than once in 2^27.
func hasROCAFingerprint(n *big.Int) bool {
	rest := new(big.Int)
	for _, p := range rocaPrimes {
		if !isPowerOf65537(rest.Mod(n, big.NewInt(p)).Int64(), p) {
			return false
		}
	}
	return true
}

// isPowerOf65537 reports whether x is in the group that 65537 generates modulo p.
func isPowerOf65537(x, p int64) bool {
	for power, i := int64(1), int64(0); i < p; i++ {
		if power == x {
			return true
		}
		power = power * 65537 % p
	}
	return false
}
