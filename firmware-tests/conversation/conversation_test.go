package conversation

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
)

// hold plays a program and fails with the conversation in words.
func hold(t *testing.T, program []byte) {
	t.Helper()
	p := decodeProgram(program)
	dir := ""
	if p.disk {
		dir = t.TempDir()
	}
	synctest.Test(t, func(t *testing.T) {
		words, err := play(p, dir, nil)
		if err != nil {
			t.Fatalf("%v\nafter\n%s\nprogram %s", err, strings.Join(words, "\n"), hex.EncodeToString(program))
		}
	})
}

// random is a program in which everyone first comes and subscribes.
func random(rnd *rand.Rand, disk bool) []byte {
	head := byte(rnd.Uint32()) &^ 3
	if disk {
		head |= 3
	}
	s := newScript(head)
	value := func() byte { return byte(rnd.Uint32()) }
	for who := range clients {
		s.do(connects, who, value()&^cleanStart|expiry5, value())
		for range 2 {
			s.do(subscribes, who, value(), value())
		}
	}
	for range rnd.IntN(maxSteps - 3*clients) {
		*s = append(*s, value(), value(), value(), value())
	}
	return *s
}

// TestConversations plays what was written by hand.
func TestConversations(t *testing.T) {
	for name, s := range corpus() {
		t.Run(name, func(t *testing.T) { hold(t, *s) })
	}
}

// FuzzConversations plays what the fuzzer makes of these. fuzz.sh finds it.
func FuzzConversations(f *testing.F) {
	for _, s := range corpus() {
		f.Add([]byte(*s))
	}
	for seed := range uint64(4) {
		f.Add(random(rand.New(rand.NewPCG(seed, 1)), seed == 0))
	}
	f.Fuzz(hold)
}

// TestRandomConversations plays what chance says.
func TestRandomConversations(t *testing.T) {
	for _, kind := range []struct {
		name     string
		disk     bool
		programs int
	}{{"memory", false, 400}, {"store", true, 60}} {
		t.Run(kind.name, func(t *testing.T) {
			for seed := range kind.programs {
				t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
					hold(t, random(rand.New(rand.NewPCG(uint64(seed), 7)), kind.disk))
				})
			}
		})
	}
}
