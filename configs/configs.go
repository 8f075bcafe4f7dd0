// Package configs embeds the annotated example files, so that the binary can
// print them and the tests can hold them to the code.
package configs

import _ "embed"

// Gateway is the annotated gateway configuration; its values are the defaults.
//
//go:embed gateway.yaml
var Gateway string

// Service is the systemd unit of a gateway that 'headgate install' installed.
//
//go:embed headgate.service
var Service string

// Installed is the configuration that an installed gateway starts with.
//
//go:embed package/config.yaml
var Installed string

// Sysusers is the gateway's user, for systemd-sysusers.
//
//go:embed package/sysusers.conf
var Sysusers string
