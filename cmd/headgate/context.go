package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/admin/client"
)

const contextHelp = `Give gateways names, and choose the one that verbs speak to.

  headgate context add farm ssh://pi@farm.local
  headgate context use farm
  headgate list

Over ssh://[user@]host[:port][/path/admin.sock] the ssh of this machine connects to the
admin socket of the other: its keys, its configuration and its agent count, headgate has to
be installed there, and the user has to be in the socket's group. An https:// gateway takes
a token: 'headgate context add farm https://farm.local:8443 --token hgt_…'.

First counts --host, then --context, HEADGATE_HOST, HEADGATE_CONTEXT, and the context in use.
"default" is the gateway of this machine.`

func (a *app) contextCommand() *cobra.Command {
	c := &cobra.Command{Use: "context", Short: "Name gateways and choose one", Long: contextHelp}
	c.AddCommand(a.contextAddCommand(), a.contextListCommand(), a.contextUseCommand(), a.contextShowCommand(), a.contextRemoveCommand())
	return c
}

func (a *app) contextAddCommand() *cobra.Command {
	return &cobra.Command{
		Use: "add NAME ADDRESS", Short: "Name a gateway", Args: cobra.ExactArgs(2),
		Long: "Name a gateway, or give a name another address. With --token, the token is kept with it,\nin a file that only its owner can read.",
		RunE: func(_ *cobra.Command, args []string) error {
			name, address := args[0], args[1]
			if !validContext.MatchString(name) || name == defaultContext {
				return usageError{fmt.Errorf("%q cannot name a context: letters, digits and _ . - can, 63 at most, and %q is taken", name, defaultContext)}
			}
			c, err := client.New(address, a.token)
			if err != nil {
				return usageError{err}
			}
			c.Close()
			if tokenless := strings.HasPrefix(address, "unix:") || strings.HasPrefix(address, "ssh:"); tokenless && a.token != "" {
				return usageError{errors.New("--token is for a gateway over http:// or https://: the socket asks for none")}
			}
			all, err := loadContexts()
			if err != nil {
				return err
			}
			all.Contexts[name] = gatewayContext{Address: address, Token: a.token}
			if err := all.save(); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(contextLine{Name: name, Address: address, Current: all.Current == name})
			}
			fmt.Fprintf(a.out, "%s is %s; 'headgate context use %s' makes it the one that verbs speak to\n", name, address, name)
			return nil
		},
	}
}

// contextLine is a context as it is listed, without its token.
type contextLine struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Current bool   `json:"current"`
}

func (a *app) contextListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the gateways that have names",
		RunE: func(*cobra.Command, []string) error {
			all, err := loadContexts()
			if err != nil {
				return err
			}
			lines := []contextLine{{defaultContext, "unix://" + defaultSocket(), all.Current == ""}}
			for _, name := range slices.Sorted(maps.Keys(all.Contexts)) {
				lines = append(lines, contextLine{name, all.Contexts[name].Address, all.Current == name})
			}
			if a.json {
				return a.printJSON(lines)
			}
			return table(a.out, "NAME ADDRESS IN-USE", func(row func(...any)) {
				for _, l := range lines {
					mark := ""
					if l.Current {
						mark = "*"
					}
					row(l.Name, l.Address, mark)
				}
			})
		},
	}
}

func (a *app) contextUseCommand() *cobra.Command {
	return &cobra.Command{
		Use: "use NAME", Short: "Choose the gateway that verbs speak to", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := loadContexts()
			if err != nil {
				return err
			}
			all.Current = ""
			if args[0] != defaultContext {
				if _, err := all.get(args[0]); err != nil {
					return err
				}
				all.Current = args[0]
			}
			if err := all.save(); err != nil {
				return err
			}
			for _, name := range [...]string{"HEADGATE_HOST", "HEADGATE_CONTEXT"} {
				if v := os.Getenv(name); v != "" {
					fmt.Fprintf(a.err, "headgate: %s=%s counts before the context in use: unset it\n", name, v)
				}
			}
			if a.json {
				return a.printJSON(struct {
					Current string `json:"current"`
				}{args[0]})
			}
			fmt.Fprintf(a.out, "verbs speak to %s\n", args[0])
			return nil
		},
	}
}

func (a *app) contextShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Print the address that verbs speak to now",
		RunE: func(*cobra.Command, []string) error {
			to, err := a.target()
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(struct {
					Address string `json:"address"`
				}{to.address})
			}
			fmt.Fprintln(a.out, to.address)
			return nil
		},
	}
}

func (a *app) contextRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Forget a name", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := loadContexts()
			if err != nil {
				return err
			}
			if _, err := all.get(args[0]); err != nil {
				return err
			}
			delete(all.Contexts, args[0])
			if all.Current == args[0] {
				all.Current = ""
			}
			if err := all.save(); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(struct {
					Removed string `json:"removed"`
				}{args[0]})
			}
			fmt.Fprintln(a.out, "removed", args[0])
			return nil
		},
	}
}

// dialStdioCommand is the far end of an ssh:// address.
func (a *app) dialStdioCommand() *cobra.Command {
	return &cobra.Command{
		Use: "dial-stdio", Short: "Connect standard input and output to the admin socket", Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// Never another context: that would send the caller round in circles.
			path := defaultSocket()
			if a.host != "" {
				var ok bool
				if path, ok = strings.CutPrefix(a.host, "unix://"); !ok {
					return usageError{fmt.Errorf("--host %s is no socket of this machine: name one as unix:///path/admin.sock", a.host)}
				}
			}
			conn, err := (&net.Dialer{}).DialContext(cmd.Context(), "unix", path)
			if err != nil {
				return fmt.Errorf("%w at %s: %w; is it running, and may this user open the socket?", client.ErrUnreachable, path, err)
			}
			defer conn.Close()
			return join(conn.(*net.UnixConn), a.in, a.out)
		},
	}
}

// join copies both ways until the gateway has nothing more to say.
func join(conn *net.UnixConn, in io.Reader, out io.Writer) error {
	go func() {
		_, _ = io.Copy(conn, in) // a read of standard input cannot be called off: the process ends instead
		_ = conn.CloseWrite()
	}()
	_, err := io.Copy(out, conn)
	return err
}
