package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/secret"
)

func (a *app) secretCommand() *cobra.Command {
	c := &cobra.Command{Use: "secret", Short: "Give functions what nobody else may know"}
	c.AddCommand(a.secretSetCommand(), a.secretListCommand(), a.secretRemoveCommand(), a.secretRekeyCommand())
	return c
}

func secretPath(function, name string) string {
	return "/v1/secrets/" + url.PathEscape(function) + "/" + url.PathEscape(name)
}

func (a *app) secretSetCommand() *cobra.Command {
	return &cobra.Command{
		Use: "set FUNCTION NAME", Short: "Set a secret, read from standard input or asked for", Args: cobra.ExactArgs(2),
		Long: `Set a secret of a function. The value is read from standard input, without the
newline at its end, or asked for where that is a terminal; it is never an
argument, which others on the machine could see. The function reads it by its
name once its manifest declares it.`,
		Example: "  headgate secret set irrigate weather_key < key.txt",
		RunE: func(cmd *cobra.Command, args []string) error {
			value, err := a.readSecret(args[1])
			if err != nil {
				return err
			}
			defer clear(value)
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if err := c.Do(cmd.Context(), http.MethodPut, secretPath(args[0], args[1]), value, nil); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]string{"function": args[0], "name": args[1]})
			}
			fmt.Fprintf(a.out, "set %s of %s\n", args[1], args[0])
			a.noteUndeclared(cmd.Context(), c, args[0], args[1])
			return nil
		},
	}
}

// readSecret reads a value without showing it.
func (a *app) readSecret(name string) ([]byte, error) {
	if f, ok := a.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintf(a.err, "value of %s: ", name)
		value, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(a.err)
		if err == nil && len(value) == 0 {
			err = errors.New("the value is empty")
		}
		return value, err
	}
	value, err := io.ReadAll(io.LimitReader(a.in, secret.MaxBytes+3))
	if err != nil {
		return nil, fmt.Errorf("read the value from standard input: %w", err)
	}
	value = bytes.TrimSuffix(bytes.TrimSuffix(value, []byte("\n")), []byte("\r"))
	if len(value) == 0 {
		return nil, usageError{errors.New("standard input is empty: the value is read from there")}
	}
	return value, nil
}

func (a *app) secretListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list [FUNCTION]", Aliases: []string{"ls"}, Short: "List the secrets, without their values", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/v1/secrets"
			if len(args) == 1 {
				path += "?function=" + url.QueryEscape(args[0])
			}
			var list []api.Secret
			if err := a.call(cmd, http.MethodGet, path, nil, &list); err != nil {
				return err
			}
			const none = "No secret is set. Set one: headgate secret set FUNCTION NAME"
			return printList(a, list, none, "FUNCTION SECRET SET KEY", func(s *api.Secret) []any {
				key := s.Key
				if s.Lost {
					key += " (lost: set it again)"
				}
				return []any{s.Function, s.Name, day(s.Updated), key}
			})
		},
	}
}

func (a *app) secretRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "remove FUNCTION NAME", Aliases: []string{"rm"}, Short: "Remove a secret", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.call(cmd, http.MethodDelete, secretPath(args[0], args[1]), nil, nil); err != nil {
				return err
			}
			return a.printRemoved(args[1])
		},
	}
}

func (a *app) secretRekeyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rekey", Short: "Seal every secret with a new key, and forget the old one",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var r api.Rekeyed
			if err := a.call(cmd, http.MethodPost, "/v1/secrets/rekey", nil, &r); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(r)
			}
			fmt.Fprintf(a.out, "sealed %s with a new key\n", counted(r.Secrets, "secret"))
			return nil
		},
	}
}
