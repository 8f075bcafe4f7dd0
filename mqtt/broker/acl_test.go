package broker

import (
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// TestDeniedPublishesAreNotRetained: who may not publish to a topic can neither
// leave a retained message there, nor replace the one that is there, nor clear
// it, by will or alias either.
func TestDeniedPublishesAreNotRetained(t *testing.T) {
	acl := Identity{Publish: []string{"mine/#"}, Subscribe: []string{"#"}}
	srv, addr := startServer(t, quietConfig(), Deps{Authenticator: passwords{"ann": acl}})
	srv.Publish(&Message{Topic: "theirs", Payload: []byte("kept"), Retain: true})
	poison := func(p *peer, topic, payload string, qos byte, id uint16, alias uint16) {
		pk := publishPacket(topic, payload, qos, id)
		pk.FixedHeader.Retain = true
		if alias > 0 {
			pk.Properties.TopicAlias, pk.Properties.TopicAliasFlag = alias, true
		}
		p.send(pk)
	}
	p, _ := connected(t, addr, 5, "c", login("ann", "secret ann"))
	poison(p, "theirs", "poison", 1, 1, 0)
	p.expectAck(packets.Puback, 1, NotAuthorized)
	poison(p, "theirs", "", 1, 2, 0)
	p.expectAck(packets.Puback, 2, NotAuthorized)
	poison(p, "theirs", "poison", 2, 3, 1)
	p.expectAck(packets.Pubrec, 3, NotAuthorized)
	poison(p, "", "", 1, 4, 1)
	p.expectAck(packets.Puback, 4, NotAuthorized)
	poison(p, "theirs", "poison", 0, 0, 0)
	p.quiet()
	will := dial(t, addr, 5)
	if ack := will.connect("d", func(pk *packets.Packet) {
		login("ann", "secret ann")(pk)
		pk.Connect.WillFlag, pk.Connect.WillRetain, pk.Connect.WillTopic = true, true, "theirs"
	}); ack.ReasonCode != byte(NotAuthorized) {
		t.Errorf("a will elsewhere: CONNACK %#x", ack.ReasonCode)
	}
	got := map[string]string{}
	srv.Retained("#", func(m *Message) bool {
		got[m.Topic] = string(m.Payload)
		return true
	})
	if len(got) != 1 || got["theirs"] != "kept" {
		t.Errorf("retained %v", got)
	}
}

// TestWildcardsInTheACLReachNoFurther tries filters that are wider than what is
// allowed, shared ones too, and topics that only look alike.
func TestWildcardsInTheACLReachNoFurther(t *testing.T) {
	acl := Identity{Publish: []string{"a/+/c", "#/x", "deep/#"}, Subscribe: []string{"a/+", "deep/#"}}
	_, addr := startServer(t, quietConfig(), Deps{Authenticator: passwords{"ann": acl}})
	p, _ := connected(t, addr, 5, "c", login("ann", "secret ann"))
	for filter, ok := range map[string]bool{
		"a/b": true, "a/+": true, "deep/#": true, "deep/+/x": true, "deep": true, "$share/g/a/b": true,
		"a/#": false, "+/b": false, "#": false, "+/+": false, "a": false, "a/b/c": false, "$SYS/#": false, "$share/g/#": false,
		"/a/b": false, "deeper/#": false, "$share/deep/x": false,
	} {
		if code := p.subscribe(0, filter)[0]; (code < 0x80) != ok {
			t.Errorf("subscribe %s: %#x", filter, code)
		}
	}
	sender, _ := connected(t, addr, 5, "d", login("ann", "secret ann")) // which gets no messages
	for topic, ok := range map[string]bool{
		"a/b/c": true, "a//c": true, "deep": true, "deep/x/y": true,
		"a/c": false, "a/b/c/d": false, "A/b/c": false, "/a/b/c": false, "x": false, "deeper": false, "$SYS/x": false,
	} {
		sender.publish(topic, "x", 1, 7)
		pk := sender.expect(packets.Puback)
		if (pk.ReasonCode < 0x80) != ok {
			t.Errorf("publish %s: %#x", topic, pk.ReasonCode)
		}
	}
}
