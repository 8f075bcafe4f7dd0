package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	controllerclient "github.com/headgate-io/headgate/controller/client"
	"github.com/headgate-io/headgate/gateway/admin/client"
	"github.com/headgate-io/headgate/gateway/config"
)

// Exit codes, documented in the root command's help.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitRefused     = 4
)

const rootHelp = `Headgate runs functions on a gateway: MQTT messages in, sandboxed functions,
state, and MQTT messages out, on one small board and without a network.

Exit codes: 0 done; 1 failed; 2 wrong use of the command line; 3 the gateway or
controller cannot be reached; 4 it refused.`

// app is what every verb shares.
type app struct {
	in       io.Reader
	out, err io.Writer
	host     string
	context  string
	token    string
	json     bool
}

// usageError is a fault of the command line itself.
type usageError struct{ error }

func execute(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	a := &app{in: in, out: out, err: errw}
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errw)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return exitOK
	}
	fmt.Fprintf(errw, "headgate: %v\n", err)
	return exitCode(err)
}

func exitCode(err error) int {
	var usage usageError
	var refused *client.Error
	var denied *controllerclient.Error
	switch {
	case errors.As(err, &usage), strings.HasPrefix(err.Error(), "unknown command"):
		return exitUsage
	case errors.Is(err, client.ErrUnreachable), errors.Is(err, controllerclient.ErrUnreachable):
		return exitUnreachable
	case errors.As(err, &refused), errors.As(err, &denied):
		return exitRefused
	}
	return exitFailed
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use: "headgate", Short: "Functions on the gateway", Long: rootHelp,
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetFlagErrorFunc(flagError)
	flags := root.PersistentFlags()
	flags.StringVar(&a.host, "host", "", "the gateway: unix:///path/admin.sock, ssh://user@host, http://host:port or https://host:port (HEADGATE_HOST)")
	flags.StringVar(&a.context, "context", "", "the gateway by the name that 'headgate context add' gave it (HEADGATE_CONTEXT)")
	flags.StringVar(&a.token, "token", os.Getenv("HEADGATE_TOKEN"), "admin token, for a gateway over TCP")
	flags.BoolVar(&a.json, "json", false, "print JSON")
	for _, c := range []*cobra.Command{
		a.runCommand(), a.newCommand(), a.buildCommand(), a.testCommand(), a.deployCommand(), a.devCommand(),
		a.listCommand(), a.describeCommand(), a.invokeCommand(), a.invocationsCommand(), a.logsCommand(), a.eventsCommand(),
		a.rollbackCommand(), a.aliasCommand(), a.removeCommand(), a.stateCommand(), a.objectCommand(), a.usageCommand(), a.deviceCommand(), a.tokenCommand(), a.secretCommand(), a.deadLetterCommand(), a.clockCommand(), a.authorCommand(),
		a.backupCommand(), a.restoreCommand(), a.doctorCommand(), a.contextCommand(), a.dialStdioCommand(), a.recordingsCommand(), a.replayCommand(),
		a.pubCommand(), a.subCommand(), a.queueCommand(), a.timerCommand(), a.bridgeCommand(), a.enrollCommand(),
		a.actuatorCommand(), a.guardCommand(),
		a.sensorCommand(), a.explainCommand(), a.schemaCommand(), a.versionCommand(),
		a.installCommand(), a.systemCommand(), a.launchCommand(), a.fleetCommand(),
		a.updateCommand(), a.keysCommand(), a.publishCommand(), a.repositoryCommand(),
	} {
		checkArgs(c)
		root.AddCommand(c)
	}
	return root
}

// flagError says what a flag takes, without the words of Go's parsers.
func flagError(c *cobra.Command, err error) error {
	text := err.Error()
	if before, _, ok := strings.Cut(text, ": strconv."); ok {
		text = before + ": want a whole number"
	}
	if before, _, ok := strings.Cut(text, ": time: "); ok {
		text = before + ": want a duration such as 90m or 24h"
	}
	return usageError{fmt.Errorf("%s; see '%s --help'", text, c.CommandPath())}
}

// checkArgs makes a wrong number of arguments, and a verb that a group does
// not have, a usage error that names the right use.
func checkArgs(c *cobra.Command) {
	for _, sub := range c.Commands() {
		checkArgs(sub)
	}
	if c.HasSubCommands() {
		c.Args = cobra.ArbitraryArgs
		c.RunE = unknownVerb
		return
	}
	inner := c.Args
	if inner == nil {
		inner = cobra.NoArgs
	}
	c.Args = func(c *cobra.Command, args []string) error {
		if err := inner(c, args); err != nil {
			return usageError{fmt.Errorf("wrong number of arguments, %d; use: %s", len(args), c.UseLine())}
		}
		return nil
	}
}

// unknownVerb is what a group of verbs does by itself.
func unknownVerb(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return c.Help()
	}
	var names []string
	for _, sub := range c.Commands() {
		names = append(names, sub.Name())
	}
	return usageError{fmt.Errorf("unknown command %q for %q: there is %s", args[0], c.CommandPath(), strings.Join(names, ", "))}
}

// defaultSocket is where a gateway answers: the user's own or the system's,
// root's order being the other way round. Where none does it is the first.
func defaultSocket() string {
	if dir := os.Getenv("HEADGATE_STATE_DIR"); dir != "" {
		return socketIn(dir)
	}
	places := []string{socketIn(userStateDir()), socketIn(config.Default().StateDir)}
	if os.Geteuid() == 0 {
		slices.Reverse(places)
	}
	for _, socket := range places {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "unix", socket)
		if err == nil {
			conn.Close()
			return socket
		}
		if errors.Is(err, fs.ErrPermission) {
			return socket
		}
	}
	return places[0]
}

func socketIn(stateDir string) string {
	c := config.Default()
	c.StateDir = stateDir
	return c.SocketPath()
}

// userStateDir is the user's own place for a gateway's state.
func userStateDir() string {
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "headgate")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return config.Default().StateDir
	}
	return filepath.Join(home, ".local", "state", "headgate")
}

// authorKeyPath is where the author's signing key lives.
func authorKeyPath() (string, error) {
	dir, err := homeDir()
	if err != nil {
		return "", fmt.Errorf("no place for the author key: %w", err)
	}
	return filepath.Join(dir, "author.key"), nil
}

// homeDir is where the command line keeps what is its user's: the author's key
// and the contexts.
func homeDir() (string, error) {
	if dir := os.Getenv("HEADGATE_HOME"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("%w; set HEADGATE_HOME", err)
	}
	return filepath.Join(dir, "headgate"), nil
}

func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	if _, stream := v.(streamed); !stream {
		enc.SetIndent("", "  ")
	}
	return enc.Encode(v)
}

// streamed marks one item of a stream: JSON on a line of its own.
type streamed struct{ item any }

func (s streamed) MarshalJSON() ([]byte, error) { return json.Marshal(s.item) }
