package main

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

func (a *app) deviceCommand() *cobra.Command {
	c := &cobra.Command{Use: "device", Short: "Give MQTT clients their credentials"}
	c.AddCommand(a.deviceAddCommand(), a.deviceListCommand(), a.deviceRotateCommand(),
		a.deviceRevokeCommand(), a.deviceRestoreCommand(), a.deviceRemoveCommand())
	return c
}

func (a *app) deviceAddCommand() *cobra.Command {
	var d api.NewDevice
	c := &cobra.Command{
		Use: "add NAME", Short: "Add a device and print its password, once", Args: cobra.ExactArgs(1),
		Example: "  headgate device add soil-3 --publish 'farm/3/#'\n  headgate device add valve-3 --subscribe farm/3/valve\n  headgate device add pump-1 --certificate --publish 'farm/pump/#'",
		RunE: func(cmd *cobra.Command, args []string) error {
			d.Name = args[0]
			var s api.DeviceSecret
			if err := a.call(cmd, http.MethodPost, "/v1/devices", d, &s); err != nil {
				return err
			}
			return a.printSecret(cmd, s)
		},
	}
	c.Flags().StringArrayVar(&d.Publish, "publish", nil, "a topic filter it may publish to; {client} and {user} stand for its names; may be repeated")
	c.Flags().StringArrayVar(&d.Subscribe, "subscribe", nil, "a topic filter it may subscribe to; may be repeated")
	c.Flags().BoolVar(&d.Certificate, "certificate", false, "admit it by a client certificate that names it, without a password")
	c.Flags().StringVar(&d.Password, "password", "", "a password of your own instead of a made one")
	return c
}

func (a *app) printSecret(cmd *cobra.Command, s api.DeviceSecret) error {
	if a.json {
		return a.printJSON(s)
	}
	// The line below is the better for a function that it starts, and does
	// without one: the password is printed whatever comes.
	var list []api.Function
	_ = a.call(cmd, http.MethodGet, "/v1/functions", nil, &list)
	fmt.Fprintf(a.out, "device    %s\n", s.Name)
	if s.Certificate {
		fmt.Fprintf(a.out, "admitted  by a certificate whose common name, one DNS name, or URI urn:headgate:device:%s names it\n", s.Name)
	} else {
		fmt.Fprintf(a.out, "password  %s   (shown this once)\n", s.Password)
	}
	if line := mosquittoLine(s, list); line != "" {
		fmt.Fprintf(a.out, "try       %s\n", line)
	}
	return nil
}

// mosquittoLine is a command that works as it is printed, and starts one of the
// functions where the device may.
func mosquittoLine(s api.DeviceSecret, functions []api.Function) string {
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		return ""
	}
	trust := ""
	if s.TLS {
		trust = "--cafile CA.crt " // whatever signed the listener's certificate
	}
	login := trust + fmt.Sprintf("-h %s -p %s -i %s -u %s -P %s", host, port, s.Name, s.Name, s.Password)
	if s.Certificate {
		login = trust + fmt.Sprintf("--cert %s.crt --key %s.key -h %s -p %s -i %s", s.Name, s.Name, host, port, s.Name)
	}
	sample := strings.NewReplacer("{client}", s.Name, "{user}", s.Name)
	switch {
	case len(s.Publish) > 0:
		topic := sampleTopic(sample.Replace(s.Publish[0]), functions)
		payload := `{"moisture":27}`
		if strings.HasPrefix(topic, "actuators/") {
			payload = "off" // whatever it is, this is harmless
		}
		return fmt.Sprintf("mosquitto_pub %s -q 1 -t '%s' -m '%s'", login, topic, payload)
	case len(s.Subscribe) > 0:
		return fmt.Sprintf("mosquitto_sub %s -q 1 -t '%s' -v", login, sample.Replace(s.Subscribe[0]))
	}
	return ""
}

// sampleTopic is a topic that the filter allows, one that starts a function
// where there is any.
func sampleTopic(filter string, functions []api.Function) string {
	for _, f := range functions {
		for _, t := range f.Triggers {
			pattern, ok := strings.CutPrefix(t, "mqtt:")
			if topic, meets := meet(strings.Split(filter, "/"), strings.Split(pattern, "/")); ok && meets {
				return topic
			}
		}
	}
	return strings.NewReplacer("#", "test", "+", "1").Replace(filter)
}

// meet is a topic that two filters match, {name} being a wildcard as + is.
func meet(a, b []string) (string, bool) {
	wild := func(level string) bool { return level == "+" || level == "#" || strings.HasPrefix(level, "{") }
	var topic []string
	for len(a) > 0 && len(b) > 0 {
		level := a[0]
		switch {
		case wild(a[0]) && wild(b[0]):
			level = "1"
		case wild(a[0]):
			level = b[0]
		case !wild(b[0]) && a[0] != b[0]:
			return "", false
		}
		topic = append(topic, level)
		// The rest of the other is the rest of #.
		if a[0] != "#" || len(b) == 1 {
			a = a[1:]
		}
		if b[0] != "#" || len(a) == 0 {
			b = b[1:]
		}
	}
	return strings.Join(topic, "/"), len(a)+len(b) == 0
}

func (a *app) deviceListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the devices",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []api.Device
			if err := a.call(cmd, http.MethodGet, "/v1/devices", nil, &list); err != nil {
				return err
			}
			const none = "No device may connect yet. Add one: headgate device add NAME --publish FILTER"
			return printList(a, list, none, "DEVICE CONNECTED PUBLISH SUBSCRIBE CREATED", func(d *api.Device) []any {
				connected := yesNo(d.Connected)
				if !d.Revoked.IsZero() {
					connected = "revoked"
				}
				return []any{d.Name, connected, strings.Join(d.Publish, " "), strings.Join(d.Subscribe, " "), day(d.Created)}
			})
		},
	}
}

func (a *app) deviceRotateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rotate NAME", Short: "Give a device a new password and disconnect it", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var s api.DeviceSecret
			if err := a.call(cmd, http.MethodPost, "/v1/devices/"+url.PathEscape(args[0])+"/rotate", nil, &s); err != nil {
				return err
			}
			return a.printSecret(cmd, s)
		},
	}
}

func (a *app) deviceRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Aliases: []string{"rm"}, Short: "Remove a device and disconnect it", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.call(cmd, http.MethodDelete, "/v1/devices/"+url.PathEscape(args[0]), nil, nil); err != nil {
				return err
			}
			return a.printRemoved(args[0])
		},
	}
}

func (a *app) deviceRevokeCommand() *cobra.Command {
	return a.deviceChange("revoke", "Keep a device out and disconnect it, until it is restored or rotated", "revoked")
}

func (a *app) deviceRestoreCommand() *cobra.Command {
	return a.deviceChange("restore", "Let a device in again that was revoked", "restored")
}

// deviceChange is a verb that needs a device's name and has no answer.
func (a *app) deviceChange(verb, short, did string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " NAME", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.call(cmd, http.MethodPost, "/v1/devices/"+url.PathEscape(args[0])+"/"+verb, nil, nil); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]string{did: args[0]})
			}
			fmt.Fprintln(a.out, did, args[0])
			return nil
		},
	}
}
