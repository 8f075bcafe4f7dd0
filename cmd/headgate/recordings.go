package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/recording"
)

const recordingsHelp = `Record invocations on a gateway, to run them again elsewhere with 'headgate replay'.

  headgate recordings start irrigate --failures
  headgate recordings list irrigate
  headgate recordings get 3f1c9a02be -o bad.recording
  headgate replay bad.recording

A recording holds the event, every answer that the host gave, what came of it and, unless
--no-code is given, the code that ran: it needs no gateway and no project to be replayed. It
holds no secret, but what the event and the state held: 'headgate recordings redact' masks
that. A gateway keeps the newest 64 recordings, 8 MiB at most.`

func (a *app) recordingsCommand() *cobra.Command {
	c := &cobra.Command{Use: "recordings", Short: "Record invocations to run them again elsewhere", Long: recordingsHelp}
	c.AddCommand(a.recordingsStartCommand(), a.recordingsStopCommand(), a.recordingsListCommand(), a.recordingsGetCommand(),
		a.recordingsRemoveCommand(), a.recordingsRedactCommand())
	return c
}

func (a *app) recordingsStartCommand() *cobra.Command {
	var o api.RecordOrder
	c := &cobra.Command{
		Use: "start FUNCTION", Short: "Record a function's next invocations", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.call(cmd, http.MethodPut, "/v1/functions/"+url.PathEscape(args[0])+"/recording", o, nil); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(o)
			}
			what := "invocations"
			if o.Failures {
				what = "failures"
			}
			fmt.Fprintf(a.out, "recording the next %d %s of %s, for %v at most\n", o.Count, what, args[0], o.For)
			return nil
		},
	}
	c.Flags().BoolVar(&o.Failures, "failures", false, "leave out invocations that succeed")
	c.Flags().IntVar(&o.Count, "count", 10, "how many to record, 64 at most")
	c.Flags().DurationVar(&o.For, "for", time.Hour, "when to stop in any case; 0 is when the gateway does")
	return c
}

func (a *app) recordingsStopCommand() *cobra.Command {
	return &cobra.Command{
		Use: "stop FUNCTION", Short: "Stop recording a function", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.call(cmd, http.MethodDelete, "/v1/functions/"+url.PathEscape(args[0])+"/recording", nil, nil)
		},
	}
}

func (a *app) recordingsListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list [FUNCTION]", Short: "List recordings, newest first", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/v1/recordings"
			if len(args) > 0 {
				path += "?function=" + url.QueryEscape(args[0])
			}
			var list []api.Recording
			if err := a.call(cmd, http.MethodGet, path, nil, &list); err != nil {
				return err
			}
			const none = "Nothing is recorded. 'headgate recordings start FUNCTION' begins."
			return printList(a, list, none, "ID TIME FUNCTION SUBJECT OUTCOME FUEL SIZE ERROR", func(r *api.Recording) []any {
				return []any{r.ID, r.Time.Local().Format(time.DateTime), fmt.Sprintf("%s@%d", r.Function, r.Version), r.Subject, r.Outcome, r.Fuel, size(r.Bytes), firstLine(r.Error)}
			})
		},
	}
}

func (a *app) recordingsGetCommand() *cobra.Command {
	var out string
	var bare bool
	c := &cobra.Command{
		Use: "get ID", Short: "Fetch a recording as a file", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var file bytes.Buffer
			if err := a.download(cmd.Context(), recordingPath(args[0], !bare), &file); err != nil {
				return err
			}
			if out == "-" {
				_, err := file.WriteTo(a.out)
				return err
			}
			if out == "" {
				out = args[0] + ".recording"
			}
			if err := writeNew(out, file.Bytes()); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"file": out, "bytes": file.Len()})
			}
			fmt.Fprintf(a.out, "%s; 'headgate replay %s' runs it again\n", out, out)
			return nil
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "", "the file; - is standard output (default ID.recording)")
	c.Flags().BoolVar(&bare, "no-code", false, "leave out the function's code")
	return c
}

func recordingPath(id string, code bool) string {
	path := "/v1/recordings/" + url.PathEscape(id)
	if code {
		path += "?code=true"
	}
	return path
}

func (a *app) download(ctx context.Context, path string, w io.Writer) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Download(ctx, path, w)
}

// writeNew writes a file that is not there yet, for its owner alone.
func writeNew(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: name another with -o", err)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

func (a *app) recordingsRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "remove ID", Short: "Delete a recording on the gateway", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.call(cmd, http.MethodDelete, recordingPath(args[0], false), nil, nil)
		},
	}
}

func (a *app) recordingsRedactCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use: "redact FILE PLACE…", Short: "Mask values in a recording before it is passed on", Args: cobra.MinimumNArgs(2),
		Long: "Write a copy of a recording in which the values at the given places are masked by others of the same kind\n" +
			"and length. A place is data.owner.name, state.KEY or state.KEY.name, or output.name; * is any name or index.\n" +
			"A replay may differ because of it, and says so.",
		RunE: func(_ *cobra.Command, args []string) error {
			raw, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			r, err := recording.Decode(raw)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if err := r.Redact(args[1:]...); err != nil {
				return err
			}
			var file bytes.Buffer
			if err := r.Encode(&file); err != nil {
				return err
			}
			if out == "" {
				out = args[0] + ".redacted"
			}
			if err := writeNew(out, file.Bytes()); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"file": out, "redacted": r.Redacted})
			}
			fmt.Fprintln(a.out, out)
			return nil
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "", "the new file (default FILE.redacted)")
	return c
}
