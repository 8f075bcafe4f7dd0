package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/recording"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sync/bundle"
)

const replayHelp = `Run a recorded invocation again, here, with the answers it had then, and compare what it does.

RECORDING is a file of 'headgate recordings get', or the id of a recording on the gateway. The
code is that of PROJECT where one is named, else what was recorded. Nothing is published and
nothing is stored: the effects are compared and printed. The same code does the same, to the
unit of fuel, on every architecture; other code is compared by its effects.

A recording holds no secrets: a function that reads some gets a placeholder, or what --secret
gives. Exit code 1 says that something differs.`

// errDiffers is the end of a replay that did something else.
var errDiffers = errors.New("the replay differs from the recording")

func (a *app) replayCommand() *cobra.Command {
	var given []string
	c := &cobra.Command{
		Use: "replay RECORDING [PROJECT]", Short: "Run a recorded invocation again and compare", Long: replayHelp, Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			secrets := map[string]string{}
			for _, s := range given {
				name, value, ok := strings.Cut(s, "=")
				if !ok {
					return usageError{fmt.Errorf("--secret %s: want name=value", s)}
				}
				secrets[name] = value
			}
			r, err := a.findRecording(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			code, err := a.replayedCode(cmd.Context(), r, args[1:])
			if err != nil {
				return err
			}
			return a.replay(cmd.Context(), r, code, secrets)
		},
	}
	c.Flags().StringArrayVar(&given, "secret", nil, "the value of a secret, as name=value; may be repeated")
	return c
}

// findRecording reads a file, or asks the gateway.
func (a *app) findRecording(ctx context.Context, name string) (*recording.Recording, error) {
	raw, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && !strings.ContainsAny(name, "/.") {
		var file bytes.Buffer
		if err := a.download(ctx, recordingPath(name, true), &file); err != nil {
			return nil, fmt.Errorf("there is no file %s, and: %w", name, err)
		}
		raw, err = file.Bytes(), nil
	}
	if err != nil {
		return nil, err
	}
	r, err := recording.Decode(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

// replayed is the code of a replay.
type replayed struct {
	spec   function.Spec
	files  map[string][]byte
	digest string
	from   string
}

func (a *app) replayedCode(ctx context.Context, r *recording.Recording, projects []string) (replayed, error) {
	name := r.Spec.Name
	if len(projects) == 0 {
		if len(r.Bundle) == 0 {
			return replayed{}, usageError{fmt.Errorf("the recording is without its code: name the project that has %s", name)}
		}
		b, err := bundle.Open(r.Bundle)
		if err != nil {
			return replayed{}, fmt.Errorf("code of the recording: %w", err)
		}
		return replayed{b.Spec, b.Files, b.Digest, fmt.Sprintf("%s@%d, as recorded", name, r.Version)}, nil
	}
	p, err := openProject(projects[0])
	if err != nil {
		return replayed{}, err
	}
	if p.manifest.Functions[name] == nil {
		return replayed{}, usageError{fmt.Errorf("the recording is of %s, which %s does not have", name, projects[0])}
	}
	spec, files, err := p.build(ctx, name)
	if err != nil {
		return replayed{}, err
	}
	digest, err := bundle.Digest(spec, files)
	from := fmt.Sprintf("%s of %s", name, projects[0])
	if digest == r.Digest {
		from += fmt.Sprintf(", the same as %s@%d", name, r.Version)
	}
	return replayed{spec, files, digest, from}, err
}

// replayReport is a replay in --json.
type replayReport struct {
	Recording   string                 `json:"recording"`
	Function    string                 `json:"function"`
	SameCode    bool                   `json:"same_code"`
	SameSandbox bool                   `json:"same_sandbox"`
	Same        bool                   `json:"same"`
	Outcome     recording.Outcome      `json:"outcome"`
	Differences []recording.Difference `json:"differences"`
	Unanswered  []string               `json:"unanswered,omitempty"`
	Redacted    []string               `json:"redacted,omitempty"`
}

func (a *app) replay(ctx context.Context, r *recording.Recording, code replayed, secrets map[string]string) (err error) {
	engine, closeEngine, err := openSandbox(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeEngine()) }()
	report := replayReport{
		Recording: r.ID, Function: code.spec.Name, SameCode: code.digest == r.Digest, SameSandbox: r.Sandbox == sandbox.Fingerprint(),
		Differences: []recording.Difference{}, Redacted: r.Redacted,
	}
	got, err := r.Run(ctx, engine, code.spec, code.files, secrets, report.SameCode && report.SameSandbox)
	if err != nil {
		return err
	}
	report.Outcome, report.Unanswered = got.Outcome, got.Unanswered
	report.Differences = append(report.Differences, got.Differences...)
	report.Same = len(got.Differences) == 0
	if a.json {
		err = a.printJSON(report)
	} else {
		a.printReplay(r, code.from, &report)
	}
	if !report.Same {
		err = errors.Join(err, errDiffers)
	}
	return err
}

func (a *app) printReplay(r *recording.Recording, from string, report *replayReport) {
	fmt.Fprintf(a.out, "event %s (%s), attempt %s, %s\n", r.Event.ID, r.Event.Subject, r.Meta["attempt"], r.Time.Local().Format("2006-01-02 15:04:05"))
	fmt.Fprintf(a.out, "recorded  %s@%d  %s\n", r.Spec.Name, r.Version, outcomeLine(&r.Outcome))
	fmt.Fprintf(a.out, "replayed  %s  %s\n", from, outcomeLine(&report.Outcome))
	if report.SameCode && !report.SameSandbox {
		fmt.Fprintf(a.out, "fuel is not compared: it was counted by %s, here by %s\n", r.Sandbox, sandbox.Fingerprint())
	}
	for _, place := range report.Redacted {
		fmt.Fprintf(a.out, "redacted: %s\n", place)
	}
	for _, what := range report.Unanswered {
		fmt.Fprintf(a.out, "not in the recording: %s\n", what)
	}
	for _, d := range report.Differences {
		fmt.Fprintf(a.out, "%s\n", d.What)
		if d.Recorded != "" {
			fmt.Fprintf(a.out, "  - %s\n", d.Recorded)
		}
		if d.Replayed != "" {
			fmt.Fprintf(a.out, "  + %s\n", d.Replayed)
		}
	}
	if report.Same {
		fmt.Fprintln(a.out, "the same")
	}
}

func outcomeLine(o *recording.Outcome) string {
	line := fmt.Sprintf("%s  fuel %d", o.Outcome, o.Fuel)
	if o.Error != "" {
		line += "  " + firstLine(o.Error)
	}
	return line
}
