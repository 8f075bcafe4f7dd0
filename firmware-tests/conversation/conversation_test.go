package conversation

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// hold plays a program. It fails with the shortest conversation that goes wrong
// in words, and with the program of it.
func hold(t *testing.T, program []byte) {
	t.Helper()
	words, err := run(t, program)
	if err == nil {
		return
	}
	for tries := 300; tries > 0; {
		shorter, again, why := shorten(t, program, &tries)
		if why == nil {
			break
		}
		program, words, err = shorter, again, why
	}
	t.Fatalf("%v\nafter\n%s\nprogram %s", err, strings.Join(words, "\n"), hex.EncodeToString(program))
}

func run(t *testing.T, program []byte) (words []string, err error) {
	p := decodeProgram(program)
	dir := ""
	if p.disk {
		dir = t.TempDir()
	}
	synctest.Test(t, func(*testing.T) { words, err = play(p, dir, nil) })
	return words, err
}

// shorten leaves out steps, many at once at first, until what is left still
// goes wrong. The error is nil when nothing can be left out.
func shorten(t *testing.T, program []byte, tries *int) ([]byte, []string, error) {
	steps := (len(program) - headSize) / stepSize
	for n := steps / 2; n > 0; n /= 2 {
		for at := 0; at+n <= steps && *tries > 0; at += n {
			*tries--
			from := headSize + at*stepSize
			less := slices.Delete(slices.Clone(program), from, from+n*stepSize)
			if words, err := run(t, less); err != nil {
				return less, words, err
			}
		}
	}
	return nil, nil, nil
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
			programs := kind.programs
			if testing.Short() {
				programs /= 8
			}
			for seed := range programs {
				t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
					hold(t, random(rand.New(rand.NewPCG(uint64(seed), 7)), kind.disk))
				})
			}
		})
	}
}
