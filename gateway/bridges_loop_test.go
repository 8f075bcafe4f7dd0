package gateway_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/internal/testaddress"
	"github.com/headgate-io/headgate/internal/testmosquitto"
)

func freeAddress(t testing.TB) string {
	t.Helper()
	address, err := testaddress.Free("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// everything goes both ways over a bridge with another broker.
func everything(address string) config.Bridge {
	return config.Bridge{URL: "mqtt://" + address, In: []string{"#"}, Out: []string{"#"}}
}

// rounds publishes at every ear in turn, two equal readings among them, and
// wants each heard once by all. In the order of its publisher, unless ways: what
// comes by two of them may overtake itself.
func rounds(t *testing.T, ears map[string]*ear, ways bool) {
	t.Helper()
	const messages = 30
	want := map[string][]string{}
	for i := range messages {
		for name, e := range ears {
			payload := fmt.Sprint(i / 2) // each reading twice
			e.say("field/"+name, payload)
			want[name] = append(want[name], "field/"+name+" "+payload)
		}
	}
	for at, e := range ears {
		e.mark(ears, at)
		for from, lines := range want {
			var got []string
			for _, line := range e.all() {
				if len(line) > len("field/"+from) && line[:len("field/"+from)+1] == "field/"+from+" " {
					got = append(got, line)
				}
			}
			if ways {
				slices.Sort(got)
				lines = slices.Sorted(slices.Values(lines))
			}
			if !slices.Equal(got, lines) {
				t.Errorf("%s heard of %s: %s\nwant %s", at, from, brief(got), brief(lines))
			}
		}
	}
}

// mark waits until what was published before at any ear has arrived, and for
// whatever would come after it for the second time.
func (e *ear) mark(ears map[string]*ear, at string) {
	e.Helper()
	for round := range 3 {
		for from, other := range ears {
			topic := fmt.Sprintf("mark/%s/%s/%d", at, from, round)
			other.say(topic, "x")
			for deadline := time.Now().Add(30 * time.Second); !slices.Contains(e.all(), topic+" x"); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					e.Fatalf("%s does not hear of %s: %s", at, from, brief(e.all()))
				}
			}
		}
	}
}

// Both directions with the same filter, to a broker that knows bridges and to
// one that is spoken to as by any client and sends everything back.
func TestBridgeOverlappingFilters(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	for name, plain := range map[string]bool{"bridge": false, "plain": true} {
		t.Run(name, func(t *testing.T) {
			house := testmosquitto.Start(t)
			b := everything(house.Address)
			b.Plain = plain
			r := start(t, t.TempDir(), bridged("house", b))
			r.connected("house")
			rounds(t, map[string]*ear{"gateway": listen(t, r.address, "#"), "house": listen(t, house.Address, "#")}, false)
			if got := r.bridge("house"); got.Plain != plain || (got.Echoes == 0) == plain {
				t.Errorf("%+v", got)
			}
		})
	}
}

// Two gateways, each with a bridge to the other.
func TestBridgeEachOther(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	a, b := freeAddress(t), freeAddress(t)
	north := start(t, t.TempDir(), listening(a), bridged("south", everything(b)))
	south := start(t, t.TempDir(), listening(b), bridged("north", everything(a)))
	north.connected("south")
	south.connected("north")
	rounds(t, map[string]*ear{"north": listen(t, a, "#"), "south": listen(t, b, "#")}, true)
}

// Two gateways and Mosquitto, each bridged with each.
func TestBridgeRing(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	for name, transit := range map[string]bool{"one bridge at most": false, "transit": true} {
		t.Run(name, func(t *testing.T) {
			house := testmosquitto.Start(t)
			a, b := freeAddress(t), freeAddress(t)
			toSouth, toHouse := everything(b), everything(house.Address)
			toSouth.Transit, toHouse.Transit = transit, transit
			north := start(t, t.TempDir(), listening(a), bridged("south", toSouth), bridged("house", toHouse))
			south := start(t, t.TempDir(), listening(b), bridged("house", toHouse))
			north.connected("south")
			north.connected("house")
			south.connected("house")
			ears := map[string]*ear{"north": listen(t, a, "#"), "south": listen(t, b, "#")}
			if !transit {
				// With transit Mosquitto, which knows nothing of it, gets what
				// both gateways bring.
				ears["house"] = listen(t, house.Address, "#")
			}
			rounds(t, ears, true)
		})
	}
}

// A star: what one gateway brings to a third goes on to the other.
func TestBridgeStar(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	hub := start(t, t.TempDir())
	a := start(t, t.TempDir(), bridged("hub", everything(hub.address)))
	b := start(t, t.TempDir(), bridged("hub", everything(hub.address)))
	a.connected("hub")
	b.connected("hub")
	rounds(t, map[string]*ear{"hub": listen(t, hub.address, "#"), "a": listen(t, a.address, "#"), "b": listen(t, b.address, "#")}, false)
}
