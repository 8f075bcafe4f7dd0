// Package setup is what a person says about a board before it starts for the
// first time: one YAML file on the boot partition of its card. It is checked,
// carried out, and its secrets are wiped from the card. Where it is wrong the
// gateway starts with what it had, and says what is wrong where it can be seen:
// beside the file, in the log and in headgate doctor.
package setup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/device"
	"github.com/headgate-io/headgate/gateway/store"
)

// FileName is the file on the boot partition; beside it are the notes about
// what became of it.
const (
	FileName    = "headgate-setup.yaml"
	ErrorName   = "headgate-setup.error.txt"
	AppliedName = "headgate-setup.applied.txt"
)

// otherNames are what editors make of FileName.
var otherNames = []string{FileName, "headgate-setup.yml", FileName + ".txt"}

// maxFileBytes bounds the file.
const maxFileBytes = 256 << 10

// File is the content of the file. Everything may be left out.
type File struct {
	Hostname string `yaml:"hostname"`
	WiFi     WiFi   `yaml:"wifi"`
	// NTP are time servers, instead of the image's.
	NTP       []string  `yaml:"ntp"`
	Admin     Admin     `yaml:"admin"`
	Devices   []Device  `yaml:"devices"`
	Enrolment Enrolment `yaml:"enrolment"`
	// Gateway is a configuration of the gateway, as in config.yaml.
	Gateway map[string]any `yaml:"gateway"`
}

// WiFi is the network to join.
type WiFi struct {
	SSID    string `yaml:"ssid"`
	PSK     string `yaml:"psk"`
	Country string `yaml:"country"`
}

// Admin opens the admin API to the network, over TLS and for bearers of the
// token.
type Admin struct {
	Token  string `yaml:"token"`
	Listen string `yaml:"listen"`
}

// Device is an MQTT client with credentials.
type Device struct {
	Name      string   `yaml:"name" json:"name"`
	Password  string   `yaml:"password" json:"password"`
	Publish   []string `yaml:"publish" json:"publish,omitempty"`
	Subscribe []string `yaml:"subscribe" json:"subscribe,omitempty"`
}

// Enrolment is the controller that the gateway shall belong to.
type Enrolment struct {
	Controller string `yaml:"controller" json:"controller"`
	Token      string `yaml:"token" json:"token"`
}

// at makes a fault at a place of the file.
type at func(message string, path ...any) *function.Fault

// Parse reads a file; its errors say where and what to do.
func Parse(name string, src []byte) (File, error) {
	f, _, err := parse(name, src)
	return f, err
}

func parse(name string, src []byte) (f File, where at, err error) {
	src = bytes.TrimPrefix(src, []byte("\xef\xbb\xbf")) // as Notepad writes it
	if where, err = function.DecodeFile(name, src, &f); err != nil {
		return f, where, err
	}
	return f, where, f.validate(where)
}

var (
	validHost    = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	validCountry = regexp.MustCompile(`^[A-Z]{2}$`)
)

const minToken = 16

func (f *File) validate(where at) error {
	var faults []error
	add := func(message string, path ...any) { faults = append(faults, where(message, path...)) }
	if f.Hostname != "" && !validHost.MatchString(f.Hostname) {
		add("a host name has small letters, digits and - between them, 63 at most: farm-north", "hostname")
	}
	f.WiFi.validate(add)
	for i, s := range f.NTP {
		if s == "" || strings.ContainsAny(s, " /") {
			add(fmt.Sprintf("%q is no name or address of a time server", s), "ntp", i)
		}
	}
	if f.Admin.Token != "" && len(f.Admin.Token) < minToken {
		add(fmt.Sprintf("a token has at least %d characters: 'openssl rand -hex 20' makes one", minToken), "admin", "token")
	}
	if f.Admin.Listen != "" {
		if _, _, err := net.SplitHostPort(f.Admin.Listen); err != nil {
			add(fmt.Sprintf("%q is not host:port; \":7070\" is every interface", f.Admin.Listen), "admin", "listen")
		}
		if f.Admin.Token == "" {
			add("needs admin.token: who has it may do everything", "admin", "listen")
		}
	}
	names := map[string]bool{}
	for i, d := range f.Devices {
		if d.Password == "" {
			add("is missing: choose one, for nothing here could show you one that is made up", "devices", i, "password")
		}
		if err := device.Check(store.Device{Name: d.Name, Publish: d.Publish, Subscribe: d.Subscribe}, d.Password); err != nil {
			add(err.Error(), "devices", i)
		}
		if names[d.Name] {
			add(fmt.Sprintf("%s is there twice", d.Name), "devices", i, "name")
		}
		names[d.Name] = true
	}
	if e := f.Enrolment; e != (Enrolment{}) {
		u, err := url.Parse(e.Controller)
		if err != nil || u.Scheme != "https" || u.Host == "" {
			add("is the controller's address: https://controller.example", "enrolment", "controller")
		}
		if e.Token == "" {
			add("is missing: 'headgate-controller token create' prints one", "enrolment", "token")
		}
	}
	return errors.Join(faults...)
}

func (w *WiFi) validate(add func(string, ...any)) {
	if *w == (WiFi{}) {
		return
	}
	if w.SSID == "" || len(w.SSID) > 32 {
		add("is the network's name, 32 bytes at most", "wifi", "ssid")
	}
	if w.PSK != "" && (len(w.PSK) < 8 || len(w.PSK) > 63) {
		add("has 8 to 63 characters; leave it out for an open network", "wifi", "psk")
	}
	if w.Country != "" && !validCountry.MatchString(w.Country) {
		add("is a country's two capital letters: ES", "wifi", "country")
	}
}

// read returns the setup file of a boot partition and its name; none is nil.
func read(boot string) (name string, src []byte, err error) {
	for _, name := range otherNames {
		f, err := os.Open(filepath.Join(boot, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", nil, fmt.Errorf("read the setup file: %w", err)
		}
		src, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
		if err = errors.Join(err, f.Close()); err != nil {
			return "", nil, fmt.Errorf("read %s: %w", name, err)
		}
		return name, src, nil
	}
	return "", nil, nil
}
