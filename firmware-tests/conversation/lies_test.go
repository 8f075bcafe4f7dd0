package conversation

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/mochi-mqtt/server/v2/packets"
)

// lie is a broker that breaks a promise: it changes what came to a client.
type lie func([]packets.Packet) []packets.Packet

// each changes every packet of a kind.
func each(kind byte, change func(*packets.Packet)) lie {
	return func(all []packets.Packet) []packets.Packet {
		for i := range all {
			if all[i].FixedHeader.Type == kind {
				change(&all[i])
			}
		}
		return all
	}
}

// lossless finds a QoS 1 or 2 message behind the first of them, or -1.
func lossless(all []packets.Packet, first int) int {
	for i := first; i < len(all); i++ {
		if all[i].FixedHeader.Type == packets.Publish && all[i].FixedHeader.Qos > 0 {
			return i
		}
	}
	return -1
}

var lies = map[string]lie{
	"a message is lost": func(all []packets.Packet) []packets.Packet {
		if i := lossless(all, 0); i >= 0 {
			all = slices.Delete(all, i, i+1)
		}
		return all
	},
	"a QoS 0 message is lost": func(all []packets.Packet) []packets.Packet {
		return slices.DeleteFunc(all, func(pk packets.Packet) bool {
			return pk.FixedHeader.Type == packets.Publish && pk.FixedHeader.Qos == 0
		})
	},
	"a message comes twice": func(all []packets.Packet) []packets.Packet {
		if i := lossless(all, 0); i >= 0 {
			again := all[i]
			again.PacketID = 0x7FF0
			all = append(all, again)
		}
		return all
	},
	"an acknowledgement is lost": func(all []packets.Packet) []packets.Packet {
		return slices.DeleteFunc(all, func(pk packets.Packet) bool { return pk.FixedHeader.Type == packets.Pubcomp })
	},
	"order is lost": func(all []packets.Packet) []packets.Packet {
		if i := lossless(all, 0); i >= 0 {
			if j := lossless(all, i+1); j > 0 && all[i].TopicName == all[j].TopicName {
				all[i], all[j] = all[j], all[i]
			}
		}
		return all
	},
	"the session is there":      each(packets.Connack, func(pk *packets.Packet) { pk.SessionPresent = true }),
	"RETAIN is wrong":           each(packets.Publish, func(pk *packets.Packet) { pk.FixedHeader.Retain = !pk.FixedHeader.Retain }),
	"DUP is wrong":              each(packets.Publish, func(pk *packets.Packet) { pk.FixedHeader.Dup = true }),
	"QoS is wrong":              each(packets.Publish, func(pk *packets.Packet) { pk.FixedHeader.Qos ^= 1 }),
	"identifiers are forgotten": each(packets.Publish, func(pk *packets.Packet) { pk.Properties.SubscriptionIdentifier = nil }),
	"the expiry is forgotten":   each(packets.Publish, func(pk *packets.Packet) { pk.Properties.MessageExpiryInterval = 0 }),
	"a packet id is used twice": each(packets.Publish, func(pk *packets.Packet) { pk.PacketID = min(pk.PacketID, 7) }),
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
