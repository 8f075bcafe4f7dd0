package device_test

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/gateway/device"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/mqtt/broker"
)

func open(t *testing.T, anonymous bool) *device.Registry {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "headgate.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return device.New(s, device.Options{Anonymous: anonymous})
}

func login(t *testing.T, r *device.Registry, name, password string) (broker.Identity, error) {
	t.Helper()
	return r.Authenticate(t.Context(), broker.Credentials{Client: name, Username: name, Password: []byte(password)})
}

func TestCredentials(t *testing.T) {
	r := open(t, false)
	probe := store.Device{Name: "soil-3", Publish: []string{"farm/3/#"}, Subscribe: []string{"cmd/{client}"}}
	for _, chosen := range []string{"", "correct horse"} {
		t.Run("chosen "+chosen, func(t *testing.T) {
			d := probe
			d.Name += strings.ReplaceAll(chosen, " ", "-")
			password, err := r.Add(t.Context(), d, chosen)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time may come from the cache
				id, err := login(t, r, d.Name, password)
				if err != nil {
					t.Fatal(err)
				}
				if want := (broker.Identity{User: d.Name, Client: d.Name, Publish: d.Publish, Subscribe: d.Subscribe}); !reflect.DeepEqual(id, want) {
					t.Errorf("identity %+v, want %+v", id, want)
				}
			}
			for _, wrong := range []string{"", password + "x", strings.ToUpper(password)} {
				if _, err := login(t, r, d.Name, wrong); !errors.Is(err, broker.ErrBadCredentials) {
					t.Errorf("password %q: %v", wrong, err)
				}
			}
			_, rotated, err := r.Rotate(t.Context(), d.Name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := login(t, r, d.Name, password); !errors.Is(err, broker.ErrBadCredentials) {
				t.Errorf("the old password after a rotation: %v", err)
			}
			if _, err := login(t, r, d.Name, rotated); err != nil {
				t.Errorf("the new password: %v", err)
			}
			if err := r.Remove(t.Context(), d.Name); err != nil {
				t.Fatal(err)
			}
			if _, err := login(t, r, d.Name, rotated); !errors.Is(err, broker.ErrBadCredentials) {
				t.Errorf("a removed device: %v", err)
			}
		})
	}
}

func TestAddFaults(t *testing.T) {
	r := open(t, false)
	all := []string{"#"}
	for _, c := range []struct {
		name     string
		device   store.Device
		password string
		want     string
	}{
		{"name", store.Device{Name: "a b", Publish: all}, "", `name "a b"`},
		{"filter", store.Device{Name: "a", Publish: []string{"farm/#/x"}}, "", `filter "farm/#/x"`},
		{"nothing", store.Device{Name: "a"}, "", "neither publish nor subscribe"},
		{"short", store.Device{Name: "a", Publish: all}, "1234", "at least 8 characters"},
	} {
		if _, err := r.Add(t.Context(), c.device, c.password); !errors.Is(err, device.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := r.Add(t.Context(), store.Device{Name: "a", Publish: all}, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Add(t.Context(), store.Device{Name: "a", Publish: all}, ""); !errors.Is(err, store.ErrExists) {
		t.Errorf("a second device of the same name: %v", err)
	}
}

func TestAnonymous(t *testing.T) {
	if _, err := login(t, open(t, false), "", ""); !errors.Is(err, broker.ErrBadCredentials) {
		t.Errorf("anonymous by default: %v", err)
	}
	if _, err := login(t, open(t, true), "", ""); err != nil {
		t.Errorf("anonymous by configuration: %v", err)
	}
}
