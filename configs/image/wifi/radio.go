package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"time"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"github.com/mdlayher/wifi"
	"golang.org/x/sys/unix"

	link "github.com/vishvananda/netlink"
)

// adapter is the first adapter that the kernel has.
type adapter struct {
	client *wifi.Client
	face   *wifi.Interface
}

var _ radio = (*adapter)(nil)

// openRadio finds the first adapter.
func openRadio() (radio, error) {
	c, err := wifi.New()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // no driver speaks nl80211
	}
	if err != nil {
		return nil, err
	}
	all, err := c.Interfaces()
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	for _, i := range all {
		if i.Name != "" && i.Type == wifi.InterfaceTypeStation {
			return &adapter{client: c, face: i}, nil
		}
	}
	return nil, c.Close()
}

func (a *adapter) Name() string { return a.face.Name }

func (a *adapter) Up() error {
	l, err := link.LinkByName(a.face.Name)
	if err != nil {
		return err
	}
	return link.LinkSetUp(l)
}

// Region is NL80211_CMD_REQ_SET_REG, what `iw reg set` sends.
func (a *adapter) Region(country string) error {
	c, err := genetlink.Dial(nil)
	if err != nil {
		return err
	}
	defer c.Close()
	family, err := c.GetFamily(unix.NL80211_GENL_NAME)
	if err != nil {
		return err
	}
	attributes := netlink.NewAttributeEncoder()
	attributes.String(unix.NL80211_ATTR_REG_ALPHA2, country)
	data, err := attributes.Encode()
	if err != nil {
		return err
	}
	_, err = c.Execute(genetlink.Message{
		Header: genetlink.Header{Command: unix.NL80211_CMD_REQ_SET_REG, Version: family.Version}, Data: data,
	}, family.ID, netlink.Request|netlink.Acknowledge)
	return err
}

func (a *adapter) Connected() (time.Duration, bool, error) {
	all, err := a.client.StationInfo(a.face)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	for _, s := range all {
		if !bytes.Equal(s.HardwareAddr, net.HardwareAddr{}) {
			return s.Connected, true, nil
		}
	}
	return 0, false, nil
}

func (a *adapter) Connect(n Network) error {
	var err error
	if n.PSK == "" {
		err = a.client.Connect(a.face, n.SSID)
	} else {
		err = a.client.ConnectWPAPSK(a.face, n.SSID, n.PSK)
	}
	if errors.Is(err, unix.EALREADY) || errors.Is(err, unix.EINPROGRESS) {
		return nil // it is on its way
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("its driver does not do WPA2 by itself: %w", err)
	}
	return err
}

func (a *adapter) Disconnect() error {
	err := a.client.Disconnect(a.face)
	if errors.Is(err, unix.ENOTCONN) {
		return nil
	}
	return err
}

func (a *adapter) Close() error { return a.client.Close() }
