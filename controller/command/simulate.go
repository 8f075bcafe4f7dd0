package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/controller/simulate"
)

// settleWithin is how long, at the end, what waits may take to be acknowledged.
const settleWithin = 5 * time.Minute

func (a *app) simulateCommand() *cobra.Command {
	cfg := simulate.Config{Logger: slog.New(slog.DiscardHandler)}
	lasting, every := 15*time.Minute, 10*time.Second
	c := &cobra.Command{
		Use: "simulate", Short: "Be a fleet: enrol gateways and report usage they made up",
		Long: `Be a fleet, for a controller that is to be measured: gateways enrol, each with a
key, a certificate and a connection of its own, and report made-up usage as real
ones do. At the end all that was made up must be acknowledged.

It uses one enrolment token, which must have as many uses as there are gateways.
What it leaves in the controller's database is as real as any usage.`,
		Example: "  headgate-controller simulate --gateways 10000 --controller https://controller.example:8443 --token $(headgate-controller token create --uses 10000)",
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := simulate.New(cfg)
			if err != nil {
				return usageError{err}
			}
			return a.simulate(cmd.Context(), f, lasting, every)
		},
	}
	flags := c.Flags()
	flags.StringVar(&cfg.Controller, "controller", "", "the controller's address, https://host:port")
	flags.StringVar(&cfg.Token, "token", "", "an enrolment token with enough uses")
	flags.IntVar(&cfg.Gateways, "gateways", 100, "how many gateways")
	flags.IntVar(&cfg.Functions, "functions", 10, "how many functions of each are at work")
	flags.DurationVar(&cfg.Interval, "interval", 15*time.Minute, "how often they report")
	flags.DurationVar(&cfg.Jitter, "jitter", time.Minute, "how far apart the first and the last report")
	flags.IntVar(&cfg.Deployed, "deployed", 0, "how many functions of each there are, if more than are at work")
	flags.DurationVar(&cfg.RepeatReport, "repeat-report", 0, "how long a report of functions that says nothing new may be left out")
	flags.IntVar(&cfg.Minutes, "minutes", 0, "how many minutes of usage are in a report (those of the interval)")
	flags.DurationVar(&cfg.KeepAlive, "keep-alive", 0, "how often the broker hears of a gateway at least")
	flags.BoolVar(&cfg.Metered, "metered", false, "keep connections alive as on links whose bytes cost")
	flags.DurationVar(&lasting, "for", lasting, "how long, after all are enrolled")
	flags.DurationVar(&every, "every", every, "how often to print a line")
	_ = c.MarkFlagRequired("controller")
	_ = c.MarkFlagRequired("token")
	return c
}

func (a *app) simulate(ctx context.Context, f *simulate.Fleet, lasting, every time.Duration) error {
	began := time.Now()
	if err := f.Enrol(ctx); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%d gateways enrolled in %s\n", f.Stats().Enrolled, time.Since(began).Round(time.Millisecond))
	living, end := context.WithCancel(ctx)
	var fleet sync.WaitGroup
	fleet.Go(func() { f.Run(living) })
	defer func() { end(); fleet.Wait() }()

	w := tabwriter.NewWriter(a.out, 10, 0, 1, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "after\tconnected\tmade\tsealed\tsent\twaiting\tfailures\tlink MB\t")
	began = time.Now()
	line := func() {
		s := f.Stats()
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%.1f\t\n", time.Since(began).Round(time.Second), s.Connected, s.Connections, s.Sealed, s.Sent, s.Waiting, s.Failures, float64(s.LinkBytes)/1e6)
		_ = w.Flush() // to a terminal or a pipe that its reader gave up
	}
	if err := lines(ctx, lasting, every, line, func() bool { return false }); err != nil {
		return err
	}
	f.Rest()
	if err := lines(ctx, settleWithin, every, line, func() bool { return f.Stats().Waiting == 0 }); err != nil {
		return err
	}
	s := f.Stats()
	fmt.Fprintf(a.out, "metered: %d requests, %d fuel, in %d batches\n", s.Metered.Requests, s.Metered.Fuel, s.Sealed)
	if s.Waiting > 0 || s.Refused > 0 {
		return fmt.Errorf("%d batches are not acknowledged, %d were refused", s.Waiting, s.Refused)
	}
	return nil
}

// lines prints a line every so often until the time is over or done.
func lines(ctx context.Context, most, every time.Duration, line func(), done func() bool) error {
	ctx, stop := context.WithTimeout(ctx, most)
	defer stop()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			line()
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil
			}
			return ctx.Err()
		case <-tick.C:
			line()
		}
	}
	return nil
}
