package doctor

import "testing"

func TestBridges(t *testing.T) {
	is := func(list ...Bridge) Probe { return Bridges(func() []Bridge { return list }) }
	good := Bridge{Name: "house", Address: "x:1883", Connected: true}
	expect(t, is(), OK, "none")
	expect(t, is(good), OK, "house with x:1883")
	expect(t, is(good, Bridge{Name: "cloud", Address: "y", Error: "refused: check it", Queued: 7}), Fail, "cloud (7 messages wait): refused: check it", "bridge list")
	expect(t, is(Bridge{Name: "cloud", Address: "y"}), Fail, "has not reached y yet")
	for text, b := range map[string]Bridge{
		"refuses a/#":         {Connected: true, Refused: []string{"a/#"}},
		"dropped 3 messages":  {Connected: true, Dropped: 3},
		"does not pass on a/": {Connected: true, Crossing: []string{"a/# from house"}},
	} {
		expect(t, is(b), Warn, text)
	}
}

func TestAnnouncements(t *testing.T) {
	is := func(a Announced) Probe { return Announcements(func() Announced { return a }) }
	expect(t, is(Announced{}), OK, "off")
	expect(t, is(Announced{Enabled: true}), OK, "beyond this machine")
	expect(t, is(Announced{Enabled: true, Services: 1}), OK, "asking")
	expect(t, is(Announced{Enabled: true, Services: 1, Names: "North"}), OK, "announced as North")
	expect(t, is(Announced{Enabled: true, Error: "no route"}), Warn, "no route", "mdns.enabled")
}
