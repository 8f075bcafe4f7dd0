package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
)

func (a *app) objectCommand() *cobra.Command {
	c := &cobra.Command{Use: "object", Short: "Put, get and list the objects of buckets"}
	c.AddCommand(a.objectPutCommand(), a.objectGetCommand(), a.objectListCommand(), a.objectStatCommand(), a.objectDeleteCommand(), a.objectBucketsCommand())
	return c
}

// objectPath is where the admin API has an object, which is named bucket/key.
func objectPath(name, what string, more ...string) (string, error) {
	bucket, key, err := function.SplitObjectKey(name)
	if err != nil {
		return "", usageError{err}
	}
	q := url.Values{"key": {key}}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	return "/v1/buckets/" + bucket + "/" + what + "?" + q.Encode(), nil
}

func (a *app) objectPutCommand() *cobra.Command {
	var mediaType string
	c := &cobra.Command{
		Use: "put FILE BUCKET/KEY", Short: "Put a file into a bucket; FILE of - reads standard input", Args: cobra.ExactArgs(2),
		Long: "Put a file into a bucket, in the place of what has the key. Functions with a file trigger start for it.\n" +
			"A KEY that ends in / is completed by the file's name.",
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[1]
			if strings.HasSuffix(name, "/") {
				name += args[0][strings.LastIndexByte(args[0], '/')+1:]
			}
			path, err := objectPath(name, "object", "type", mediaType)
			if err != nil {
				return err
			}
			var body io.Reader = a.in
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				body = f
			}
			var o api.Object
			if err := a.call(cmd, http.MethodPut, path, body, &o); err != nil {
				return err
			}
			return a.printObject(&o)
		},
	}
	c.Flags().StringVar(&mediaType, "type", "", "media type (default: by the key's ending)")
	return c
}

func (a *app) printObject(o *api.Object) error {
	if a.json {
		return a.printJSON(o)
	}
	fmt.Fprintf(a.out, "%s/%s  %s  %s  %s  %s\n", o.Bucket, o.Key, size(o.Size), o.Type, day(o.Modified), o.Digest)
	return nil
}

func (a *app) objectGetCommand() *cobra.Command {
	return &cobra.Command{
		Use: "get BUCKET/KEY [FILE]", Short: "Copy an object to a new file, or to standard output", Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			path, err := objectPath(args[0], "object")
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if len(args) == 1 || args[1] == "-" {
				return c.Download(cmd.Context(), path, a.out)
			}
			f, err := os.OpenFile(args[1], os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err != nil {
				return err
			}
			defer func() {
				if err != nil {
					err = errors.Join(err, os.Remove(f.Name()))
				}
			}()
			return errors.Join(c.Download(cmd.Context(), path, f), f.Close())
		},
	}
}

func (a *app) objectListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list BUCKET[/PREFIX]", Short: "List a bucket's objects", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			bucket, prefix, _ := strings.Cut(args[0], "/")
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			all := []api.Object{}
			for after, more := "", true; more; {
				var page api.ObjectList
				q := url.Values{"prefix": {prefix}, "after": {after}}
				if err := c.Do(cmd.Context(), http.MethodGet, "/v1/buckets/"+url.PathEscape(bucket)+"?"+q.Encode(), nil, &page); err != nil {
					return err
				}
				all = append(all, page.Objects...)
				if more = page.More && len(page.Objects) > 0; more {
					after = page.Objects[len(page.Objects)-1].Key
				}
			}
			if a.json {
				return a.printJSON(all)
			}
			return table(a.out, "KEY SIZE TYPE MODIFIED", func(row func(...any)) {
				for _, o := range all {
					row(o.Key, size(o.Size), o.Type, day(o.Modified))
				}
			})
		},
	}
}

func (a *app) objectStatCommand() *cobra.Command {
	return &cobra.Command{
		Use: "stat BUCKET/KEY", Short: "Show an object's size, type and digest", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := objectPath(args[0], "stat")
			if err != nil {
				return err
			}
			var o api.Object
			if err := a.call(cmd, http.MethodGet, path, nil, &o); err != nil {
				return err
			}
			return a.printObject(&o)
		},
	}
}

func (a *app) objectDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete BUCKET/KEY", Short: "Delete an object", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := objectPath(args[0], "object")
			if err != nil {
				return err
			}
			if err := a.call(cmd, http.MethodDelete, path, nil, nil); err != nil || !a.json {
				return err
			}
			return a.printJSON(map[string]string{"deleted": args[0]})
		},
	}
}

func (a *app) objectBucketsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "buckets", Short: "List the buckets and what they hold", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all []api.Bucket
			if err := a.call(cmd, http.MethodGet, "/v1/buckets", nil, &all); err != nil {
				return err
			}
			const none = "There are no buckets: declare them in the gateway's configuration, under objects.buckets."
			return printList(a, all, none, "BUCKET OBJECTS SIZE QUOTA LARGEST KEEP FULL", func(b *api.Bucket) []any {
				keep := "for ever"
				if b.Keep > 0 {
					keep = b.Keep.String()
				}
				return []any{b.Name, b.Objects, size(b.Bytes), size(b.Quota), size(b.MaxObject), keep, b.WhenFull}
			})
		},
	}
}
