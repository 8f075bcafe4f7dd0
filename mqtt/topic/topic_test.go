package topic_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/mqtt/topic"
)

func TestCheckName(t *testing.T) {
	for _, tc := range []struct {
		name string
		ok   bool
	}{
		{"a", true},
		{"/", true},
		{"a//b", true},
		{"farm/3/moisture", true},
		{"$SYS/x", true},
		{"température/1", true},
		{"", false},
		{"a/+", false},
		{"a/#", false},
		{"a+", false},
		{"a\x00b", false},
		{"\xff", false},
		{strings.Repeat("/", 31), true},
		{strings.Repeat("/", 32), false},
		{strings.Repeat("/", 65000), false},
		{strings.Repeat("a", 1024), true},
		{strings.Repeat("a", 1025), false},
	} {
		err := topic.DefaultLimits.CheckName(tc.name)
		if (err == nil) != tc.ok {
			t.Errorf("CheckName(%.40q) = %v, want ok %v", tc.name, err, tc.ok)
		}
		if err != nil && (!errors.Is(err, topic.ErrInvalidName) || len(err.Error()) > 250) {
			t.Errorf("CheckName(%.40q): error %q", tc.name, err)
		}
	}
	if err := (topic.Limits{}).CheckName(strings.Repeat("a", 65536)); err == nil { // [MQTT-4.7.3-3]
		t.Error("65 536 bytes accepted")
	}
}

func TestCheckFilter(t *testing.T) {
	for _, tc := range []struct {
		filter string
		ok     bool
	}{
		{"#", true},
		{"+", true},
		{"a/#", true},
		{"+/+/#", true},
		{"/+", true},
		{"a/+/b", true},
		{"/", true},
		{"", false},
		{"#/a", false},
		{"a#", false},
		{"a/b+", false},
		{"+a", false},
		{"a/##", false},
		{"++", false},
		{"a/#/b", false},
		{"a\x00", false},
		{strings.Repeat("+/", 40) + "+", false},
	} {
		if err := topic.DefaultLimits.CheckFilter(tc.filter); (err == nil) != tc.ok {
			t.Errorf("CheckFilter(%q) = %v, want ok %v", tc.filter, err, tc.ok)
		}
	}
}

func TestSplitShare(t *testing.T) {
	for _, tc := range []struct {
		in, group, filter string
		ok                bool
	}{
		{"a/b", "", "a/b", true},
		{"$share/g/a/b", "g", "a/b", true},
		{"$share/g//a", "g", "/a", true},
		{"$share/g/#", "g", "#", true},
		{"$share/g", "", "", false},
		{"$share/g/", "", "", false},
		{"$share//a", "", "", false},
		{"$share/+/a", "", "", false},
		{"$share", "", "$share", true},
	} {
		group, filter, err := topic.SplitShare(tc.in)
		if (err == nil) != tc.ok || group != tc.group || filter != tc.filter {
			t.Errorf("SplitShare(%q) = %q, %q, %v", tc.in, group, filter, err)
		}
	}
}

var matches = []struct {
	filter, name string
	want         bool
}{
	{"sport/tennis/player1/#", "sport/tennis/player1", true}, // the examples of [MQTT5 4.7.1.2]
	{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
	{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
	{"sport/#", "sport", true},
	{"#", "a/b", true},
	{"sport/tennis/+", "sport/tennis/player1", true},
	{"sport/tennis/+", "sport/tennis/player1/ranking", false},
	{"sport/+", "sport", false},
	{"sport/+", "sport/", true},
	{"+/+", "/finance", true},
	{"/+", "/finance", true},
	{"+", "/finance", false},
	{"#", "$SYS/a", false}, // [MQTT-4.7.2-1]
	{"+/monitor/Clients", "$SYS/monitor/Clients", false},
	{"$SYS/#", "$SYS/monitor/Clients", true},
	{"$SYS/monitor/+", "$SYS/monitor/Clients", true},
	{"$SYS/#", "$SYS", true},
	{"a/b", "a/b", true},
	{"a/b", "a/B", false},
	{"a/b", "a", false},
	{"a", "a/b", false},
	{"a/+/#", "a", false},
	{"a/+/#", "a/b", true},
	{"a//b", "a//b", true},
	{"a/+/b", "a//b", true},
	{"/", "/", true},
	{"+/+", "/", true},
}

func TestMatch(t *testing.T) {
	for _, tc := range matches {
		if got := topic.Match(tc.filter, tc.name); got != tc.want {
			t.Errorf("Match(%q, %q) = %v", tc.filter, tc.name, got)
		}
		tree := topic.NewTree[int]()
		tree.Add(tc.filter, 1)
		if got := len(tree.Match(tc.name, nil)) == 1; got != tc.want {
			t.Errorf("tree with %q, Match(%q) = %v", tc.filter, tc.name, got)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, tc := range []struct {
		general, specific string
		want              bool
	}{
		{"#", "a/+/#", true},
		{"#", "$SYS/#", false},
		{"#", "+/x", true},
		{"+/x", "$SYS/x", false},
		{"a/#", "a", true},
		{"a/#", "a/#", true},
		{"a/#", "a/+/b", true},
		{"a/#", "+/b", false},
		{"a/+", "a/b", true},
		{"a/+", "a/+", true},
		{"a/+", "a/#", false},
		{"a/b", "a/+", false},
		{"a/+/c", "a/b/c", true},
		{"a/+/c", "a/b/d", false},
		{"a", "a/b", false},
		{"a/b", "a", false},
		{"$SYS/#", "$SYS/broker/+", true},
		{"+/+", "+/+", true},
		{"+/#", "+", true},
		{"+", "#", false},
	} {
		if got := topic.Covers(tc.general, tc.specific); got != tc.want {
			t.Errorf("Covers(%q, %q) = %v", tc.general, tc.specific, got)
		}
	}
}

func TestSubstitute(t *testing.T) {
	for _, tc := range []struct {
		filter, client, user, want string
		ok                         bool
	}{
		{"farm/#", "", "", "farm/#", true},
		{"dev/{client}/#", "soil-3", "u", "dev/soil-3/#", true},
		{"{user}/{client}/{user}", "c", "u", "u/c/u", true},
		{"dev/{client}/#", "a/b", "u", "", false},
		{"dev/{client}/x", "+", "u", "", false},
		{"dev/{client}", "#", "u", "", false},
		{"dev/{client}", "", "u", "", false},
		{"dev/{client}/{user}", "{user}", "u", "", false},
		{"{client}/#", "$SYS", "u", "", false},
		{"dev/{client}/#", "$SYS", "u", "dev/$SYS/#", true},
		{"dev/{user}", "c", "a\x00", "", false},
	} {
		got, ok := topic.Substitute(tc.filter, tc.client, tc.user)
		if got != tc.want || ok != tc.ok {
			t.Errorf("Substitute(%q, %q, %q) = %q, %v", tc.filter, tc.client, tc.user, got, ok)
		}
	}
}
