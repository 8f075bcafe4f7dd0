package conversation

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
)

// lie is a broker that breaks a promise: it changes what came to a client.
type lie func([]packet) []packet

// each changes every packet of a kind.
func each(kind form, change func(*packet)) lie {
	return func(all []packet) []packet {
		for i := range all {
			if all[i].form == kind {
				change(&all[i])
			}
		}
		return all
	}
}

// lossless finds a QoS 1 or 2 message behind the first of them, or -1.
func lossless(all []packet, first int) int {
	for i := first; i < len(all); i++ {
		if all[i].form == publish && all[i].qos > 0 {
			return i
		}
	}
	return -1
}

var lies = map[string]lie{
	"a message is lost": func(all []packet) []packet {
		if i := lossless(all, 0); i >= 0 {
			all = slices.Delete(all, i, i+1)
		}
		return all
	},
	"a QoS 0 message is lost": func(all []packet) []packet {
		return slices.DeleteFunc(all, func(pk packet) bool {
			return pk.form == publish && pk.qos == 0
		})
	},
	"a message comes twice": func(all []packet) []packet {
		if i := lossless(all, 0); i >= 0 {
			again := all[i]
			again.id = 0x7FF0
			all = append(all, again)
		}
		return all
	},
	"an acknowledgement is lost": func(all []packet) []packet {
		return slices.DeleteFunc(all, func(pk packet) bool { return pk.form == pubcomp })
	},
	"order is lost": func(all []packet) []packet {
		if i := lossless(all, 0); i >= 0 {
			if j := lossless(all, i+1); j > 0 && all[i].topic == all[j].topic {
				all[i], all[j] = all[j], all[i]
			}
		}
		return all
	},
	"the session is there":      each(connack, func(pk *packet) { pk.present = true }),
	"RETAIN is wrong":           each(publish, func(pk *packet) { pk.retain = !pk.retain }),
	"DUP is wrong":              each(publish, func(pk *packet) { pk.dup = true }),
	"QoS is wrong":              each(publish, func(pk *packet) { pk.qos ^= 1 }),
	"identifiers are forgotten": each(publish, func(pk *packet) { pk.ids = nil }),
	"the expiry is forgotten":   each(publish, func(pk *packet) { pk.life = 0 }),
	"a packet id is used twice": each(publish, func(pk *packet) { pk.id = min(pk.id, 7) }),
}

// TestLies shows that the model is not blind: with a broker that lies it finds
// that in one of a few conversations.
func TestLies(t *testing.T) {
	for name, tell := range lies {
		t.Run(name, func(t *testing.T) {
			var found error
			for seed := uint64(0); seed < 60 && found == nil; seed++ {
				p := decodeProgram(random(rand.New(rand.NewPCG(seed, 3)), false))
				synctest.Test(t, func(*testing.T) { _, found = play(p, "", tell) })
			}
			if found == nil {
				t.Fatal("nobody noticed")
			}
			t.Log(found)
		})
	}
}
