package setup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/gateway/config"
)

func newBoard(t *testing.T) (b *Board, boot string) {
	t.Helper()
	home := filepath.Join(t.TempDir(), "headgate")
	boot = t.TempDir()
	b = &Board{Home: home, WiFiFile: filepath.Join(filepath.Dir(home), "wifi.json"), Now: func() time.Time { return time.Unix(1e9, 0) }}
	if err := b.Prepare(); err != nil {
		t.Fatal(err)
	}
	return b, boot
}

func put(t *testing.T, boot, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(boot, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, b *Board) config.Config {
	t.Helper()
	c, err := config.Load(config.Default(), b.ConfigPath(), true, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// names are the files of a folder.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

const complete = `hostname: farm-north
wifi: {ssid: Farm, psk: eight-or-more, country: ES}
ntp: [192.168.1.1]
admin: {token: 0123456789abcdef}
devices:
  - {name: soil-3, password: secret-of-soil, publish: [farm/3/#]}
enrolment: {controller: "https://c.example", token: enrol-secret}
gateway:
  log: {level: debug}
`

// TestWithoutFile shows that nothing is open to the network by itself.
func TestWithoutFile(t *testing.T) {
	b, boot := newBoard(t)
	if s, err := b.Apply(boot); err != nil || s != (Status{}) {
		t.Fatalf("%+v, %v", s, err)
	}
	c := load(t, b)
	if c.MQTT.Listeners[0].Address != "127.0.0.1:1883" || c.Admin.Listen != "" || c.HTTP.Listen != "" || c.MQTT.Anonymous {
		t.Errorf("%+v", c)
	}
	if c.StateDir != b.StateDir() {
		t.Errorf("state in %s", c.StateDir)
	}
}

func TestApplied(t *testing.T) {
	for _, name := range otherNames {
		t.Run(name, func(t *testing.T) {
			b, boot := newBoard(t)
			put(t, boot, name, "\xef\xbb\xbf"+complete)
			s, err := b.Apply(boot)
			if err != nil {
				t.Fatal(err)
			}
			if s.Error != "" || s.Controller != "https://c.example" || len(s.AdminFingerprint) != 64 || s.Applied.IsZero() {
				t.Errorf("%+v", s)
			}
			c := load(t, b)
			if c.Log.Level != "debug" || c.Admin.Listen != ":7070" || c.MQTT.Listeners[0].Address != ":1883" {
				t.Errorf("%+v", c)
			}
			if host, err := b.Hostname(); host != "farm-north" || err != nil {
				t.Error(host, err)
			}
			devices, err := b.Devices()
			if err != nil || len(devices) != 1 || devices[0].Password != "secret-of-soil" {
				t.Errorf("%+v, %v", devices, err)
			}
			if got := names(t, boot); got != AppliedName {
				t.Errorf("on the boot partition: %s", got)
			}
			note, err := os.ReadFile(filepath.Join(boot, AppliedName))
			if err != nil || !strings.Contains(string(note), s.AdminFingerprint) || strings.Contains(string(note), "enrol-secret") || strings.Contains(string(note), "0123456789") {
				t.Errorf("%s, %v", note, err)
			}
			if err := b.DevicesDone(); err != nil {
				t.Fatal(err)
			}
			if devices, err := b.Devices(); err != nil || devices != nil {
				t.Errorf("%+v, %v", devices, err)
			}
			again, err := b.Apply(boot)
			if err != nil || again != s {
				t.Errorf("%+v, %v", again, err)
			}
		})
	}
}

// TestWrong shows that a wrong file changes nothing, and that what is wrong is
// said with its place.
func TestWrong(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"spelling":  {"hostnam: x\n", FileName + ":1:1: unknown field"},
		"host name": {"hostname: Farm North\n", FileName + ":1:11: hostname: a host name has small letters"},
		"password":  {"devices:\n  - {name: a, publish: [x]}\n", ":2:5: devices[0].password: is missing"},
		"filter":    {"devices:\n  - {name: a, password: longenough, publish: [\"a/#/b\"]}\n", "devices[0]: invalid device"},
		"token":     {"admin: {token: short}\n", "admin.token: a token has at least 16"},
		"listen":    {"admin: {listen: \":7070\"}\n", "needs admin.token"},
		"psk":       {"wifi: {ssid: a, psk: short}\n", "wifi.psk: has 8 to 63"},
		"enrolment": {"enrolment: {controller: \"http://x\", token: t}\n", "enrolment.controller: is the controller's address"},
		"gateway":   {"gateway:\n  mqtt:\n    anonymous: true\n    listeners: [{name: a, network: tcp, address: \":1883\"}]\n", ":4:50: gateway.mqtt.listeners[0].address: anonymous access beyond loopback"},
		"tab":       {"admin:\n\ttoken: x\n", "a tab cannot indent YAML"},
		"huge":      {strings.Repeat("#", maxFileBytes+1), "larger than 256 KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			b, boot := newBoard(t)
			before := names(t, b.Home) + names(t, b.SystemDir()) + names(t, b.StateDir())
			put(t, boot, FileName, c.text)
			s, err := b.Apply(boot)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v", err)
			}
			note, _ := os.ReadFile(filepath.Join(boot, ErrorName))
			if s.Error != err.Error() || !strings.Contains(string(note), c.want) {
				t.Errorf("%+v, %s", s, note)
			}
			if kept, err := b.Status(); err != nil || kept != s {
				t.Errorf("%+v, %v", kept, err)
			}
			if err := os.Remove(filepath.Join(b.SystemDir(), statusFile)); err != nil {
				t.Fatal(err)
			}
			if after := names(t, b.Home) + names(t, b.SystemDir()) + names(t, b.StateDir()); after != before {
				t.Errorf("%s\nbefore: %s", after, before)
			}
			put(t, boot, FileName, "hostname: good\n")
			if s, err := b.Apply(boot); err != nil || s.Error != "" {
				t.Errorf("corrected: %+v, %v", s, err)
			}
			if got := names(t, boot); got != AppliedName {
				t.Errorf("on the boot partition: %s", got)
			}
		})
	}
}

// TestPowerCut ends the wiping half-way.
func TestPowerCut(t *testing.T) {
	b, boot := newBoard(t)
	put(t, boot, FileName, complete)
	first, err := b.Apply(boot)
	if err != nil {
		t.Fatal(err)
	}
	put(t, boot, FileName, strings.Repeat("\x00", 500))
	s, err := b.Apply(boot)
	if err != nil || s != first {
		t.Fatalf("%+v, %v", s, err)
	}
	if got := names(t, boot); got != AppliedName {
		t.Errorf("on the boot partition: %s", got)
	}
}

func TestBootDevice(t *testing.T) {
	mounts := filepath.Join(t.TempDir(), "mounts")
	for device, want := range map[string]string{"/dev/mmcblk0p4": "/dev/mmcblk0p1", "/dev/sda4": "/dev/sda1", "/dev/vda4": "/dev/vda1", "/dev/sda2": "", "tmpfs": ""} {
		put(t, filepath.Dir(mounts), "mounts", "/dev/root / squashfs ro 0 0\n"+device+" /perm ext4 rw 0 0\n")
		got, err := bootDevice(mounts, "/perm")
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q, %v", device, got, err)
		}
	}
}

// TestExample holds the file on the boot partition to the code, with and
// without its comments.
func TestExample(t *testing.T) {
	raw, err := os.ReadFile("../../configs/image/headgate-setup.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse("example", raw); err != nil {
		t.Error(err)
	}
	var lines []string
	for line := range strings.Lines(string(raw)) {
		if text, ok := strings.CutPrefix(line, "# "); ok && (strings.Contains(text, ": ") || strings.HasSuffix(text, ":\n")) && !strings.Contains(text, "needs nothing") && text[0] >= 'a' || strings.HasPrefix(line, "#  ") {
			line = strings.TrimPrefix(line, "# ")
		}
		lines = append(lines, line)
	}
	f, err := Parse("uncommented", []byte(strings.Replace(strings.Join(lines, ""), `token: ""`, "token: 0123456789abcdef", 2)))
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(lines, ""))
	}
	if f.WiFi.SSID == "" || len(f.Devices) != 1 || f.Gateway == nil || f.Enrolment.Controller == "" || len(f.NTP) != 1 {
		t.Errorf("%+v", f)
	}
}

// TestGuide holds the setup file in the guide to the code.
func TestGuide(t *testing.T) {
	raw, err := os.ReadFile("../../docs/raspberry-pi.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(raw), "<!-- setup: this block is tested -->\n```yaml\n")
	block, _, closed := strings.Cut(block, "```")
	if !ok || !closed {
		t.Fatal("the guide has no such block")
	}
	b, boot := newBoard(t)
	put(t, boot, FileName, block)
	if _, err := b.Apply(boot); err != nil {
		t.Fatal(err)
	}
	c := load(t, b)
	if len(c.Sensors) != 2 || len(c.Actuators) != 1 || c.Admin.Listen == "" {
		t.Errorf("%+v", c)
	}
}

// The controller of the setup file waits for the running gateway, and its token
// is forgotten once that has it.
func TestEnrolmentWaitsForTheGateway(t *testing.T) {
	home, boot := t.TempDir(), t.TempDir()
	b := &Board{Home: home, Now: time.Now}
	if err := b.Prepare(); err != nil {
		t.Fatal(err)
	}
	text := "enrolment: {controller: \"https://controller.example:8443\", token: hge_secret_print}\n"
	if err := os.WriteFile(filepath.Join(boot, FileName), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Apply(boot); err != nil {
		t.Fatal(err)
	}
	want := Enrolment{Controller: "https://controller.example:8443", Token: "hge_secret_print"}
	if e, err := b.Enrolment(); err != nil || e != want {
		t.Fatalf("%+v, %v", e, err)
	}
	if err := b.EnrolmentDone(); err != nil {
		t.Fatal(err)
	}
	if e, err := b.Enrolment(); err != nil || e != (Enrolment{}) {
		t.Errorf("afterwards %+v, %v", e, err)
	}
}
