package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway"
	"github.com/headgate-io/headgate/gateway/admin/api"
)

func (a *app) sensorCommand() *cobra.Command {
	c := &cobra.Command{Use: "sensor", Short: "Look at the sensors, and at what else is connected"}
	c.AddCommand(a.sensorListCommand(), a.sensorReadCommand(), a.sensorScanCommand())
	return c
}

func (a *app) sensorListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the sensors with their latest readings", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []api.Sensor
			if err := a.call(cmd, http.MethodGet, "/v1/sensors", nil, &list); err != nil {
				return err
			}
			const none = "There is no sensor. 'headgate sensor scan' shows what is connected; name it under sensors: in the configuration."
			err := printList(a, list, none, "SENSOR VALUE QUALITY AGE DRIVER TOPIC", func(s *api.Sensor) []any {
				return []any{s.Name, measured(s), s.Quality, age(s), s.Driver, s.Topic}
			})
			if err != nil || a.json {
				return err
			}
			for i := range list {
				if s := &list[i]; s.Fault != "" {
					fmt.Fprintf(a.out, "%s: %s\n", s.Name, s.Fault)
				}
			}
			return nil
		},
	}
}

// measured is a sensor's value with its unit; one that is not good stands in
// brackets.
func measured(s *api.Sensor) string {
	text := func(v float64) string {
		t := strconv.FormatFloat(v, 'g', 6, 64)
		if s.Unit != "" {
			t += " " + s.Unit
		}
		return t
	}
	switch {
	case s.Value != nil:
		return text(*s.Value)
	case s.Last != nil:
		return "(" + text(*s.Last) + ")"
	}
	return "-"
}

func age(s *api.Sensor) string {
	if s.Value == nil && s.Last == nil {
		return "-"
	}
	d := time.Duration(s.Age) * time.Millisecond
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func (a *app) sensorReadCommand() *cobra.Command {
	var follow, latest bool
	c := &cobra.Command{
		Use: "read NAME", Short: "Read a sensor now", Args: cobra.ExactArgs(1),
		Example: "  headgate sensor read soil-1\n  headgate sensor read soil-1 -f",
		Long: "Read a sensor now, ahead of its interval. With --latest what is known is shown, and nothing is read; with -f every\n" +
			"new reading, until you interrupt it.",
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/v1/sensors/" + url.PathEscape(args[0])
			var s api.Sensor
			if err := a.call(cmd, http.MethodGet, path+fresh(!latest && !follow), nil, &s); err != nil {
				return err
			}
			if err := a.printReading(&s); err != nil || !follow {
				return err
			}
			return a.followSensor(cmd, path, s.Sequence)
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with every new reading")
	c.Flags().BoolVar(&latest, "latest", false, "show what is known, without reading")
	return c
}

func fresh(now bool) string {
	if now {
		return "?fresh=true"
	}
	return ""
}

// followEvery is how often a sensor that is followed is looked at.
const followEvery = 250 * time.Millisecond

func (a *app) followSensor(cmd *cobra.Command, path string, seen uint64) error {
	t := time.NewTicker(followEvery)
	defer t.Stop()
	for {
		select {
		case <-cmd.Context().Done():
			return nil
		case <-t.C:
		}
		var s api.Sensor
		if err := a.call(cmd, http.MethodGet, path, nil, &s); err != nil {
			if cmd.Context().Err() != nil {
				return nil //nolint:nilerr // the user has ended it
			}
			return err
		}
		if s.Sequence == seen {
			continue
		}
		seen = s.Sequence
		if err := a.printReading(&s); err != nil {
			return err
		}
	}
}

func (a *app) printReading(s *api.Sensor) error {
	if a.json {
		return a.printJSON(s)
	}
	line := fmt.Sprintf("%s  %s  %s", s.Name, measured(s), s.Quality)
	if s.Value != nil || s.Last != nil {
		line += fmt.Sprintf("  %s old", age(s))
	}
	if s.Fault != "" {
		line += "  " + s.Fault
	}
	_, err := fmt.Fprintln(a.out, line)
	return err
}

func (a *app) sensorScanCommand() *cobra.Command {
	var here bool
	c := &cobra.Command{
		Use: "scan", Short: "Look who is connected to the pins and buses", Args: cobra.NoArgs,
		Long: "Look who is connected: the devices on I²C, with a guess who they are, the thermometers on 1-Wire, and the lines of\n" +
			"the GPIO chips with who holds them. What has a driver is printed as it is written under sensors: in the\n" +
			"configuration. Every address on I²C is asked for a byte; those of configured sensors are left alone.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var h api.Hardware
			var err error
			if here {
				h, err = gateway.ScanHardware(cmd.Context())
			} else {
				err = a.call(cmd, http.MethodPost, "/v1/hardware", nil, &h)
			}
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(h)
			}
			a.printHardware(&h)
			return nil
		},
	}
	c.Flags().BoolVar(&here, "here", false, "scan this machine, without a gateway")
	return c
}

func (a *app) printHardware(h *api.Hardware) {
	suggestions := a.printBuses(h)
	for _, c := range h.Chips {
		fmt.Fprintf(a.out, "GPIO %s (%s), %d lines\n", c.Name, c.Label, len(c.Lines))
		var free []string
		for _, l := range c.Lines {
			name := l.Name
			if name == "" {
				name = l.Line
			}
			if !l.Used {
				free = append(free, name)
				continue
			}
			direction := "in"
			if l.Output {
				direction = "out"
			}
			fmt.Fprintf(a.out, "  %-12s %-4s held by %s\n", name, direction, l.Consumer)
		}
		if len(free) > 0 {
			fmt.Fprintf(a.out, "  free: %s\n", strings.Join(free, " "))
			suggestions = append(suggestions, fmt.Sprintf("# contact-1: {digital: {gpio: %s, active: low, pull: up, debounce: 20ms}}", free[0]))
		}
	}
	for _, f := range h.Faults {
		fmt.Fprintf(a.out, "%s\n", f)
	}
	if len(h.Chips)+len(h.Buses)+len(h.OneWire)+len(h.Faults) == 0 {
		fmt.Fprintln(a.out, "There are no pins and buses here. Sensors on MQTT and HTTP work without, and sim: makes up values.")
		return
	}
	if len(suggestions) > 0 {
		fmt.Fprintf(a.out, "\nsensors:\n  %s\n", strings.Join(suggestions, "\n  "))
	}
}

// printBuses prints what is on buses, and returns lines for a configuration.
func (a *app) printBuses(h *api.Hardware) []string {
	var suggestions []string
	show := func(d *api.HardwareDevice) {
		what := d.Driver
		if what == "" {
			what = d.Note
		} else if d.Note != "" {
			what += " (" + d.Note + ")"
		}
		fmt.Fprintf(a.out, "  %-16s %s\n", d.Address, what)
		if d.Options != "" {
			suggestions = append(suggestions, fmt.Sprintf("%s-%d: {%s: %s}", d.Driver, len(suggestions)+1, d.Driver, d.Options))
		}
	}
	for _, b := range h.Buses {
		fmt.Fprintf(a.out, "I²C %s (%s)\n", b.Name, b.Adapter)
		for i := range b.Devices {
			show(&b.Devices[i])
		}
		switch {
		case b.Fault != "":
			fmt.Fprintf(a.out, "  %s\n", b.Fault)
		case len(b.Devices) == 0:
			fmt.Fprintln(a.out, "  nobody answers")
		}
	}
	if len(h.OneWire) > 0 {
		fmt.Fprintln(a.out, "1-Wire")
	}
	for i := range h.OneWire {
		show(&h.OneWire[i])
	}
	return suggestions
}
