package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// radio is an adapter.
type radio interface {
	// Name is the interface's: wlan0.
	Name() string
	// Up lets it send and receive.
	Up() error
	// Region tells it the country.
	Region(country string) error
	// Connected is for how long it has been connected; false is not.
	Connected() (time.Duration, bool, error)
	// Connect begins to join a network.
	Connect(n Network) error
	// Disconnect leaves the network it is in, if any.
	Disconnect() error
	Close() error
}

// station keeps one adapter in a network. Its fields belong to one goroutine.
type station struct {
	// open finds the adapter; nil with no error is that there is none yet.
	open func() (radio, error)
	// dhcp keeps an address on an interface until its context ends.
	dhcp func(context.Context, string)
	say  func(format string, args ...any)

	radio radio
	// joined is the network that was asked for.
	joined Network
	// since is how long the connection had lasted at the last look.
	since time.Duration
	// stopDHCP ends the client, where one runs.
	stopDHCP func()
	told     string
}

// tell says something once, until there is something else to say.
func (s *station) tell(text string) {
	if s.told != text {
		s.told = text
		s.say("%s", text)
	}
}

// step brings the adapter nearer to being in the network.
func (s *station) step(ctx context.Context, n Network) {
	if s.radio == nil {
		r, err := s.open()
		switch {
		case err != nil:
			s.tell(fmt.Sprintf("look for a Wi-Fi adapter: %v", err))
			return
		case r == nil:
			s.tell("no Wi-Fi adapter is found: it has no driver or no firmware here (an image built with WIFI=no has none)")
			return
		}
		if err := r.Up(); err != nil {
			s.tell(fmt.Sprintf("switch %s on: %v", r.Name(), err))
			_ = r.Close()
			return
		}
		s.radio, s.joined = r, Network{}
	}
	if n != s.joined {
		if s.joined.SSID != "" {
			s.lost()
			if err := s.radio.Disconnect(); err != nil {
				s.say("leave %q: %v", s.joined.SSID, err)
			}
		}
		if n.Country != "" {
			if err := s.radio.Region(n.Country); err != nil {
				s.say("set the country to %s: %v", n.Country, err)
			}
		}
		s.joined = n
		s.connect(n)
		return
	}
	lasted, up, err := s.radio.Connected()
	switch {
	case err != nil:
		// The adapter may be gone; it is looked for anew.
		s.tell(fmt.Sprintf("%s: %v", s.radio.Name(), err))
		s.close()
	case !up:
		s.lost()
		s.connect(n)
	default:
		if lasted < s.since {
			s.lost() // it was lost and came back since the last look
		}
		s.since = lasted
		s.connected(ctx, n)
	}
}

func (s *station) connect(n Network) {
	s.tell(fmt.Sprintf("connecting to %q", n.SSID))
	if err := s.radio.Connect(n); err != nil {
		s.tell(fmt.Sprintf("connect to %q: %v", n.SSID, err))
	}
}

func (s *station) connected(ctx context.Context, n Network) {
	s.tell(fmt.Sprintf("%s is connected to %q", s.radio.Name(), n.SSID))
	if s.stopDHCP != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	name := s.radio.Name()
	running.Go(func() { s.dhcp(ctx, name) })
	s.stopDHCP = func() { cancel(); running.Wait() }
}

// lost ends what belongs to a connection.
func (s *station) lost() {
	if s.stopDHCP != nil {
		s.stopDHCP()
		s.stopDHCP = nil
	}
	s.since = 0
}

func (s *station) close() {
	s.lost()
	if s.radio != nil {
		_ = s.radio.Close()
		s.radio = nil
	}
}
