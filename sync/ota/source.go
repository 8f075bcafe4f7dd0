package ota

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// Content is a file of a repository on its way, or the rest of one.
type Content struct {
	Body io.ReadCloser
	// Offset is the first byte that Body has: the one that was asked for, or 0
	// where the server cannot begin elsewhere.
	Offset int64
}

// Source serves a repository. Paths are below its folder, with slashes.
type Source interface {
	// Open returns a file from offset on. What is not there is ErrNotFound.
	Open(ctx context.Context, path string, offset int64) (Content, error)
}

// stalled is how long a server may send nothing.
const stalled = time.Minute

// NewSource makes the source of a URL: https, file, or http to the machine
// itself. client does the requests; nil is a plain one.
func NewSource(raw string, client *http.Client) (Source, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("repository: %w", err)
	}
	switch {
	case u.Scheme == "file" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		return Folder(u.Path), nil
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return nil, fmt.Errorf("repository %s: it has no query, fragment or password", u.Redacted())
	case u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname())):
		if client == nil {
			client = http.DefaultClient
		}
		return newServer(u, client), nil
	}
	return nil, fmt.Errorf("repository %s: use https://host/folder or file:///folder (http: this machine only)", u.Redacted())
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Folder is a repository on a disk of this machine.
type Folder string

// Open opens a file below the folder.
func (f Folder) Open(_ context.Context, path string, offset int64) (Content, error) {
	root, err := os.OpenRoot(string(f))
	if err != nil {
		return Content{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer func() { _ = root.Close() }() // it was only read
	file, err := root.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Content{}, fmt.Errorf("%s: %w", path, ErrNotFound)
	}
	if err != nil {
		return Content{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		file.Close()
		return Content{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return Content{Body: file, Offset: offset}, nil
}

// server is a repository behind a static server.
type server struct {
	base   *url.URL
	client http.Client
}

func newServer(base *url.URL, client *http.Client) *server {
	s := &server{base: base, client: *client}
	s.client.CheckRedirect = func(to *http.Request, via []*http.Request) error {
		if len(via) > 3 || via[0].URL.Scheme == "https" && to.URL.Scheme != "https" {
			return fmt.Errorf("redirected to %s, %d redirects", to.URL.Redacted(), len(via))
		}
		return nil
	}
	return s
}

func (s *server) Open(ctx context.Context, path string, offset int64) (Content, error) {
	ctx, cancel := context.WithCancel(ctx)
	idle := time.AfterFunc(stalled, cancel)
	end := func() { idle.Stop(); cancel() }
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base.JoinPath(path).String(), nil)
	if err != nil {
		end()
		return Content{}, fmt.Errorf("%s: %w", path, err)
	}
	// What is asked for is what is stored: its bytes are counted and compared.
	req.Header.Set("Accept-Encoding", "identity")
	if offset > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(offset, 10)+"-")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		end()
		return Content{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	at, err := begins(resp, path, offset)
	if err != nil {
		end()
		resp.Body.Close()
		return Content{}, err
	}
	return Content{Body: &stream{body: resp.Body, idle: idle, end: end}, Offset: at}, nil
}

// begins is the first byte that an answer has.
func begins(resp *http.Response, path string, offset int64) (int64, error) {
	switch resp.StatusCode {
	case http.StatusOK:
		return 0, nil
	case http.StatusPartialContent:
		first, _, ok := strings.Cut(strings.TrimPrefix(resp.Header.Get("Content-Range"), "bytes "), "-")
		at, err := strconv.ParseInt(first, 10, 64)
		if !ok || err != nil || at != offset || offset == 0 {
			return 0, fmt.Errorf("%s: %w: %q from byte %d on", path, ErrRange, resp.Header.Get("Content-Range"), offset)
		}
		return at, nil
	case http.StatusRequestedRangeNotSatisfiable:
		return 0, fmt.Errorf("%s: %w: it says that there is no byte %d", path, ErrRange, offset)
	// What is not there is forbidden on some object stores.
	case http.StatusNotFound, http.StatusGone, http.StatusForbidden:
		return 0, fmt.Errorf("%s: %w (%s)", path, ErrNotFound, resp.Status)
	}
	return 0, fmt.Errorf("%w: %s: %s", ErrUnreachable, path, resp.Status)
}

// stream is a body that ends when nothing comes for too long.
type stream struct {
	body io.ReadCloser
	idle *time.Timer
	end  func()
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.body.Read(p)
	if n > 0 {
		s.idle.Reset(stalled)
	}
	return n, err
}

func (s *stream) Close() error {
	s.end()
	return s.body.Close()
}

var (
	_ Source = Folder("")
	_ Source = (*server)(nil)
)

// read returns a whole file of at most limit bytes.
func read(ctx context.Context, s Source, path string, limit int64) ([]byte, error) {
	c, err := s.Open(ctx, path, 0)
	if err != nil {
		return nil, err
	}
	defer c.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(c.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnreachable, path, err)
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("%s: %w: over %d", path, ErrTooLarge, limit)
	}
	return raw, nil
}
