package main

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

func (a *app) enrollCommand() *cobra.Command {
	var in api.Enrol
	var status, send bool
	c := &cobra.Command{
		Use: "enroll [URL TOKEN]", Args: cobra.MaximumNArgs(2), Short: "Make the gateway a member of a controller's fleet, or see how that is",
		Long: "Exchanges a token of the controller for a certificate of the gateway's own. From then on usage goes there;\n" +
			"docs/uplink.md says what, when and how much.",
		Example: "  headgate enroll https://controller.example:8443 hge_…  --name gw-17\n  headgate enroll --status",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case send:
				return a.call(cmd, http.MethodPost, "/v1/enrolment/send", nil, nil)
			case status && len(args) == 0:
				var e api.Enrolment
				if err := a.call(cmd, http.MethodGet, "/v1/enrolment", nil, &e); err != nil {
					return err
				}
				return a.printEnrolment(e)
			case status || len(args) != 2:
				return usageError{errors.New("want the controller's URL and a token, or --status")}
			}
			in.URL, in.Token = args[0], args[1]
			var e api.Enrolment
			if err := a.call(cmd, http.MethodPost, "/v1/enrolment", in, &e); err != nil {
				return err
			}
			return a.printEnrolment(e)
		},
	}
	f := c.Flags()
	f.StringVar(&in.Name, "name", "", "what people call the gateway (the controller's choice)")
	f.StringVar(&in.Replace, "replace", "", "take the place of this gateway, with a token that was made for it")
	f.BoolVar(&in.Again, "again", false, "leave the controller that the gateway is enrolled at, with what was not sent there")
	f.BoolVar(&in.Retry, "retry", false, "return at once: the gateway tries until it is enrolled or refused")
	f.BoolVar(&status, "status", false, "show the enrolment and the uplink")
	f.BoolVar(&send, "send", false, "send what was metered now")
	c.MarkFlagsMutuallyExclusive("status", "send")
	return c
}

func (a *app) printEnrolment(e api.Enrolment) error {
	if a.json {
		return a.printJSON(e)
	}
	switch {
	case e.Enrolled:
		fmt.Fprintf(a.out, "enrolled at %s as %s (%s), tenant %s; the certificate is good until %s\n", e.URL, e.Name, e.Gateway, e.Tenant, day(e.Expires))
	case e.Waiting != "":
		fmt.Fprintf(a.out, "not enrolled yet: it is tried at %s\n", e.Waiting)
	default:
		fmt.Fprintln(a.out, "not enrolled: 'headgate enroll URL TOKEN' does it, with a token of the controller's")
		return nil
	}
	if e.Error != "" {
		fmt.Fprintf(a.out, "the last attempt: %s\n", e.Error)
	}
	if !e.Enrolled {
		return nil
	}
	u := &e.Uplink
	switch {
	case u.Connected:
		fmt.Fprintf(a.out, "uplink: connected to %s since %s\n", u.Address, day(u.Since))
	case u.LastError == "":
		fmt.Fprintln(a.out, "uplink: connecting; 'headgate enroll --status' shows how it is")
	default:
		fmt.Fprintf(a.out, "uplink: not connected: %s\n", u.LastError)
	}
	fmt.Fprintf(a.out, "waiting: %d batches, %s; today's link: about %s\n", u.Batches, size(u.Bytes), size(int64(u.BytesToday)))
	if u.GrainMinutes > 1 {
		fmt.Fprintf(a.out, "the outbox has little room: usage is counted in steps of %d minutes\n", u.GrainMinutes)
	}
	if u.OverBudget {
		fmt.Fprintln(a.out, "the day's bytes are spent (uplink.bytes_per_day): what waits goes tomorrow")
	}
	return nil
}
